"""Evaluation sentences that no training text may repeat."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from lam_backend.text_file import lines

_NOT_ALNUM = re.compile(r"[^a-z0-9]+")
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+|\n+")
_SHA1 = re.compile(r"[0-9a-f]{40}")
_CLAUSE_END = re.compile(r"[.!?:;][^\w\s]*\s+|\n+")


def sentences(text: str) -> list[str]:
    """Split after ``.``, ``!``, ``?`` and at line breaks; empty pieces are left out."""
    return [piece for piece in (part.strip() for part in _SENTENCE_END.split(text)) if piece]


def normal_form(text: str) -> str:
    """Lower case, every run of other characters than a-z and 0-9 one space, stripped."""
    return _NOT_ALNUM.sub(" ", text.lower()).strip()


class Blocklist:
    """SHA-1 of normal forms; a text is blocked when it, or any of its sentences or clauses, is listed."""

    def __init__(self, digests: Iterable[str]) -> None:
        self._digests = frozenset(digests)
        self.dropped = 0

    @classmethod
    def read(cls, path: Path) -> Blocklist:
        """One hexadecimal SHA-1 a line, gzipped.

        Raises:
            FileNotFoundError, ValueError: training without a whole blocklist is refused.
        """
        if not path.is_file():
            raise FileNotFoundError(f"{path} is missing; without it evaluation sentences could be trained on")
        try:
            digests = [line.strip() for line in lines(path) if line.strip()]
        except (EOFError, OSError, UnicodeDecodeError) as error:
            raise ValueError(f"{path} is damaged ({error}); fetch it anew") from None
        strange = next((digest for digest in digests if not _SHA1.fullmatch(digest)), None)
        if strange is not None or not digests:
            found = "nothing" if strange is None else repr(strange)
            raise ValueError(f"{path} holds {found}; expected a SHA-1 of 40 hexadecimal digits a line")
        return cls(digests)

    def __len__(self) -> int:
        return len(self._digests)

    @property
    def identity(self) -> str:
        """SHA-256 of what is listed, whatever the order."""
        return hashlib.sha256("".join(sorted(self._digests)).encode()).hexdigest()

    def blocks(self, text: str) -> bool:
        return any(self._listed(part) for part in {text, *sentences(text), *_CLAUSE_END.split(text)})

    def _listed(self, text: str) -> bool:
        return hashlib.sha1(normal_form(text).encode(), usedforsecurity=False).hexdigest() in self._digests

    def allowed(self, texts: Iterable[str]) -> Iterator[str]:
        """The texts that are not blocked; counts the others in ``dropped``."""
        for text in texts:
            if self.blocks(text):
                self.dropped += 1
            else:
                yield text
