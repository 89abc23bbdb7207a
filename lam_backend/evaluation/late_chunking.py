"""Vectors of the units of a text (turns, passages) pooled from one pass over many of them: late chunking.

Günther et al., Late Chunking, 2024. A unit's vector is the mean of its own token vectors, each of which has read the
units around it. With a window, units are packed whole, in order, into passes of a few hundred tokens; without one the
whole text goes through one stream, and a unit has read everything before it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lam_backend.model import DeltaNet6Layer

_BATCH = 16


def contextual_vectors(model: DeltaNet6Layer, units: Sequence[str], window: int | None) -> NDArray[np.float32]:
    """Unit vectors (n, D) of ``units``, which follow each other in one text.

    Args:
        window: tokens a pass, at most the model's segment; a longer unit has a pass of its own, cut to a segment.
            None reads all units in one stream.

    Raises:
        ValueError: a window that no segment can hold.
    """
    length = model.config.segment_length
    if window is not None and not 2 < window <= length:
        raise ValueError(f"window is {window}; expected 3 to {length} tokens, or None for one stream")
    ids = model.tokenizer.ids(list(units))
    sums = _Sums(len(units), model.config.d_model)
    with torch.inference_mode():
        if window is None:
            _stream(model, ids, sums)
        else:
            passes = sorted(packed(ids, window - 2), key=lambda taken: -sum(len(ids[unit]) for unit in taken))
            for start in range(0, len(passes), _BATCH):
                _windows(model, ids, passes[start : start + _BATCH], sums)
    vectors = sums.unit_vectors()
    for index in np.flatnonzero(~vectors.any(axis=1)).tolist():  # a unit without tokens says what an empty text says
        vectors[index] = model.encode(units[index])
    return vectors


def packed(ids: Sequence[Sequence[int]], capacity: int) -> Iterator[list[int]]:
    """Runs of consecutive units of at most ``capacity`` tokens; a longer unit stands alone."""
    run: list[int] = []
    size = 0
    for unit, tokens in enumerate(ids):
        if run and size + len(tokens) > capacity:
            yield run
            run, size = [], 0
        run.append(unit)
        size += len(tokens)
    if run:
        yield run


class _Sums:
    """Running sums of token vectors by unit."""

    def __init__(self, count: int, dim: int) -> None:
        self._sums = torch.zeros(count, dim, dtype=torch.float64)

    def add(self, hidden: Tensor, owners: Sequence[int]) -> None:
        """Token vectors (T, D) and the unit each belongs to; −1 for the special tokens, which belong to none."""
        owner = torch.tensor(owners, dtype=torch.int64)
        real = owner >= 0
        self._sums.index_add_(0, owner[real], hidden[real].double())

    def unit_vectors(self) -> NDArray[np.float32]:
        vectors: NDArray[np.float32] = torch.nn.functional.normalize(self._sums, dim=1).float().numpy()
        return vectors


def _windows(model: DeltaNet6Layer, ids: Sequence[list[int]], passes: Sequence[list[int]], sums: _Sums) -> None:
    room = model.config.segment_length - 2
    owners = [[unit for unit in units for _ in ids[unit]][:room] for units in passes]
    texts = [[token for unit in units for token in ids[unit]][:room] for units in passes]
    tokens, mask = model.padded([model.tokenizer.wrapped(text) for text in texts])
    hidden = model(tokens, mask)[0][-1].float()
    for row, owner in enumerate(owners):
        sums.add(hidden[row, 1 : len(owner) + 1], owner)


def _stream(model: DeltaNet6Layer, ids: Sequence[list[int]], sums: _Sums) -> None:
    stream = model.stream()
    waiting = [-1]  # owners of the tokens that are not in a closed segment; [CLS] has none
    for unit, tokens in enumerate(ids):
        waiting.extend([unit] * len(tokens))
        for hidden in stream.append_ids(tokens):
            sums.add(hidden, waiting[: len(hidden)])
            del waiting[: len(hidden)]
    sums.add(stream.open_vectors(), [*waiting, -1])
