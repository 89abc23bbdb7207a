"""Users listed, what lies around a memory, and the map."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from maas import PersonalMemoryBrain, Settings
from maas.errors import InvalidInputError, NotFoundError
from maas.overviews import principal_plane
from tests.conftest import FakeClock
from tests.fakes import StreamingFakeEmbedder


def test_users_are_listed_a_page_at_a_time_in_their_tenant_alone(brain: PersonalMemoryBrain, clock: FakeClock) -> None:
    for user in ("cleo", "Ann", "bob_1", "bobx1"):
        brain.store("hello", user_id=user)
    brain.store("hello again", user_id="cleo", created_at=clock() - timedelta(days=9))
    brain.acting_as("other", "test").store("hello", user_id="dora")
    brain.store_document("A long text. It goes on.", user_id="bobx1")
    first = brain.list_users(limit=3)
    assert [user.user_id for user in first.results] == ["Ann", "bob_1", "bobx1"]
    second = brain.list_users(limit=3, cursor=first.next_cursor)
    assert [(u.user_id, u.memories, u.documents, u.latest) for u in second.results] == [("cleo", 2, 0, clock())]
    assert second.next_cursor is None
    assert first.results[2].documents == 1
    assert [user.user_id for user in brain.list_users(matching="ANN").results] == ["Ann"]
    assert [user.user_id for user in brain.list_users(matching="b_1").results] == ["bob_1"]
    with pytest.raises(InvalidInputError, match="limit"):
        brain.list_users(limit=0)


def test_around_a_turn_lie_the_turns_of_its_session_and_what_is_alike(brain: PersonalMemoryBrain) -> None:
    words = ("one", "two", "three", "four", "five", "six", "seven")
    said = [{"role": "user", "content": f"turn {word}"} for word in words]
    ids = [result.id for result in brain.store_messages(said, user_id="ann", session_id="s").results]
    brain.store("turn four again", user_id="ann", session_id="t")
    brain.store("turn four, says bob", user_id="bob")
    around = brain.surroundings(ids[3], user_id="ann")
    assert [memory.text for memory in around.before] == ["turn one", "turn two", "turn three"]
    assert [memory.text for memory in around.after] == ["turn five", "turn six", "turn seven"]
    assert around.nearest[0].text == "turn four again"
    assert all(0 <= hit.score <= 1 and hit.user_id == "ann" and hit.id != ids[3] for hit in around.nearest)
    lone = brain.store("elsewhere", user_id="ann").results[0].id
    assert (brain.surroundings(lone).before, brain.surroundings(lone).after) == ([], [])
    with pytest.raises(NotFoundError):
        brain.surroundings(ids[3], user_id="bob")


def test_around_a_passage_lie_the_passages_of_its_document(settings: Settings) -> None:
    text = " ".join(f"Sentence number {n} tells of many things." for n in range(300))
    with PersonalMemoryBrain(settings, embedder=StreamingFakeEmbedder()) as brain:
        document = brain.store_document(text, user_id="ann")
        passages = sorted(brain.list(user_id="ann", limit=1000).results, key=lambda passage: passage.start or 0)
        assert len(passages) == document.passages > 4
        around = brain.surroundings(passages[2].id)
    assert [passage.start for passage in around.before] == [passage.start for passage in passages[:2]]
    assert around.after[0].start == passages[2].end


def test_the_map_puts_what_is_alike_close(brain: PersonalMemoryBrain) -> None:
    sea = ["the sea is blue", "the sea is deep", "the sea is cold", "the sea is wide"]
    tax = ["my tax form came", "my tax form went", "my tax form lies there", "my tax form again"]
    for text in (*sea, *tax):
        brain.store(text, user_id="ann", dedupe="off")
    brain.store("the sea of bob", user_id="bob")
    landscape = brain.landscape("ann")
    at = {place.memory.text: np.array([place.x, place.y]) for place in landscape.places}
    assert set(at) == {*sea, *tax}
    assert landscape.total == 8
    within = np.mean([np.linalg.norm(at[a] - at[b]) for group in (sea, tax) for a in group for b in group])
    between = np.mean([np.linalg.norm(at[a] - at[b]) for a in sea for b in tax])
    assert between > 2 * within
    assert 0.2 < landscape.shown_variance <= 1
    assert len(brain.landscape("ann", limit=3).places) == 3
    assert brain.landscape("nobody").places == []


@given(arrays(np.float32, st.tuples(st.integers(0, 12), st.just(5)), elements=st.floats(-1, 1, width=32)))
def test_the_plane_is_bounded_and_the_same_each_time(vectors: np.ndarray) -> None:
    points, share = principal_plane(vectors)
    assert points.shape == (len(vectors), 2)
    assert np.abs(points).max(initial=0) <= 1 + 1e-9
    assert 0 <= share <= 1
    assert np.array_equal(points, principal_plane(vectors)[0])


def test_the_plane_is_that_of_the_singular_vectors() -> None:
    vectors = np.random.default_rng(0).standard_normal((40, 6)).astype(np.float32) * [9, 5, 1, 1, 1, 1]
    centred = vectors - vectors.mean(axis=0)
    _, values, axes = np.linalg.svd(centred, full_matrices=False)
    expected = centred @ axes[:2].T
    points, share = principal_plane(vectors)
    assert np.allclose(np.abs(points), np.abs(expected) / np.abs(expected).max(), atol=1e-5)
    assert share == pytest.approx((values[:2] ** 2).sum() / (values**2).sum())
