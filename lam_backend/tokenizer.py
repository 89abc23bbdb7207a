"""The base's WordPiece tokenizer."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path

from tokenizers import Tokenizer as FastTokenizer

PIECE_CHARACTERS = 20_000
"""Longer texts are tokenised piece by piece, so that a book needs no more memory than a page."""


def pieces(text: str) -> Iterator[tuple[int, str]]:
    """A text cut at white space (inside a word only if a word is longer than a piece), with each piece's offset."""
    start = 0
    while start < len(text):
        end = min(len(text), start + PIECE_CHARACTERS)
        if end < len(text):
            space = max(text.rfind(blank, start + 1, end) for blank in " \n\t")
            end = space if space > start else end
        yield start, text[start:end]
        start = end


def valid_text(text: object, place: str) -> str:
    """``text``, if it is a string of whole characters.

    Raises:
        TypeError: no string.
        ValueError: half of a surrogate pair, as cut UTF-16 leaves it; no tokenizer takes it.
    """
    if not isinstance(text, str):
        raise TypeError(f"{place} is a {type(text).__name__}; expected str")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"{place} holds a lone surrogate at position {error.start}; expected valid Unicode") from None
    return text


class Tokenizer:
    """Text → token ids, with the base's own normalisation; never cuts and never pads."""

    def __init__(self, folder: Path) -> None:
        self._fast = FastTokenizer.from_file(str(folder / "tokenizer.json"))
        self._fast.no_truncation()
        self._fast.no_padding()
        self.cls_id, self.sep_id, self.pad_id = (self._special(token) for token in ("[CLS]", "[SEP]", "[PAD]"))

    @cached_property
    def identity(self) -> str:
        """SHA-256 of the vocabulary and of how text is split."""
        return hashlib.sha256(self._fast.to_str().encode()).hexdigest()

    def _special(self, token: str) -> int:
        found = self._fast.token_to_id(token)
        if found is None:
            raise ValueError(f"the tokenizer has no {token} token; expected a BERT tokenizer")
        return int(found)

    def ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of each text without [CLS] and [SEP]."""
        if all(len(text) <= PIECE_CHARACTERS for text in texts):
            return [encoded.ids for encoded in self._fast.encode_batch(list(texts), add_special_tokens=False)]
        return [[i for _, piece in pieces(text) for i in self.ids_and_offsets(piece)[0]] for text in texts]

    def ids_and_offsets(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        """Ids of one text without specials, and each token's character range in it."""
        encoded = self._fast.encode(text, add_special_tokens=False)
        return encoded.ids, encoded.offsets

    def wrapped(self, ids: Sequence[int]) -> list[int]:
        """[CLS] ids [SEP]."""
        return [self.cls_id, *ids, self.sep_id]
