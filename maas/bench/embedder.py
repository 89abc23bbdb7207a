"""A cheap embedder for runs where a million texts must be stored and only the memory is measured."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from maas.embedders.protocol import Vectors

_WORD = re.compile(r"\w+")


class WordSumEmbedder:
    """Each word has a fixed random direction, a text is their normalised sum. No model: for measuring speed only."""

    name = "bench-word-sum"
    dim = 384
    fingerprint = "bench-word-sum:384:v1"

    def __init__(self) -> None:
        self._directions: dict[str, NDArray[np.float32]] = {}

    def encode(self, texts: Sequence[str]) -> Vectors:
        vectors = np.zeros((len(texts), self.dim), dtype=np.float32)
        for row, text in enumerate(texts):
            for word in _WORD.findall(text.lower()) or [text]:
                vectors[row] += self._direction(word)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        return vectors

    def close(self) -> None:
        self._directions.clear()

    def _direction(self, word: str) -> NDArray[np.float32]:
        known = self._directions.get(word)
        if known is None:
            seed = int.from_bytes(hashlib.sha256(word.encode()).digest()[:8], "little")
            known = np.random.default_rng(seed).standard_normal(self.dim, dtype=np.float32)
            # Receipt numbers are all different; keeping every one would grow without end.
            if not word.isdigit():
                self._directions[word] = known
        return known
