"""LAMEncoder: sentence vectors from a lam-base-v1 bundle, on numpy, tokenizers and onnxruntime alone.

    from lam_wrapper import LAMEncoder

    encoder = LAMEncoder("models/lam-base-v1")
    vectors = encoder.encode(["The cat sat on the mat.", "A cat was sitting there."])  # (2, 384), unit length
    encoder.similarity(vectors, vectors)

The code lies in ``lam_runtime`` beside this file; copy both to use them elsewhere.
"""

from __future__ import annotations

import sys
from pathlib import Path

# Appended, so that this file also works when it is loaded by its path from a folder that is not on the path.
if (_here := str(Path(__file__).parent)) not in sys.path:
    sys.path.append(_here)

from lam_runtime import BundleError, LAMEncoder, LongEncoding, Passage, Stream

__all__ = ["BundleError", "LAMEncoder", "LongEncoding", "Passage", "Stream"]
