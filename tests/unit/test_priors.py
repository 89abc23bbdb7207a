"""Time, recency and importance as factors of the odds."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maas.recall.priors import Priors, raise_odds
from maas.records import NamedPeriod

NOW = datetime(2024, 1, 1, tzinfo=UTC)
MAY = NamedPeriod(phrase="May", start=datetime(2023, 5, 1, tzinfo=UTC), end=datetime(2023, 6, 1, tzinfo=UTC))


def microseconds(*times: datetime) -> np.ndarray:
    return np.array([int(time.timestamp() * 1_000_000) for time in times], np.int64)


def odds(priors: Priors, *times: datetime, importance: float = float("nan")) -> dict[str, list[float]]:
    found = priors.odds(microseconds(*times), np.full(len(times), importance))
    return {name: values.tolist() for name, values in found.items()}


def test_time_is_full_inside_and_halves_with_each_length_outside() -> None:
    priors = Priors(now=NOW, periods=(MAY,), time_weight=2.0)
    assert priors.weigh
    inside, last, after, far = odds(
        priors, MAY.start, MAY.end - timedelta(microseconds=1), MAY.end + timedelta(days=31), MAY.end.replace(year=2030)
    )["time"]
    assert inside == last == 3
    assert after == pytest.approx(2)
    assert far == pytest.approx(1, abs=1e-3)


def test_recency_halves_with_the_half_life_and_the_future_counts_as_now() -> None:
    priors = Priors(now=NOW, recency_weight=1.0, recency_half_life_days=10)
    assert odds(priors, NOW, NOW + timedelta(days=9), NOW - timedelta(days=10))["recency"] == pytest.approx([2, 2, 1.5])


@pytest.mark.parametrize(("importance", "factor"), [(1.0, 1.5), (0.5, 1), (float("nan"), 1), (0.0, 1 / 1.5)])
def test_importance_lifts_and_lowers(importance: float, factor: float) -> None:
    assert odds(Priors(now=NOW, importance_weight=0.5), NOW, importance=importance)["importance"] == [
        pytest.approx(factor)
    ]


def test_weights_of_nothing_ask_for_nothing() -> None:
    priors = Priors(now=NOW, periods=(MAY,))
    assert not priors.weigh
    assert odds(priors, NOW) == {}
    important = Priors(now=NOW, importance_weight=1)
    assert important.weigh
    assert important.odds(microseconds(NOW), None) == {}


scores = st.lists(st.floats(0, 1), min_size=1, max_size=20).map(np.array)


@given(scores, st.floats(0.01, 100))
def test_scores_stay_in_range_and_in_order(values: np.ndarray, factor: float) -> None:
    raised = raise_odds(values, {"time": np.full(len(values), factor)})
    assert ((raised >= 0) & (raised <= 1)).all()
    order = np.argsort(values)
    assert (np.diff(raised[order]) >= -1e-15).all()
    assert (raised[values == 0] == 0).all()


@given(scores)
def test_no_factor_changes_nothing(values: np.ndarray) -> None:
    assert raise_odds(values, {}) == pytest.approx(values)
