"""The same thousands of random calls to a brain on SQLite and to one on PostgreSQL: the same answers.

The stream is seeded. What may differ is named here: scores by up to 0.001, since the two add up products in another
order, and for the same reason the order of two hits whose scores differ by less than that.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from typing import Any

import pytest

from maas import PersonalMemoryBrain, Settings
from maas.errors import MaasError
from maas.records import SearchHit
from tests.conftest import FakeClock
from tests.fakes import ContextualFakeEmbedder

CALLS = 2_000
SEEDS = (1, 2, 3, 4)
TOLERANCE = 1e-3
USERS = ["ana", "bea", 'C\'ai \\ "%_"', "日本"]
WORDS = [
    *(
        "red",
        "blue",
        "boat",
        "fish",
        "sail",
        "Lisbon",
        "Porto",
        "garden",
        "tomato",
        "Straße",
        "STRASSE",
        "naïve",
        "café",
    ),
    *("İstanbul", "σίγμας", "東京", "タワー", "it's", "don't", "100%", "a_b", "C:\\dir", "'quoted'", '"double"', "😀"),
    *("café", "the", "of", "run", "running", "ran"),
]
Answer = Callable[[PersonalMemoryBrain], Any]


@pytest.fixture
def pair(
    settings: Settings, postgres_settings: Settings, clock: FakeClock
) -> Iterator[tuple[PersonalMemoryBrain, PersonalMemoryBrain]]:
    embedder = ContextualFakeEmbedder(dim=32)
    brains = [
        PersonalMemoryBrain(where, embedder=embedder, clock=clock, ids=_Numbered())
        for where in (settings, postgres_settings)
    ]
    yield brains[0], brains[1]
    for brain in brains:
        brain.close()


class _Numbered:
    """Ids by number: the same for both."""

    def __init__(self) -> None:
        self._last = 0

    def __call__(self) -> str:
        self._last += 1
        return f"{self._last:026d}"


class Calls:
    """Random calls; an id is named by its last 26 characters, since each database gives its users tags of its own."""

    def __init__(self, chance: random.Random, clock: FakeClock) -> None:
        self._chance = chance
        self._clock = clock
        self._stored = 0

    def next(self) -> Answer:
        kinds = (
            [self.store] * 6 + [self.recall] * 8 + [self.filtered] * 4 + [self.list] * 2 + [self.delete, self.update]
        )
        kinds += [self.converse, self.past, self.similar]
        made = self._chance.choice(kinds)()
        if self._chance.random() < 0.004:
            made = self.erase()
        self._clock.advance(seconds=self._chance.choice([0, 1, 3600, 86400]))
        return made

    def text(self, most: int = 8) -> str:
        return " ".join(self._chance.choices(WORDS, k=self._chance.randint(1, most)))

    def user(self) -> str:
        return self._chance.choice(USERS)

    def metadata(self) -> dict[str, Any]:
        values: list[Any] = [
            1,
            1.0,
            2,
            2.5,
            -3,
            True,
            False,
            None,
            "1",
            "Straße",
            "red boat",
            "",
            ["red", 1, None, True],
        ]
        values += [["Straße", ["red"]], {"deep": 1}, 2**53 + 1, 0.1, 1e300, "ZZ", "zz", "é"]
        keys = ["n", "city", "a b", 'quo"te', "back\\slash", "ключ", "tags"]
        return {self._chance.choice(keys): self._chance.choice(values) for _ in range(self._chance.randint(0, 4))}

    def condition(self) -> dict[str, Any]:
        key, value = next(iter((self.metadata() or {"n": 1}).items()))
        field = f"metadata.{key}"
        scalar = value if not isinstance(value, (list, dict)) else "red"
        operator = self._chance.choice(
            ["eq", "ne", "gt", "gte", "lt", "lte", "in", "nin", "contains", "icontains", "bare"]
        )
        if operator == "bare":
            return {field: scalar}
        if operator in ("in", "nin"):
            return {field: {operator: [scalar, "red boat", 2]}}
        if operator == "icontains":
            return {field: {operator: self._chance.choice(["strasse", "RED", "É", "z"])}}
        if operator in ("gt", "gte", "lt", "lte") and (scalar is None or isinstance(scalar, bool)):
            scalar = 2
        return {field: {operator: scalar}}

    def filters(self) -> dict[str, Any]:
        chosen = [self.condition() for _ in range(self._chance.randint(1, 3))]
        chosen.append(
            self._chance.choice(
                [
                    {"importance": {"gte": 0.5}},
                    {"role": {"ne": "user"}},
                    {"name": {"icontains": "AN"}},
                    {"agent_id": ["a", "b"]},
                    {"created_at": {"lte": self._clock.now.isoformat()}},
                    {"session_id": None},
                ]
            )
        )
        return {self._chance.choice(["AND", "OR", "NOT"]): chosen}

    def store(self) -> Answer:
        self._stored += 1
        fields: dict[str, Any] = {"text": self.text(), "user_id": self.user(), "metadata": self.metadata()}
        optional: dict[str, Any] = {
            "agent_id": self._chance.choice(["a", "b"]),
            "importance": self._chance.choice([0, 0.1, 0.5, 1]),
            "key": self._chance.choice(["home", "job", "k'ey"]),
            "session_id": self._chance.choice(["s1", "s2"]),
            "name": self._chance.choice(["Ana", "Ian"]),
            "expires_at": self._clock.now + timedelta(days=self._chance.choice([1, 30])),
            "created_at": self._clock.now - timedelta(days=self._chance.randint(0, 400)),
            "dedupe": self._chance.choice(["off", "exact", "semantic"]),
        }
        fields |= {name: value for name, value in optional.items() if self._chance.random() < 0.2}
        return lambda brain: [(r.event, r.text) for r in brain.store(**fields).results]

    def converse(self) -> Answer:
        turns = [{"role": self._chance.choice(["user", "assistant"]), "content": self.text()} for _ in range(3)]
        user, session = self.user(), self._chance.choice(["s1", "s2", "s3"])
        return lambda brain: [r.event for r in brain.store_messages(turns, user_id=user, session_id=session).results]

    def recall(self, **fields: Any) -> Answer:
        asked: dict[str, Any] = {
            "query": self._chance.choice([self.text(4), "when did I sail to Lisbon last month?", "what did you say?"]),
            "user_id": self.user(),
            "mode": self._chance.choice(["hybrid", "dense", "lexical"]),
            "top_k": self._chance.choice([1, 5, 20]),
            **fields,
        }
        return lambda brain: [_plain(hit) for hit in brain.recall(**asked).results]

    def filtered(self) -> Answer:
        return self.recall(filters=self.filters(), include_superseded=self._chance.random() < 0.3)

    def past(self) -> Answer:
        return self.recall(as_of=self._clock.now - timedelta(days=self._chance.randint(0, 60)))

    def similar(self) -> Answer:
        since = self._clock.now - timedelta(days=self._chance.randint(0, 300))
        return self.recall(since=since, session_id=self._chance.choice(["s1", "s9"]))

    def list(self) -> Answer:
        asked: dict[str, Any] = {"user_id": self.user(), "limit": self._chance.choice([3, 50])}
        if self._chance.random() < 0.6:
            asked["filters"] = self.filters()
        return lambda brain: [_named(memory.model_dump()) for memory in brain.list(**asked).results]

    def update(self) -> Answer:
        user, text, place = self.user(), self.text(), self._chance.random()

        def change(brain: PersonalMemoryBrain) -> Any:
            found = brain.list(user_id=user, limit=100).results
            if not found:
                return None
            changed = brain.update(found[int(place * len(found))].id, user_id=user, text=text)
            return _named(changed.model_dump()), len(brain.history(changed.id, user_id=user).results)

        return change

    def delete(self) -> Answer:
        user, place = self.user(), self._chance.random()

        def remove(brain: PersonalMemoryBrain) -> Any:
            found = brain.list(user_id=user, limit=100, include_superseded=True).results
            return brain.delete(found[int(place * len(found))].id, user_id=user).id[-26:] if found else None

        return remove

    def erase(self) -> Answer:
        user = self.user()

        def erased(brain: PersonalMemoryBrain) -> Any:
            receipt = brain.erase_user(user)
            before = {name: count for name, count in receipt.before.items() if name != "vector_cache"}
            return before, any(receipt.after.values())

        return erased


def _named(values: dict[str, Any]) -> dict[str, Any]:
    short = {name: values[name] and values[name][-26:] for name in ("id", "superseded_by")}
    return values | short


def _plain(hit: SearchHit) -> tuple[str, float]:
    return hit.id[-26:], hit.score


def answer(call: Answer, brain: PersonalMemoryBrain) -> Any:
    try:
        return call(brain)
    except MaasError as error:
        return error.code, error.detail


def same(here: Any, there: Any) -> bool:
    """Equal; of hits, ids in order unless scores lie too close to tell, and scores within the tolerance."""
    if not (isinstance(here, list) and here and isinstance(here[0], tuple) and isinstance(here[0][1], float)):
        return bool(here == there)
    return len(here) == len(there) and all(
        abs(left[1] - right[1]) <= TOLERANCE and (left[0] == right[0] or _close(left[1], here, there))
        for left, right in zip(here, there, strict=True)
    )


def _close(score: float, *hits: Sequence[tuple[str, float]]) -> bool:
    """Whether another hit, or the one that was just cut off, has about this score."""
    near = [sum(abs(other - score) <= 2 * TOLERANCE for _, other in each) for each in hits]
    return min(near) > 1 or score <= min(hit[1] for hit in hits[0]) + TOLERANCE


@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", SEEDS)
def test_both_answer_alike(seed: int, pair: tuple[PersonalMemoryBrain, PersonalMemoryBrain], clock: FakeClock) -> None:
    calls = Calls(random.Random(seed), clock)
    swapped = 0
    for number in range(CALLS // len(SEEDS)):
        call = calls.next()
        here, there = (answer(call, brain) for brain in pair)
        assert same(here, there), f"call {number} of seed {seed}: {here} is not {there}"
        swapped += here != there and [hit[0] for hit in here] != [hit[0] for hit in there]
    assert swapped <= CALLS * 0.01, "hits in another order are few"
