"""What speaks for a memory beside its match: the time the question names, being recent, being important.

Each multiplies the odds of a score, s / (1 − s), by a factor: scores stay in 0..1, what matches nothing stays at 0,
and how they combine does not depend on their order.

    time         1 + weight · nearness; nearness is 1 inside a period that the question names, and halves with every
                 period's length (a week at least) outside
    recency      1 + weight · 2^(−age / half-life)
    importance   (1 + weight)^(2 · importance − 1); without an importance the factor is 1
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from maas.recall.date_phrases import mentions_time
from maas.recall.periods import asked_at, periods_in
from maas.records import NamedPeriod
from maas.requests import SearchRequest
from maas.settings import RecallSettings

Floats = NDArray[np.float64]

_SHORTEST_FADE = timedelta(days=7)
_DAY = timedelta(days=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Priors:
    """Weights of 0 switch off.

    Attributes:
        now: what ages are counted to.
        periods: named by the question.
    """

    now: datetime
    periods: tuple[NamedPeriod, ...] = ()
    time_weight: float = 0.0
    recency_weight: float = 0.0
    recency_half_life_days: float = 30.0
    importance_weight: float = 0.0

    @property
    def weigh(self) -> bool:
        """Whether a factor can differ from 1."""
        return bool(self.periods and self.time_weight) or self.recency_weight > 0 or self.importance_weight > 0

    def odds(self, created: NDArray[np.int64], importance: Floats | None) -> dict[str, Floats]:
        """Factors (n,) by name, those in use.

        Args:
            created: microseconds since 1970, (n,).
            importance: 0..1, NaN where there is none, (n,); None if no memory has one.
        """
        factors: dict[str, Floats] = {}
        if self.periods and self.time_weight:
            nearness = np.max([_nearness(created, period) for period in self.periods], axis=0)
            factors["time"] = 1 + self.time_weight * nearness
        if self.recency_weight:
            ages = np.maximum(_microseconds(self.now) - created, 0) / (_DAY / _MICROSECOND)
            factors["recency"] = 1 + self.recency_weight * np.exp2(-ages / self.recency_half_life_days)
        if self.importance_weight and importance is not None:
            factors["importance"] = (1 + self.importance_weight) ** (2 * np.nan_to_num(importance, nan=0.5) - 1)
        return factors


def priors_for(
    request: SearchRequest,
    weights: RecallSettings,
    clock: datetime,
    latest: Callable[[datetime], datetime | None],
) -> Priors:
    """What counts for this question.

    Args:
        clock: the time now.
        latest: time → that of the user's newest memory by then; asked only if it matters.
    """
    dated = weights.time_weight > 0 and mentions_time(request.query)
    now = request.now or request.as_of or clock
    if request.now is None and (dated or weights.recency_weight > 0):
        now = asked_at(latest(now), now)
    return Priors(
        now=now,
        periods=periods_in(request.query, now) if dated else (),
        time_weight=weights.time_weight,
        recency_weight=weights.recency_weight,
        recency_half_life_days=weights.recency_half_life_days,
        importance_weight=weights.importance_weight,
    )


def raise_odds(scores: Floats, factors: dict[str, Floats]) -> Floats:
    """Scores (n,) in 0..1 with their odds multiplied by every factor (n,)."""
    product = np.prod(list(factors.values()), axis=0) if factors else np.ones(len(scores))
    raised: Floats = scores * product / (1 - scores + scores * product)
    return raised


def _nearness(created: NDArray[np.int64], period: NamedPeriod) -> Floats:
    start, end = _microseconds(period.start), _microseconds(period.end)
    outside = np.maximum(np.maximum(start - created, created - (end - 1)), 0)
    fade = max(period.end - period.start, _SHORTEST_FADE) / _MICROSECOND
    return np.exp2(-outside / fade)


def _microseconds(at: datetime) -> int:
    return (at - _EPOCH) // _MICROSECOND
