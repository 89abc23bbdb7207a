"""Token ids of a text as long as is asked for, read from books piece by piece."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from lam_backend.text_file import lines
from lam_backend.tokenizer import Tokenizer

_PIECE = 4096


def book_pieces(paths: Sequence[Path]) -> Iterator[str]:
    """Pieces of a few thousand characters, the books one after the other and then again: never ends.

    Raises:
        ValueError: the books hold no text.
    """
    while True:
        read = 0
        for path in paths:
            piece = ""
            for line in lines(path):
                piece += line + "\n"
                if len(piece) >= _PIECE:
                    yield piece
                    read += len(piece)
                    piece = ""
            if piece.strip():
                yield piece
                read += len(piece)
        if not read:
            raise ValueError(f"{[str(path) for path in paths]} hold no text; expected books")


def token_pieces(tokenizer: Tokenizer, paths: Sequence[Path], tokens: int) -> Iterator[list[int]]:
    """Exactly ``tokens`` ids, in pieces; what was given before is not kept."""
    left = max(0, tokens)
    for piece in book_pieces(paths):
        ids = tokenizer.ids([piece])[0][:left]
        yield ids
        left -= len(ids)
        if left <= 0:
            return


def texts_of_length(tokenizer: Tokenizer, paths: Sequence[Path], tokens: int, count: int) -> list[str]:
    """``count`` different stretches of the books, each of about ``tokens`` tokens with [CLS] and [SEP]."""
    found: list[str] = []
    text = ""
    pieces = book_pieces(paths)
    while len(found) < count:
        _, spans = tokenizer.ids_and_offsets(text)
        if len(spans) < max(1, tokens - 2):
            text += next(pieces)
            continue
        end = spans[max(1, tokens - 2) - 1][1]
        found.append(text[:end])
        text = text[end:]
    return found
