"""One pass over a text of any length: a vector of the whole, and of each passage after what came before it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from .stream import Stream
from .text import WordPieces, pieces, valid_text
from .vectors import Floats, unit

Span = tuple[int, int]


@dataclass(frozen=True)
class Passage:
    """Characters ``start`` to ``end`` of the text, and their unit vector (D,)."""

    start: int
    end: int
    vector: Floats


@dataclass(frozen=True)
class LongEncoding:
    """A text's unit vector (D,), its passages in order, and how many tokens were read."""

    vector: Floats
    passages: list[Passage]
    tokens: int


def encode_long(stream: Stream, words: WordPieces, text: str, passage_tokens: int, segment: int) -> LongEncoding:
    """Read ``text`` through a fresh ``stream``, whose segments have ``segment`` tokens."""
    valid_text(text, "text")
    if not 1 <= passage_tokens <= segment:
        raise ValueError(f"passage_tokens is {passage_tokens}; expected 1 to {segment}")
    waiting: list[Span | None] = [None]  # spans of the tokens that are not in a closed segment; [CLS] has none
    passages: list[Passage] = []
    for offset, piece in pieces(text):
        ids, spans = words.ids_and_spans(piece)
        waiting.extend((start + offset, end + offset) for start, end in spans)
        for vectors in stream.append_ids(ids):
            passages.extend(_passages(vectors, waiting[:segment], passage_tokens))
            del waiting[:segment]
    tail = stream.open_vectors()
    passages.extend(_passages(tail, [*waiting, None], passage_tokens))
    return LongEncoding(unit(stream.mean_with(tail)), passages, stream.tokens + 1)


def _passages(vectors: Floats, spans: list[Span | None], passage_tokens: int) -> Iterator[Passage]:
    """Mean of the token vectors of each run of ``passage_tokens`` tokens; special tokens belong to none."""
    for first in range(0, len(spans), passage_tokens):
        window = range(first, min(first + passage_tokens, len(spans)))
        real = [(i, span) for i in window if (span := spans[i]) is not None]
        if real:
            yield Passage(real[0][1][0], real[-1][1][1], unit(vectors[[i for i, _ in real]].mean(axis=0)))
