"""Text to token ids."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from tokenizers import Tokenizer as FastTokenizer

from .bundle import BundleError

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


class WordPieces:
    """The bundle's tokenizer; never cuts and never pads."""

    def __init__(self, file: Path) -> None:
        self.fast = FastTokenizer.from_file(str(file))
        self.fast.no_truncation()
        self.fast.no_padding()
        self.cls_id, self.sep_id, self.pad_id = (self._special(name) for name in ("[CLS]", "[SEP]", "[PAD]"))
        self.size = int(self.fast.get_vocab_size())

    def _special(self, token: str) -> int:
        found = self.fast.token_to_id(token)
        if found is None:
            raise BundleError(f"tokenizer.json has no {token} token; unpack the bundle again")
        return int(found)

    def ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of each text without [CLS] and [SEP]."""
        if len(texts) == 1 and len(texts[0]) <= PIECE_CHARACTERS:
            return [self.fast.encode(texts[0], add_special_tokens=False).ids]
        if all(len(text) <= PIECE_CHARACTERS for text in texts):
            return [encoded.ids for encoded in self.fast.encode_batch_fast(list(texts), add_special_tokens=False)]
        return [[i for _, piece in pieces(text) for i in self.ids_and_spans(piece)[0]] for text in texts]

    def ids_and_spans(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        """Ids of one text without specials, and each token's character range in it."""
        encoded = self.fast.encode(text, add_special_tokens=False)
        return encoded.ids, encoded.offsets

    def wrapped(self, ids: Sequence[int]) -> list[int]:
        """[CLS] ids [SEP]."""
        return [self.cls_id, *ids, self.sep_id]
