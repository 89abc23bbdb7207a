"""What changed between two versions of a text, word by word."""

from __future__ import annotations

import re
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Literal

from maas.records import HistoryEntry

_WORD = re.compile(r"\S+\s*|\s+")
_MOST_WORDS, _MOST_VERSIONS = 2_000, 20


@dataclass(frozen=True, slots=True)
class Piece:
    text: str
    kind: Literal["same", "new", "gone"]


@dataclass(frozen=True, slots=True)
class Version:
    entry: HistoryEntry
    pieces: list[Piece]
    metadata_changed: bool


def versions(history: list[HistoryEntry]) -> list[Version]:
    """The newest first, each of the last 20 with what it changed in the one before."""
    found, before = [], None
    for number, entry in enumerate(history):
        told = before is not None and number >= len(history) - _MOST_VERSIONS
        pieces = changed(before.text, entry.text) if before and told else [Piece(entry.text, "same")]
        found.append(Version(entry, pieces, before is not None and before.metadata != entry.metadata))
        before = entry
    return found[::-1]


def changed(before: str, after: str) -> list[Piece]:
    """``after`` with what is new in it, and what is gone from ``before``; of very long texts only ``after``."""
    old, new = _WORD.findall(before), _WORD.findall(after)
    if before == after or max(len(old), len(new)) > _MOST_WORDS:
        return [Piece(after, "same")]
    pieces: list[Piece] = []
    for operation, a, b, c, d in SequenceMatcher(None, old, new).get_opcodes():
        if operation == "equal":
            pieces.append(Piece("".join(new[c:d]), "same"))
            continue
        pieces += [Piece("".join(old[a:b]), "gone"), Piece("".join(new[c:d]), "new")]
    return [piece for piece in pieces if piece.text]
