"""LangGraph's BaseStore: the calls of its own store tests, and parity with its InMemoryStore."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("langgraph.store.base", reason="the adapters' environment is made by `make test-all`")

from langgraph.store.base import BaseStore, GetOp, InvalidNamespaceError, ListNamespacesOp, PutOp, SearchOp
from langgraph.store.memory import InMemoryStore

from maas import PersonalMemoryBrain
from maas.client import MaasClient
from maas.compat.langgraph import MaasStore
from tests.live import serving


@pytest.fixture(params=["embedded", "http"])
def store(request: pytest.FixtureRequest, brain: PersonalMemoryBrain, tmp_path: Path) -> Iterator[BaseStore]:
    if request.param == "embedded":
        yield MaasStore(brain)
        return
    with serving(tmp_path / "served") as live, MaasClient(live.url, api_key=live.admin_key) as client:
        yield MaasStore(client)


def test_put_get_delete(store: BaseStore) -> None:
    namespace = ("users", "ana")
    store.put(namespace, "city", {"text": "Ana lives in Oslo", "since": 2019, "tags": ["home", "north"]})
    item = store.get(namespace, "city")
    assert item is not None
    assert (item.namespace, item.key, item.value["tags"]) == (namespace, "city", ["home", "north"])
    store.put(namespace, "city", {"text": "Ana lives in Lima"})
    again = store.get(namespace, "city")
    assert again is not None
    assert again.value == {"text": "Ana lives in Lima"}
    assert again.created_at == item.created_at
    assert again.updated_at > item.updated_at or isinstance(store, MaasStore)
    assert store.get(("users", "bo"), "city") is None
    store.delete(namespace, "city")
    store.delete(namespace, "city")
    assert store.get(namespace, "city") is None


def test_search_by_meaning_within_a_prefix(store: BaseStore) -> None:
    store.put(("a", "x"), "1", {"text": "the cat sleeps on the radiator"})
    store.put(("a", "y"), "2", {"text": "the train to Porto leaves at seven"})
    store.put(("ab",), "3", {"text": "the cat sleeps on the radiator as well"})
    found = store.search(("a",), query="where does the cat sleep")
    assert [item.key for item in found] == ["1", "2"]
    assert found[0].score is not None
    assert found[0].score > (found[1].score or 0)
    assert [item.key for item in store.search(("a",), query="cat", limit=1)] == ["1"]
    assert [item.key for item in store.search(("a",), query="where does the cat sleep", limit=1, offset=1)] == ["2"]
    assert {item.key for item in store.search((), query="cat")} == {"1", "2", "3"}


def test_what_is_not_indexed_comes_last_without_a_score(store: BaseStore) -> None:
    store.put(("n",), "plain", {"text": "sushi"}, index=False)
    store.put(("n",), "field", {"text": "sushi", "private": "tomatoes"}, index=["text"])
    found = store.search(("n",), query="sushi")
    assert [(item.key, item.score is None) for item in found] == [("field", False), ("plain", True)]
    assert len(store.search(("n",), query="sushi", limit=1)) == 1
    for n in range(3):
        store.put(("n",), f"more{n}", {"text": "tea"}, index=False)
    pages = [[item.key for item in store.search(("n",), query="sushi", limit=2, offset=n)] for n in (0, 2, 4)]
    assert sorted(key for page in pages for key in page) == ["field", "more0", "more1", "more2", "plain"]


@pytest.mark.parametrize(
    "wanted",
    [
        {"kind": "fact"},
        {"n": 2},
        {"n": {"$gte": 2}},
        {"n": {"$gt": 0, "$lt": 3}, "kind": "fact"},
        {"kind": {"$ne": "fact"}},
        {"kind": {"$eq": "fact"}},
        {"done": True},
        {"n": {"$lte": 1}},
    ],
)
def test_filters_agree_with_langgraphs_own_store(brain: PersonalMemoryBrain, wanted: dict[str, Any]) -> None:
    ours, theirs = MaasStore(brain), InMemoryStore()
    for number in range(4):
        value = {"n": number, "kind": "fact" if number % 2 else "plan", "done": number == 3}
        for store in (ours, theirs):
            store.put(("f",), str(number), value)
    expected = {item.key for item in theirs.search(("f",), filter=wanted)}
    assert {item.key for item in ours.search(("f",), filter=wanted)} == expected
    assert expected


def test_namespaces_agree_with_langgraphs_own_store(store: BaseStore) -> None:
    theirs = InMemoryStore()
    for namespace in (("a", "b", "c"), ("a", "b", "d"), ("a", "e"), ("f", "b", "c"), ("f",), ("a", "b", "c", "d")):
        for each in (store, theirs):
            each.put(namespace, "key", {"x": 1})
    for asked in (
        {},
        {"prefix": ("a", "b")},
        {"suffix": ("b", "c")},
        {"prefix": ("a", "*", "c")},
        {"prefix": ("a",), "suffix": ("d",)},
        {"max_depth": 2},
        {"prefix": ("a",), "max_depth": 1},
        {"limit": 2, "offset": 1},
        {"prefix": ("nothing",)},
    ):
        assert store.list_namespaces(**asked) == theirs.list_namespaces(**asked), asked


def test_a_batch_reads_before_it_writes(store: BaseStore) -> None:
    store.put(("b",), "1", {"v": "old"})
    results = store.batch(
        [
            PutOp(("b",), "1", {"v": "first"}),
            PutOp(("b",), "1", {"v": "last"}),
            GetOp(("b",), "1"),
            SearchOp(("b",)),
            ListNamespacesOp(),
            PutOp(("b",), "2", {"v": "two"}),
        ]
    )
    assert results[2].value == {"v": "old"}  # type: ignore[union-attr]
    assert [item.value for item in results[3]] == [{"v": "old"}]  # type: ignore[union-attr]
    assert results[4] == [("b",)]
    assert {item.value["v"] for item in store.search(("b",))} == {"last", "two"}


def test_async_calls(store: BaseStore) -> None:
    async def use() -> None:
        await asyncio.gather(*(store.aput(("async",), str(n), {"text": f"fact {n}"}) for n in range(5)))
        assert len(await store.asearch(("async",), query="fact", limit=3)) == 3
        await store.adelete(("async",), "1")
        assert await store.aget(("async",), "1") is None

    asyncio.run(use())


def test_awkward_names_and_values(store: BaseStore) -> None:
    for namespace, key in ((("a/b", "c"), "k"), (("a", "b/c"), "k"), (("ü" * 300,), "🔑" * 300)):
        store.put(namespace, key, {"nested": {"empty": [], "none": None}, "text": "x" * 2000})
        item = store.get(namespace, key)
        assert item is not None
        assert (item.namespace, item.key, item.value["nested"]) == (namespace, key, {"empty": [], "none": None})
    store.put(("empty",), "k", {})
    assert store.get(("empty",), "k").value == {}  # type: ignore[union-attr]
    with pytest.raises(InvalidNamespaceError):
        store.put(("a.b",), "k", {"x": 1})


def test_more_than_a_page(brain: PersonalMemoryBrain) -> None:
    store = MaasStore(brain)
    store.batch([PutOp(("many", str(n % 3)), str(n), {"n": n}, False) for n in range(1_100)])
    assert len(store.search(("many",), limit=2_000)) == 1_100
    assert [item.key for item in store.search(("many",), filter={"n": {"$lt": 1}})] == ["0"]
    assert len(store.list_namespaces(prefix=("many",))) == 3


def test_users_of_their_own(brain: PersonalMemoryBrain) -> None:
    store = MaasStore(brain, user_position=1)
    store.put(("memories", "ana"), "1", {"text": "likes tea"})
    store.put(("memories", "bo"), "1", {"text": "likes coffee"})
    assert [item.value for item in store.search(("memories", "ana"), query="likes")] == [{"text": "likes tea"}]
    assert store.list_namespaces(prefix=("memories", "bo")) == [("memories", "bo")]
    brain.erase_user("ana")
    assert store.get(("memories", "ana"), "1") is None
    assert store.get(("memories", "bo"), "1") is not None
    for call in (lambda: store.search(("memories",)), store.list_namespaces, lambda: store.put(("memories",), "1", {})):
        with pytest.raises(ValueError, match="place 1"):
            call()


def test_what_it_cannot_do_is_said(brain: PersonalMemoryBrain) -> None:
    store = MaasStore(brain)
    with pytest.raises(ValueError, match=r"\$regex"):
        store.search(("a",), filter={"x": {"$regex": "y"}})
    with pytest.raises(ValueError, match="list"):
        store.search(("a",), filter={"x": [1]})
    with pytest.raises(NotImplementedError):
        store.put(("a",), "k", {"x": 1}, ttl=5)
