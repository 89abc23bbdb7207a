"""What is compared: something that turns texts into vectors, and a cache, since peers never change."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lam_backend.evaluation.sts import Encode
from lam_backend.model import DeltaNet6Layer

log = logging.getLogger(__name__)
Vectors = NDArray[np.float32]
Compute = Callable[[], Vectors]


@dataclass(frozen=True, slots=True)
class Encoder:
    """A named encoder of texts.

    ``identity`` names the vector space: two encoders of one identity give the same vectors for the same texts.
    ``encode`` maps n texts to (n, D) float32.
    """

    name: str
    identity: str
    encode: Encode


def lam_encoder(model: DeltaNet6Layer, *, name: str = "LAM", batch_size: int = 32) -> Encoder:
    """A LAM model as an encoder; texts are read whole, whatever their length."""

    def encode(texts: Sequence[str]) -> Vectors:
        vectors: Vectors = model.encode(list(texts), batch_size=batch_size)
        return vectors

    return Encoder(name, model.fingerprint, encode)


def cached(encoder: Encoder, folder: Path) -> Encoder:
    """The same encoder, which keeps what it has encoded in ``folder`` (one .npy for each list of texts)."""

    def encode(texts: Sequence[str]) -> Vectors:
        return stored(folder, encoder.identity, texts, lambda: encoder.encode(texts))

    return replace(encoder, encode=encode)


def stored(folder: Path, identity: str, texts: Sequence[str], compute: Compute) -> Vectors:
    """``compute()``, or what it gave before for this identity and these texts."""
    digest = hashlib.sha256(identity.encode())
    for text in texts:
        digest.update(b"\x00" + text.encode())
    file = folder / f"{digest.hexdigest()[:32]}.npy"
    if file.is_file():
        kept: Vectors = np.load(file, allow_pickle=False)
        return kept
    start = time.perf_counter()
    vectors = np.asarray(compute(), dtype=np.float32)
    log.info("%s: %d texts in %.1f s", identity, len(texts), time.perf_counter() - start)
    folder.mkdir(parents=True, exist_ok=True)
    partial = file.with_suffix(".partial.npy")
    np.save(partial, vectors)
    partial.replace(file)
    return vectors
