"""One pass over a text of any length: a vector of the whole, and of each passage after what came before it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from lam_backend.tokenizer import pieces, valid_text

if TYPE_CHECKING:
    from lam_backend.model import DeltaNet6Layer

Span = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Passage:
    """Characters ``start`` to ``end`` of the text, and their unit vector (D,)."""

    start: int
    end: int
    vector: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class LongEncoding:
    """A text's unit vector (D,), its passages in order, and how many tokens were read."""

    vector: NDArray[np.float32]
    passages: list[Passage]
    tokens: int


def encode_long(model: DeltaNet6Layer, text: str, passage_tokens: int) -> LongEncoding:
    """Read ``text`` once; see :meth:`DeltaNet6Layer.encode_long`."""
    valid_text(text, "text")
    length = model.config.segment_length
    if not 1 <= passage_tokens <= length:
        raise ValueError(f"passage_tokens is {passage_tokens}; expected 1 to {length}")
    stream = model.stream()
    waiting: list[Span | None] = [None]  # spans of the tokens that are not in a closed segment; [CLS] has none
    passages: list[Passage] = []
    for offset, piece in pieces(text):
        ids, spans = model.tokenizer.ids_and_offsets(piece)
        waiting.extend((start + offset, end + offset) for start, end in spans)
        for hidden in stream.append_ids(ids):
            passages.extend(_passages(hidden, waiting[:length], passage_tokens))
            del waiting[:length]
    passages.extend(_passages(stream.open_vectors(), [*waiting, None], passage_tokens))
    return LongEncoding(stream.vector, passages, stream.tokens + 1)


def _passages(hidden: Tensor, spans: list[Span | None], passage_tokens: int) -> Iterator[Passage]:
    """Mean of the token vectors of each run of ``passage_tokens`` tokens; special tokens belong to none."""
    for first in range(0, len(spans), passage_tokens):
        window = range(first, min(first + passage_tokens, len(spans)))
        real = [(i, span) for i in window if (span := spans[i]) is not None]
        if real:
            vector = F.normalize(hidden[torch.tensor([i for i, _ in real])].mean(0), dim=-1)
            yield Passage(real[0][1][0], real[-1][1][1], vector.numpy())
