"""``MaasStore``: LangGraph's long-term memory on a brain, embedded or behind a server."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from langgraph.store.base import (
    BaseStore,
    GetOp,
    Item,
    ListNamespacesOp,
    Op,
    PutOp,
    Result,
    SearchItem,
    SearchOp,
    get_text_at_path,
    tokenize_path,
)

from maas.compat.langgraph.filters import Namespace, filters_of, key_of, matches, texts_in, within
from maas.compat.memories import Memories, batches, every
from maas.records import Memory, SearchHit
from maas.requests import MAX_TOP_K


class MaasStore(BaseStore):
    """Items as memories: a search with a query finds them by meaning and by words.

    An item is indexed by all strings of its value, or by the fields that ``index`` names; with ``index=False`` it is
    only found without a query, or after everything that was found by it. Items do not expire (no ``ttl``).

    Args:
        memories: a PersonalMemoryBrain or a MaasClient; it is left open.
        user_id: the maas user that holds the items.
        user_position: where in a namespace the user's id stands, such as 1 for ``("memories", user)``. Each user is
            then a maas user of their own, with keys, export and erasure; ``user_id`` is not used, and searches
            and listings must name the user.
    """

    def __init__(self, memories: Memories, *, user_id: str = "langgraph", user_position: int | None = None) -> None:
        self._memories = memories
        self._user_id = user_id
        self._position = user_position

    def batch(self, ops: Iterable[Op]) -> list[Result]:
        """Reads see what was there before the batch; of several puts to a key the last one counts."""
        results: list[Result] = []
        puts: dict[tuple[Namespace, str], PutOp] = {}
        for op in ops:
            if isinstance(op, PutOp):
                puts[op.namespace, op.key] = op
                results.append(None)
            elif isinstance(op, GetOp):
                results.append(self._get(op))
            elif isinstance(op, SearchOp):
                results.append(self._search(op))
            elif isinstance(op, ListNamespacesOp):
                results.append(self._list_namespaces(op))
            else:
                raise ValueError(f"unknown operation {type(op).__name__}")
        self._put(list(puts.values()))
        return results

    async def abatch(self, ops: Iterable[Op]) -> list[Result]:
        return await asyncio.to_thread(self.batch, list(ops))

    def _get(self, op: GetOp) -> Item | None:
        memory = self._find(op.namespace, op.key)
        return None if memory is None else _item(memory)

    def _find(self, namespace: Namespace, key: str) -> Memory | None:
        filters = {"key": key_of(namespace, key)}
        page = self._memories.list(user_id=self._user(namespace), filters=filters, limit=1)
        return next(iter(page.results), None)

    def _search(self, op: SearchOp) -> list[SearchItem]:
        user, end = self._user(op.namespace_prefix), op.offset + op.limit
        if not op.query:
            return [
                _search_item(memory)
                for memory in itertools.islice(self._all(user, filters_of(op), end), op.offset, end)
            ]
        filters = filters_of(op, indexed=True)
        hits: Sequence[Memory] = self._memories.recall(
            op.query, user_id=user, top_k=max(1, min(end, MAX_TOP_K)), filters=filters
        ).results
        found = hits[op.offset : end]
        if len(found) < op.limit:
            skipped, wanted = max(0, op.offset - len(hits)), op.limit - len(found)
            rest = self._all(user, filters_of(op, indexed=False), skipped + wanted)
            found = [*found, *itertools.islice(rest, skipped, None)]
        return [_search_item(memory) for memory in found]

    def _list_namespaces(self, op: ListNamespacesOp) -> list[Namespace]:
        conditions = op.match_conditions or ()
        prefixes: list[tuple[str, ...]] = [c.path for c in conditions if c.match_type == "prefix"]
        longest: tuple[str, ...] = max(prefixes, key=len, default=())
        prefix = tuple(itertools.takewhile(lambda part: part != "*", longest))
        found = {_namespace(memory) for memory in self._all(self._user(prefix), {"AND": within(prefix)})}
        kept = {namespace for namespace in found if all(matches(condition, namespace) for condition in conditions)}
        if op.max_depth is not None:
            kept = {namespace[: op.max_depth] for namespace in kept}
        return sorted(kept)[op.offset : op.offset + op.limit]

    def _put(self, ops: Sequence[PutOp]) -> None:
        kept = [self._request(op) for op in ops if op.value is not None]
        for batch in batches(kept):
            self._memories.store_batch(batch)
        for op in ops:
            if op.value is None and (memory := self._find(op.namespace, op.key)) is not None:
                self._memories.delete(memory.id, user_id=memory.user_id)

    def _request(self, op: PutOp) -> dict[str, Any]:
        assert op.value is not None
        texts = [] if op.index is False else list(_indexed_texts(op))
        kept = {"namespace": dict(enumerate_names(op.namespace)), "key": op.key, "value": op.value}
        return {
            "user_id": self._user(op.namespace),
            "text": "\n".join(texts) or f"{'/'.join(op.namespace)} {op.key}",
            "key": key_of(op.namespace, op.key),
            "metadata": {"langgraph": {**kept, "indexed": bool(texts)}},
            "dedupe": "off",
        }

    def _all(self, user: str, filters: dict[str, Any], limit: int | None = None) -> Iterator[Memory]:
        return every(self._memories, user_id=user, filters=filters, limit=limit)

    def _user(self, namespace: Namespace) -> str:
        if self._position is None:
            return self._user_id
        if len(namespace) <= self._position:
            raise ValueError(
                f"the namespace {namespace} ends before place {self._position}, where this store expects the user"
            )
        return namespace[self._position]


def enumerate_names(namespace: Namespace) -> Iterator[tuple[str, str]]:
    """A namespace as an object, whose places filters can ask for."""
    return ((str(place), part) for place, part in enumerate(namespace))


def _indexed_texts(op: PutOp) -> Iterator[str]:
    if not op.index:
        yield from texts_in(op.value)
        return
    for path in op.index:
        yield from (text for text in get_text_at_path(op.value, tokenize_path(path)) if text.strip())


def _namespace(memory: Memory) -> Namespace:
    parts = memory.metadata["langgraph"]["namespace"]
    return tuple(parts[str(place)] for place in range(len(parts)))


def _item(memory: Memory) -> Item:
    kept = memory.metadata["langgraph"]
    return Item(
        value=kept["value"],
        key=kept["key"],
        namespace=_namespace(memory),
        created_at=memory.created_at,
        updated_at=memory.updated_at,
    )


def _search_item(memory: Memory) -> SearchItem:
    item = _item(memory)
    return SearchItem(
        namespace=item.namespace,
        key=item.key,
        value=item.value,
        created_at=item.created_at,
        updated_at=item.updated_at,
        score=memory.score if isinstance(memory, SearchHit) else None,
    )
