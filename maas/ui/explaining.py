"""Why a memory was found: the parts of its log-odds as bars around a middle."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

NAMES = {
    "prior": ("Before any evidence", "how unlikely it is that any one memory answers"),
    "dense": ("Meaning", "how close the memory alone comes in meaning"),
    "context": ("Meaning in context", "how close it comes once the turns around it are read as well"),
    "lexical": ("Words", "words of the question in the memory"),
    "neighbours": ("Words nearby", "words of the question in the turns around it"),
    "session": ("Session", "words of the question anywhere in its session"),
    "speaker": ("Speaker", "the question names who said it"),
    "role": ("Role", "said by the assistant, where the question is about the user"),
    "asks": ("Question", "it asks somebody, more than it tells"),
    "rerank": ("Word by word", "the comparison word by word"),
    "time": ("Time", "the question names the time of the memory"),
    "recency": ("Recency", "it was stored lately"),
    "importance": ("Importance", "it was marked as important, or as unimportant"),
}
WIDTH = 100.0  # of the longest bar to either side, in the units of the drawing
_VISIBLE = 0.005


@dataclass(frozen=True, slots=True)
class Bar:
    """``x`` and ``width`` in a drawing from -WIDTH to WIDTH."""

    name: str
    meaning: str
    value: float
    x: float
    width: float


def bars(explain: Mapping[str, float] | None) -> list[Bar]:
    """A bar for each part that changes anything, what speaks for the memory first."""
    parts = {name: value for name, value in (explain or {}).items() if abs(value) >= _VISIBLE}
    longest = max((abs(value) for value in parts.values()), default=1.0)
    found = []
    for name, value in sorted(parts.items(), key=lambda part: -part[1]):
        label, meaning = NAMES.get(name, (name, name))
        width = WIDTH * abs(value) / longest
        found.append(Bar(label, meaning, value, -width if value < 0 else 0.0, width))
    return found
