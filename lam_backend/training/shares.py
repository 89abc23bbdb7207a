"""What is drawn from several kinds of source, each in its share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

import numpy as np

Source = TypeVar("Source")
Made = TypeVar("Made")


def drawn(
    shares: Mapping[str, float],
    count: int,
    seeds: tuple[int, int],
    read: Callable[[str], Iterable[Source]],
    make: Callable[[str, Source, np.random.Generator], Iterable[Made]],
) -> list[Made]:
    """``int(count · share)`` of what ``make`` makes of each kind's sources in a random order; fewer if they run out.

    Args:
        seeds: the run's, and what the number of a kind is added to, so that others draw otherwise.
        read: a kind's sources.
        make: a kind, one source and the kind's generator → what it gives, none or many.
    """
    seed, first = seeds
    chosen: list[Made] = []
    for index, (kind, share) in enumerate(shares.items()):
        rng = np.random.default_rng([seed, first + index])
        wanted = len(chosen) + int(count * share)
        found = list(read(kind))
        for place in rng.permutation(len(found)):
            chosen.extend(make(kind, found[place], rng))
            if len(chosen) >= wanted:
                break
        del chosen[wanted:]
    return chosen
