"""Which turns of a session are read together: windows of consecutive turns.

Now and then a turn begins a window whatever stands before it. So a change has no say beyond the two such turns around
it, and appending to a session of years looks at its last turns alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol, TypeVar

WINDOW_TERMS = 168
"""About 224 tokens of English: 1.33 for each of the terms that are counted when a memory is stored."""

# Multiples of 0.618 lie evenly in 0..1 (Knuth, The Art of Computer Programming 3, section 6.4): of a hundred rows that
# were stored one after the other, or in equal steps, one or two begin a window.
SPREAD, RANGE, BEGINS = 40_503, 65_536, 1_024


class Turn(Protocol):
    """Has a row number, and a length in terms."""

    @property
    def seq(self) -> int: ...

    @property
    def terms(self) -> int: ...


T = TypeVar("T", bound=Turn)


def begins_window(seq: int) -> bool:
    return seq * SPREAD % RANGE < BEGINS


def packed(turns: Sequence[T]) -> Iterator[tuple[T, ...]]:
    """Consecutive turns of at most WINDOW_TERMS together; a longer turn stands alone."""
    window: list[T] = []
    terms = 0
    for turn in turns:
        if window and (begins_window(turn.seq) or terms + turn.terms > WINDOW_TERMS):
            yield tuple(window)
            window, terms = [], 0
        window.append(turn)
        terms += turn.terms
    if window:
        yield tuple(window)
