"""Filters: what they select, and what they refuse."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maas import PersonalMemoryBrain
from maas.errors import InvalidInputError
from maas.recall.filters import parse_filters
from tests.conftest import FakeClock

ROWS: dict[str, dict[str, Any]] = {
    "tokyo": {"city": "Tokyo", "n": 3, "tags": ["a", "B"], "ok": True, "address": {"zip": "1"}, 'odd"key': 1},
    "osaka": {"city": "Osaka", "n": 5.5, "tags": [1, None], "ok": False, "nothing": None},
    "bare": {},
}

CASES: list[tuple[dict[str, Any], set[str]]] = [
    ({"metadata.city": "Tokyo"}, {"tokyo"}),
    ({"metadata.city": ["Tokyo", "Osaka"]}, {"tokyo", "osaka"}),
    ({"metadata.city": {"ne": "Tokyo"}}, {"osaka", "bare"}),
    ({"metadata.n": {"gte": 3, "lt": 5}}, {"tokyo"}),
    ({"metadata.n": {"gt": 3}}, {"osaka"}),
    ({"metadata.n": {"lte": 5.5}}, {"tokyo", "osaka"}),
    ({"metadata.n": {"gt": "3"}}, set()),
    ({"metadata.n": 3.0}, {"tokyo"}),
    ({"metadata.n": "3"}, set()),
    ({"metadata.ok": True}, {"tokyo"}),
    ({"metadata.ok": 1}, set()),
    ({"metadata.nothing": None}, {"tokyo", "osaka", "bare"}),
    ({"metadata.ok": {"ne": None}}, {"tokyo", "osaka"}),
    ({"metadata.city": {"in": ["Tokyo"]}}, {"tokyo"}),
    ({"metadata.city": {"in": []}}, set()),
    ({"metadata.city": {"nin": ["Tokyo"]}}, {"osaka", "bare"}),
    ({"metadata.city": {"in": ["Tokyo", None, True, 3, 2.5]}}, {"tokyo", "bare"}),
    ({"metadata.ok": {"in": [True, 1, "Tokyo", True]}}, {"tokyo"}),
    ({"metadata.n": {"nin": [3, 5.5]}}, {"bare"}),
    ({"metadata.city": {"contains": "oky"}}, {"tokyo"}),
    ({"metadata.city": {"contains": "OKY"}}, set()),
    ({"metadata.city": {"icontains": "OKY"}}, {"tokyo"}),
    ({"metadata.tags": {"contains": "a"}}, {"tokyo"}),
    ({"metadata.tags": {"icontains": "b"}}, {"tokyo"}),
    ({"metadata.tags": {"contains": 1}}, {"osaka"}),
    ({"metadata.tags": {"contains": None}}, {"osaka"}),
    ({"metadata.address.zip": "1"}, {"tokyo"}),
    ({'metadata.odd"key': 1}, {"tokyo"}),
    ({"NOT": {"metadata.city": "Tokyo"}}, {"osaka", "bare"}),
    ({"NOT": [{"metadata.city": "Tokyo"}, {"metadata.city": "Osaka"}]}, {"bare"}),
    ({"NOT": {"metadata.n": {"gt": 3}}}, {"tokyo", "bare"}),
    ({"OR": [{"metadata.city": "Tokyo"}, {"metadata.n": 5.5}]}, {"tokyo", "osaka"}),
    ({"AND": [{"metadata.ok": True}, {"metadata.city": "Osaka"}]}, set()),
    ({"session_id": "s-tokyo"}, {"tokyo"}),
    ({"session_id": None}, set()),
    ({"key": {"contains": "k-"}}, {"tokyo", "osaka", "bare"}),
    ({"importance": {"gt": 0.5}}, {"osaka"}),
    ({"created_at": {"gte": "2024-01-01T00:00:00Z"}}, {"tokyo", "osaka", "bare"}),
    ({"created_at": {"lt": "2024-01-01"}}, set()),
]


@pytest.fixture
def filled(brain: PersonalMemoryBrain) -> PersonalMemoryBrain:
    for text, metadata in ROWS.items():
        importance = 0.9 if text == "osaka" else None
        brain.store(
            text, user_id="u", metadata=metadata, session_id=f"s-{text}", key=f"k-{text}", importance=importance
        )
    return brain


@pytest.mark.parametrize(("filters", "expected"), CASES, ids=[str(filters) for filters, _ in CASES])
def test_selects(filled: PersonalMemoryBrain, filters: dict[str, Any], expected: set[str]) -> None:
    assert {memory.text for memory in filled.list(user_id="u", filters=filters).results} == expected
    for mode in ("hybrid", "dense", "lexical"):
        hits = filled.recall("tokyo osaka bare", user_id="u", filters=filters, mode=mode).results
        assert {hit.text for hit in hits} == expected


def test_a_list_may_hold_a_thousand_values(filled: PersonalMemoryBrain) -> None:
    for field, ours in (("metadata.n", 3), ("metadata.city", "Tokyo"), ("key", "k-tokyo"), ("importance", 0.9)):
        others: list[Any] = list(range(10, 1_009)) if isinstance(ours, int) else [f"x{n}" for n in range(999)]
        if field == "importance":
            others = [n / 1_000 for n in range(899)]
        for operator in ("in", "nin"):
            found = filled.list(user_id="u", filters={field: {operator: [*others, ours]}}).results
            expected = {"osaka"} if field == "importance" else {"tokyo"}
            expected = expected if operator == "in" else set(ROWS) - expected
            assert {memory.text for memory in found} == expected, (field, operator)


def test_filter_and_its_negation_split_the_memories(filled: PersonalMemoryBrain) -> None:
    for filters, expected in CASES:
        rest = filled.list(user_id="u", filters={"NOT": filters}).results
        assert {memory.text for memory in rest} == set(ROWS) - expected, filters


def test_a_filter_asked_again_sees_what_has_changed(brain: PersonalMemoryBrain, clock: FakeClock) -> None:
    def found(value: Any) -> set[str]:
        hits = brain.recall("tea", user_id="u", filters={"metadata.hot": value}).results
        return {hit.text for hit in hits}

    soon = clock() + timedelta(hours=1)
    first = brain.store("tea one", user_id="u", metadata={"hot": True}).results[0].id
    brain.store("tea two", user_id="u", metadata={"hot": 1}, expires_at=soon)
    assert (found(True), found(1)) == ({"tea one"}, {"tea two"})
    third = brain.store("tea three", user_id="u", metadata={"hot": True}).results[0].id
    assert found(True) == {"tea one", "tea three"}
    brain.update(first, metadata={"hot": 1, "cold": False})
    assert (found(True), found(1)) == ({"tea three"}, {"tea one", "tea two"})
    clock.now = soon
    assert found(1) == {"tea one"}
    brain.store("tea four", user_id="u", metadata={"hot": 1}, supersedes=first)
    assert found(1) == {"tea four"}
    brain.delete(third)
    assert found(True) == set()
    brain.erase_user("u")
    brain.store("tea five", user_id="u", metadata={"hot": 1})
    assert found(1) == {"tea five"}


def nested(depth: int) -> dict[str, Any]:
    filters: dict[str, Any] = {"metadata.a": 1}
    for _ in range(depth):
        filters = {"AND": [filters]}
    return filters


@pytest.mark.parametrize(
    ("filters", "place"),
    [
        (nested(1_000), "filters.AND"),
        ({"NOT": nested(40)}, "filters.NOT"),
        ({"OR": [{"metadata.a": i} for i in range(300)]}, "filters.OR.255.metadata.a"),
        ({"OR": [{"metadata.a": {"in": list(range(1_000))}}] * 11}, "filters.OR.10.metadata.a.in"),
        ({"city": "Tokyo"}, "filters.city"),
        ({"metadata": 1}, "filters.metadata"),
        ({"metadata.": 1}, "filters.metadata."),
        ({"metadata.n": {"above": 1}}, "filters.metadata.n.above"),
        ({"metadata.n": {"in": 1}}, "filters.metadata.n.in"),
        ({"metadata.n": {"gt": None}}, "filters.metadata.n.gt"),
        ({"metadata.n": {"gt": {"a": 1}}}, "filters.metadata.n.gt"),
        ({"metadata.n": float("nan")}, "filters.metadata.n"),
        ({"metadata.n": 2**63}, "filters.metadata.n"),
        ({"metadata.n": "\ud800"}, "filters.metadata.n"),
        ({"created_at": {"gt": "yesterday"}}, "filters.created_at.gt"),
        ({"created_at": {"contains": "2024"}}, "filters.created_at.contains"),
        ({"session_id": 3}, "filters.session_id"),
        ({"AND": []}, "filters.AND"),
        ({"AND": {"metadata.a": 1}}, "filters.AND"),
        ({"AND": ["x"]}, "filters.AND.0"),
    ],
)
def test_refuses(filters: dict[str, Any], place: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        parse_filters(filters)
    assert caught.value.errors[0].field.startswith(place)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)
names = st.sampled_from(
    ["metadata.a", 'metadata.q"x', "metadata.a.b", "AND", "OR", "NOT", "name", "nonsense", "in", "gt"]
)


@given(st.dictionaries(names, json_values, max_size=3))
def test_any_json_is_parsed_or_refused_by_name(filters: dict[str, Any]) -> None:
    fault = None
    try:
        parse_filters(filters)
    except InvalidInputError as error:
        fault = error.errors[0].field
    assert fault is None or fault.startswith("filters")
