"""Deterministic encoders for tests: hashed word n-grams, so that texts sharing words lie close together."""

from __future__ import annotations

import hashlib
import itertools
import re
import threading
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from maas.embedders.protocol import Vectors

_WORD = re.compile(r"\w+")


class FakeEmbedder:
    """A real vector space without a model: each word and word pair adds its own fixed random direction.

    Equal texts give equal vectors in every process; ``name`` seeds the directions, so two names are two spaces.

    Attributes:
        calls: how often ``encode`` ran.
        texts_seen: how many texts it encoded in all.
        batches: the size of each call, in order.
        closed: whether ``close`` was called.
    """

    def __init__(self, dim: int = 384, name: str = "fake") -> None:
        self._dim = dim
        self._name = name
        self._lock = threading.Lock()
        self._directions: dict[str, NDArray[np.float64]] = {}
        self.calls = 0
        self.texts_seen = 0
        self.batches: list[int] = []
        self.closed = False

    @property
    def name(self) -> str:
        return self._name

    @property
    def dim(self) -> int:
        return self._dim

    @property
    def fingerprint(self) -> str:
        digest = hashlib.sha256(self._name.encode()).hexdigest()[:12]
        return f"{self._name}:{self._dim}:hash:{digest}"

    def encode(self, texts: Sequence[str]) -> Vectors:
        with self._lock:
            self.calls += 1
            self.texts_seen += len(texts)
            self.batches.append(len(texts))
            vectors = np.zeros((len(texts), self._dim), dtype=np.float32)
            for row, text in enumerate(texts):
                vectors[row] = self._vector(text)
            return vectors

    def close(self) -> None:
        self.closed = True

    def _vector(self, text: str) -> NDArray[np.float64]:
        words = _WORD.findall(text.lower())
        features = words + [f"{first} {second}" for first, second in itertools.pairwise(words)]
        total = np.sum([self._direction(feature) for feature in features or [f"\x00{text}"]], axis=0)
        unit: NDArray[np.float64] = total / np.linalg.norm(total)
        return unit

    def _direction(self, feature: str) -> NDArray[np.float64]:
        known = self._directions.get(feature)
        if known is None:
            seed = hashlib.sha256(f"{self._name}\x00{feature}".encode("utf-8", "surrogatepass")).digest()
            known = np.random.default_rng(int.from_bytes(seed[:8], "little")).standard_normal(self._dim)
            self._directions[feature] = known
        return known


class ContextualFakeEmbedder(FakeEmbedder):
    """Also reads units in their context: each has half of the mean of all units beside itself.

    Attributes:
        passes: the units of each call of ``encode_in_context``, in order.
    """

    def __init__(self, dim: int = 384, name: str = "contextual-fake") -> None:
        super().__init__(dim, name)
        self.passes: list[list[str]] = []

    def encode_in_context(self, units: Sequence[str], window: int | None) -> Vectors:
        with self._lock:
            self.passes.append(list(units))
            alone = np.stack([self._vector(unit) for unit in units])
            read = alone + 0.5 * alone.mean(axis=0)
            return (read / np.linalg.norm(read, axis=1, keepdims=True)).astype(np.float32)


class OtherFakeEmbedder(FakeEmbedder):
    """The embedder one switches to: same length by default, another space, another fingerprint."""

    def __init__(self, dim: int = 384, name: str = "other-fake") -> None:
        super().__init__(dim, name)


class StreamingFakeEmbedder(FakeEmbedder):
    """Reads texts of any length: a passage's vector holds a tenth of all before it, and settles one passage later.

    Attributes:
        passages_read: how many passages all readers were given.
    """

    def __init__(self, dim: int = 384, name: str = "streaming-fake") -> None:
        super().__init__(dim, name)
        self.passages_read = 0

    def passage_reader(self, state: bytes | None = None) -> _FakeReader:
        return _FakeReader(self, state)


class _FakeReader:
    def __init__(self, embedder: StreamingFakeEmbedder, state: bytes | None) -> None:
        self._embedder = embedder
        self._past = np.zeros(embedder.dim)
        self._waiting: list[str] = []
        if state:
            size = 8 * embedder.dim
            self._past = np.frombuffer(state[:size])
            self._waiting = [state[size:].decode()] if len(state) > size else []

    @property
    def pending(self) -> int:
        return len(self._waiting)

    def read(self, passages: Sequence[str]) -> Vectors:
        self._embedder.passages_read += len(passages)
        self._waiting += passages
        ready, self._waiting = self._waiting[:-1], self._waiting[-1:]
        return self._settle(ready)

    def finish(self) -> Vectors:
        ready, self._waiting = self._waiting, []
        return self._settle(ready)

    def state(self) -> bytes:
        return self._past.tobytes() + "".join(self._waiting).encode()

    def _settle(self, passages: Sequence[str]) -> Vectors:
        vectors = []
        for own in self._embedder.encode(passages):
            total = own + 0.1 * self._past
            vectors.append(total / np.linalg.norm(total))
            self._past = self._past * 0.9 + own
        return np.array(vectors, np.float32).reshape(len(vectors), self._embedder.dim)
