"""The encoder of a lam-base-v1 bundle: numpy, tokenizers and onnxruntime, nothing else."""

from .bundle import BundleError
from .encoder import LAMEncoder
from .passages import LongEncoding, Passage
from .stream import Stream

__all__ = ["BundleError", "LAMEncoder", "LongEncoding", "Passage", "Stream"]
