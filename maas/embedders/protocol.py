"""The seam between the memory and any sentence encoder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]


@runtime_checkable
class Embedder(Protocol):
    """Turns text into unit vectors. Implementations may be called from several threads."""

    @property
    def name(self) -> str:
        """Model name as shown to users, e.g. ``all-MiniLM-L6-v2``."""

    @property
    def dim(self) -> int:
        """Length of a vector."""

    @property
    def fingerprint(self) -> str:
        """Identity of the vector space: name, hash of the weights, dim and pooling.

        Vectors are comparable exactly when their fingerprints are equal.
        """

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Encode in input order: (n,) texts → (n, dim) float32 of unit length; [] → (0, dim)."""

    def close(self) -> None:
        """Release threads and memory; calling it twice is harmless."""


@runtime_checkable
class ContextualEmbedder(Embedder, Protocol):
    """An embedder that can read texts which follow each other in one pass."""

    def encode_in_context(self, units: Sequence[str], window: int | None) -> Vectors:
        """Each of (n,) units after having read those around it → (n, dim) float32 of unit length.

        Units are packed whole, in order, into passes of at most ``window`` tokens; None: all in one stream.
        """


def contextual(embedder: Embedder) -> ContextualEmbedder | None:
    """The embedder, or the one it stands for (``inner``), if that can read texts in one pass; else None."""
    if isinstance(embedder, ContextualEmbedder):
        return embedder
    inner = getattr(embedder, "inner", None)
    return None if inner is None else contextual(inner)
