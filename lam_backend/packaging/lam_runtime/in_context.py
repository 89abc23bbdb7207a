"""Vectors of the units of a text (turns, passages), each of which has read the units around it: late chunking.

Günther et al., Late Chunking, 2024. A unit's vector is the mean of its own tokens' vectors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from .lanes import Lanes
from .step import Step
from .stream import Stream
from .text import WordPieces, valid_text
from .vectors import Floats, unit


class InContext:
    """Reads units that follow each other in one text.

    Args:
        lanes, words: the encoder's graph and tokenizer.
        stream: makes an empty stream.
        dim, segment_length: of the encoder.
    """

    def __init__(
        self, lanes: Lanes, words: WordPieces, stream: Callable[[], Stream], dim: int, segment_length: int
    ) -> None:
        self._lanes, self._words, self._stream = lanes, words, stream
        self._dim, self._length = dim, segment_length

    def vectors(self, units: Sequence[str], window: int | None) -> Floats:
        """(n, D), unit length; a unit without tokens keeps a zero vector.

        Raises:
            TypeError, ValueError: no list of strings, or a window that no segment can hold.
        """
        if isinstance(units, str):
            raise TypeError("encode_in_context takes a list of units, found one str")
        for index, text in enumerate(units):
            valid_text(text, f"units[{index}]")
        if window is not None and not 2 < window <= self._length:
            raise ValueError(f"window is {window}; expected 3 to {self._length} tokens, or None for one stream")
        ids = self._words.ids(units)
        sums = np.zeros((len(ids), self._dim))
        if window is None:
            self._read_stream(list(enumerate(ids)), sums)
        else:
            passes = list(packed(ids, window - 2))
            long = [run for run in passes if sum(len(ids[i]) for i in run) + 2 > self._length]
            for (index,) in long:
                self._read_stream([(index, ids[index])], sums)
            self._read_windows(ids, [run for run in passes if run not in long], sums)
        return unit(sums.astype(np.float32))

    def _read_windows(self, ids: list[list[int]], passes: list[list[int]], sums: NDArray[np.float64]) -> None:
        def size(run: list[int]) -> int:
            return sum(len(ids[i]) for i in run) + 2

        def read(step: Step, batch: list[list[int]]) -> None:
            vectors = step.tokens([self._words.wrapped([token for i in run for token in ids[i]]) for run in batch])
            for row, run in enumerate(batch):
                owners = [i for i in run for _ in ids[i]]
                _add(sums, vectors[row, 1 : len(owners) + 1], owners)

        passes = sorted(passes, key=size, reverse=True)
        limit = self._lanes.size(sum(map(size, passes)))
        batches = []
        while passes:
            count = max(1, limit // size(passes[0]))
            batches.append(passes[:count])
            passes = passes[count:]
        for _ in self._lanes.each(read, batches):  # each unit is in one run: no two threads write one row
            pass

    def _read_stream(self, units: list[tuple[int, list[int]]], sums: NDArray[np.float64]) -> None:
        stream = self._stream()
        waiting = [-1]  # owners of the tokens that are not in a closed segment; [CLS] has none
        for index, tokens in units:
            waiting.extend([index] * len(tokens))
            for vectors in stream.append_ids(tokens):
                _add(sums, vectors, waiting[: len(vectors)])
                del waiting[: len(vectors)]
        _add(sums, stream.open_vectors(), [*waiting, -1])


def packed(ids: Sequence[Sequence[int]], capacity: int) -> Iterator[list[int]]:
    """Runs of consecutive units of at most ``capacity`` tokens; a longer unit stands alone."""
    run: list[int] = []
    size = 0
    for index, tokens in enumerate(ids):
        if run and size + len(tokens) > capacity:
            yield run
            run, size = [], 0
        run.append(index)
        size += len(tokens)
    if run:
        yield run


def _add(sums: NDArray[np.float64], vectors: Floats, owners: list[int]) -> None:
    """Add token vectors (T, D) to the rows of the units they belong to; −1 marks special tokens, which have none.

    A unit's tokens follow each other.
    """
    if not owners:
        return
    owner = np.array(owners)
    starts = np.flatnonzero(np.diff(owner, prepend=-2))
    totals = np.add.reduceat(vectors, starts, axis=0, dtype=np.float64)
    real = owner[starts] >= 0
    sums[owner[starts][real]] += totals[real]
