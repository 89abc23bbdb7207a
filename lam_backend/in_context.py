"""Vectors of the units of a text (turns, passages), each of which has read the units around it: late chunking.

Günther et al., Late Chunking, 2024. A unit's vector is the mean of its own token vectors.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from lam_backend.model import DeltaNet6Layer
from lam_backend.packaging.lam_runtime.in_context import packed
from lam_backend.tokenizer import valid_text

_BATCH = 16


def encode_in_context(model: DeltaNet6Layer, units: Sequence[str], window: int | None = 224) -> NDArray[np.float32]:
    """Unit vectors (n, D) of ``units``, which follow each other in one text.

    Args:
        model: reads them.
        units: in their order in the text; an empty one has the vector of an empty text.
        window: units are packed whole, in order, into passes of so many tokens (3 to segment_length, [CLS] and [SEP]
            among them); a longer unit has a pass of its own. None reads all of them in one stream: a unit has read
            everything before it, and what comes after it within its segment.

    Raises:
        TypeError, ValueError: no list of strings, or a window out of range.
    """
    length = model.config.segment_length
    if isinstance(units, str):
        raise TypeError("encode_in_context takes a list of units, found one str")
    for index, text in enumerate(units):
        valid_text(text, f"units[{index}]")
    if window is not None and not 2 < window <= length:
        raise ValueError(f"window is {window}; expected 3 to {length} tokens, or None for one stream")
    ids = model.tokenizer.ids(units)
    sums = _Sums(len(units), model.config.d_model)
    with torch.inference_mode():
        if window is None:
            _stream(model, list(enumerate(ids)), sums)
        else:
            sizes = {tuple(run): sum(len(ids[unit]) for unit in run) + 2 for run in packed(ids, window - 2)}
            for run in [run for run, size in sizes.items() if size > length]:
                _stream(model, [(run[0], ids[run[0]])], sums)
            passes = sorted((run for run, size in sizes.items() if size <= length), key=lambda run: -sizes[run])
            for start in range(0, len(passes), _BATCH):
                _windows(model, ids, passes[start : start + _BATCH], sums)
    vectors = sums.unit_vectors()
    empty = np.flatnonzero(~vectors.any(axis=1))
    if len(empty):
        vectors[empty] = model.encode("")
    return vectors


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
        vectors: NDArray[np.float32] = F.normalize(self._sums, dim=1).float().numpy()
        return vectors


def _windows(model: DeltaNet6Layer, ids: Sequence[list[int]], passes: Sequence[tuple[int, ...]], sums: _Sums) -> None:
    owners = [[unit for unit in units for _ in ids[unit]] for units in passes]
    texts = [model.tokenizer.wrapped([token for unit in units for token in ids[unit]]) for units in passes]
    hidden = model.read(*model.padded(texts))[0].float()
    for row, owner in enumerate(owners):
        sums.add(hidden[row, 1 : len(owner) + 1], owner)


def _stream(model: DeltaNet6Layer, units: Sequence[tuple[int, list[int]]], sums: _Sums) -> None:
    stream = model.stream()
    waiting = [-1]  # owners of the tokens that are not in a closed segment; [CLS] has none
    for unit, tokens in units:
        waiting.extend([unit] * len(tokens))
        for hidden in stream.append_ids(tokens):
            sums.add(hidden, waiting[: len(hidden)])
            del waiting[: len(hidden)]
    sums.add(stream.open_vectors(), [*waiting, -1])
