"""Vectors of a text's passages, read in order: by a stream that has read all before, or each passage alone."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from maas.embedders.protocol import Embedder, Vectors


class PassageReader(Protocol):
    """Reads the passages of one text in order. Belongs to one thread."""

    def read(self, passages: Sequence[str]) -> Vectors:
        """Read on; returns (n, dim) unit vectors of the passages that are settled now, the oldest unsettled first."""

    def finish(self) -> Vectors:
        """Vectors of the passages that were not settled yet."""

    @property
    def pending(self) -> int:
        """Passages that were read and are not settled."""

    def state(self) -> bytes:
        """All that another reader of the same embedder needs to go on; its size does not grow with the text."""


@runtime_checkable
class PassageEmbedder(Protocol):
    """An embedder that reads a text of any length in one pass."""

    def passage_reader(self, state: bytes | None = None) -> PassageReader:
        """A reader at the start of a text, or where ``state`` was saved.

        Raises:
            ValueError: the state is corrupt, or of another encoder.
        """


def passage_reader(embedder: Embedder, state: bytes | None) -> PassageReader:
    """The best reader of ``embedder``, seen through what wraps it."""
    inner: Any = embedder
    while not isinstance(inner, PassageEmbedder):
        inner = getattr(inner, "inner", None)
        if inner is None:
            return SeparateReader(embedder)
    return inner.passage_reader(state)


class SeparateReader:
    """Encodes each passage by itself; has no state."""

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder

    def read(self, passages: Sequence[str]) -> Vectors:
        return self._embedder.encode(passages)

    def finish(self) -> Vectors:
        return np.zeros((0, self._embedder.dim), np.float32)

    @property
    def pending(self) -> int:
        return 0

    def state(self) -> bytes:
        return b""


class StreamReader:
    """Late chunking (Günther et al., 2024) over a stream of ``lam_backend``.

    Each passage's vector is the mean of its token vectors, which have read all that came before, and what comes after
    within their segment.

    Args:
        encoder: has ``stream()``, ``tokenizer``, ``dim`` and ``encode``.
        state: of an earlier reader.
    """

    def __init__(self, encoder: Any, state: bytes | None = None) -> None:
        self._encoder = encoder
        self._stream = encoder.stream()
        # Passages whose tokens are not all in closed segments: their sums so far, all tokens, tokens still open.
        self._sums: list[NDArray[np.float64]] = []
        self._tokens: list[int] = []
        self._open: list[int] = []
        self._lead = 1  # [CLS] belongs to no passage
        if state:
            self._restore(state)

    def read(self, passages: Sequence[str]) -> Vectors:
        settled = []
        for passage in passages:
            ids = self._ids(passage)
            self._sums.append(np.zeros(self._encoder.dim, np.float64))
            self._tokens.append(len(ids))
            self._open.append(len(ids))
            for hidden in self._stream.append_ids(ids):
                self._give(np.asarray(hidden, np.float64))
            settled += self._take()
        return self._stacked(settled)

    def finish(self) -> Vectors:
        if any(self._open):
            self._give(np.asarray(self._stream.open_vectors(), np.float64)[:-1])
        return self._stacked(self._take())

    @property
    def pending(self) -> int:
        return len(self._open)

    def state(self) -> bytes:
        arrays = {f"stream_{name}": value for name, value in self._stream.state_dict().items()}
        sums = self._stacked(self._sums, np.float64)
        buffer = io.BytesIO()
        lengths = {"tokens": np.array(self._tokens, np.int64), "open": np.array(self._open, np.int64)}
        np.savez(buffer, allow_pickle=False, sums=sums, lead=np.array(self._lead), **lengths, **arrays)
        return buffer.getvalue()

    def _restore(self, state: bytes) -> None:
        try:
            with np.load(io.BytesIO(state), allow_pickle=False) as arrays:
                self._stream.load_state_dict(
                    {name.removeprefix("stream_"): arrays[name] for name in arrays.files if name.startswith("stream_")}
                )
                self._sums, self._lead = list(arrays["sums"]), int(arrays["lead"])
                self._tokens, self._open = arrays["tokens"].tolist(), arrays["open"].tolist()
        except (OSError, KeyError, ValueError, BadZipFile) as error:
            raise ValueError(f"this is no state of a reader of this encoder: {error}") from error

    def _ids(self, passage: str) -> list[int]:
        tokenizer = self._encoder.tokenizer
        if hasattr(tokenizer, "ids"):
            ids: list[int] = tokenizer.ids([passage])[0]
            return ids
        return list(tokenizer.encode(passage, add_special_tokens=False).ids)

    def _give(self, vectors: NDArray[np.float64]) -> None:
        """Token vectors (T, D), the next in the text, to the passages they belong to."""
        vectors = vectors[self._lead :]
        self._lead = 0
        for place, missing in enumerate(self._open):
            taken = vectors[:missing]
            self._sums[place] = self._sums[place] + taken.sum(axis=0)
            self._open[place] -= len(taken)
            vectors = vectors[len(taken) :]

    def _take(self) -> list[Vectors]:
        settled = []
        while self._open and not self._open[0]:
            total = self._sums.pop(0)
            del self._open[0]
            if self._tokens.pop(0):
                settled.append((total / max(float(np.linalg.norm(total)), 1e-12)).astype(np.float32))
            else:  # characters that the tokenizer drops
                settled.append(self._encoder.encode(""))
        return settled

    def _stacked(self, rows: Sequence[NDArray[Any]], dtype: Any = np.float32) -> Vectors:
        return np.array(rows, dtype).reshape(len(rows), self._encoder.dim)
