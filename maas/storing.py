"""Storing: decide, encode, decide again under the lock, write.

The decision is made on a snapshot, to learn which texts must be encoded, and again inside the writing transaction
unless nobody has written to the users' memories since. Encoding itself never happens while the database is locked.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

import numpy as np

from maas.auditing import record
from maas.deciding import PROVISIONAL, Decision, decide
from maas.embedders.protocol import Vectors
from maas.idempotency import Repeatable
from maas.items import Item, Vector, hash_of, indexed_text
from maas.recall.analysis import document_terms
from maas.records import Event, HistoryEntry, Memory, Scope, Similar, StoreResponse, StoreResult
from maas.settings import DedupeSettings
from maas.storage.protocol import MemoryStore, ReadTransaction, WriteTransaction
from maas.storage.values import NewMemory, Replacement, Where

Forget = Callable[[WriteTransaction, Scope, Sequence[Memory]], None]
"""Called with memories as they are, before others take their places."""

SIMILAR_SHOWN = 5
# Beyond this many comparisons a request would wait for a courtesy: a large batch into a large memory.
SIMILAR_COMPARISONS = 4_000_000


class Storer:
    """Stores items for one actor, all or none."""

    def __init__(
        self,
        store: MemoryStore,
        encode: Callable[[Sequence[str]], Vectors],
        fingerprint: str,
        actor: str,
        new_id: Callable[[], str],
        thresholds: DedupeSettings,
        forget: Forget,
    ) -> None:
        self._forget = forget
        self._thresholds = thresholds
        self._store = store
        self._encode = encode
        self._fingerprint = fingerprint
        self._actor = actor
        self._new_id = new_id

    def run(self, items: Sequence[Item], repeatable: Repeatable, now: datetime) -> StoreResponse:
        semantic = any(item.dedupe == "semantic" for item in items)  # decided by vectors, which come last
        with self._store.read() as transaction:
            answer = repeatable.replay(transaction, now)
            if answer is not None:
                return _with_texts(answer, items)
            decisions = decide(transaction, items, self._fingerprint, now, self._thresholds.same_meaning)
            seen = _revisions(transaction, items)
        self._embed(decisions, seen, now)
        while True:
            with self._store.write() as transaction:
                transaction.hold({item.scope for item in items})
                answer = repeatable.replay(transaction, now)
                if answer is not None:
                    return _with_texts(answer, items)
                if semantic or _revisions(transaction, items) != seen:
                    decisions = decide(transaction, items, self._fingerprint, now, self._thresholds.same_meaning)
                if not any(_lacks_vector(decision) for decision in decisions):
                    ids = apply(transaction, decisions, self._fingerprint, now, self._actor, self._new_id, self._forget)
                    _audit(transaction, decisions, ids, now, self._actor)
                    response = _response(decisions, ids)
                    if repeatable.keyed:
                        # Without the texts: whoever repeats the request brings them along.
                        answer = response.model_dump(mode="json", exclude={"results": {"__all__": {"text"}}})
                        repeatable.remember(transaction, {item.scope.user_id for item in items}, answer, now)
                    return response
            # Since the snapshot another writer has removed what made an item known.
            self._embed(decisions, seen, now)

    def _embed(self, decisions: Sequence[Decision], seen: Mapping[Scope, int], now: datetime) -> None:
        items = [decision.item for decision in decisions if _lacks_vector(decision)]
        if not items:
            return
        vectors = self._encode([item.indexed_text for item in items])
        for item, vector in zip(items, vectors, strict=True):
            item.vector = vector
            item.terms  # noqa: B018 - now, and not while the database is locked
        met = [item for item in items if seen[item.scope]]  # those of others have nothing to be like
        if met:
            with self._store.read() as transaction:
                find_similar(transaction, met, self._fingerprint, now, self._thresholds.similar)


def apply(
    transaction: WriteTransaction,
    decisions: Sequence[Decision],
    fingerprint: str,
    now: datetime,
    actor: str,
    new_id: Callable[[], str],
    forget: Forget,
) -> list[str]:
    """Write what was decided; returns the id of each decision's memory."""
    ids: dict[tuple[Scope, str], str] = {}
    added: dict[Scope, list[NewMemory]] = defaultdict(list)
    for scope, moving in _moving(decisions).items():
        forget(transaction, scope, moving)
    for decision in decisions:
        if decision.event == "ADD":
            scope = decision.item.scope
            if decision.expired is not None:
                transaction.delete(scope, decision.expired.id)
            memory = decision.memory.model_copy(update={"id": transaction.tag(scope) + new_id()})
            ids[scope, decision.memory.id] = memory.id
            added[scope].append(_new_row(decision.item, memory, now, actor))
    transaction.insert(fingerprint, added)
    result = [ids.get((decision.item.scope, decision.memory.id), decision.memory.id) for decision in decisions]
    for decision, memory_id in zip(decisions, result, strict=True):  # in order: an item may undo what one before did
        if decision.before is not None:
            memory = decision.memory.model_copy(update={"id": memory_id})
            dated = decision.item.created_at is not None
            row = replacement(memory, decision.before, decision.item.vector, actor, dated=dated)
            transaction.replace(decision.item.scope, fingerprint, row)
        old = decision.item.supersedes
        if old is not None and old != memory_id:
            transaction.supersede(decision.item.scope, old, memory_id, decision.item.created_at or now, now)
    return result


def find_similar(
    transaction: ReadTransaction, items: Sequence[Item], fingerprint: str, now: datetime, least: float
) -> None:
    """Fill in ``similar`` of items that have a vector, where that is cheap."""
    by_scope: dict[Scope, list[Item]] = defaultdict(list)
    for item in items:
        if item.vector is not None:
            by_scope[item.scope].append(item)
    for scope, own in by_scope.items():
        known = transaction.coverage(scope, fingerprint).vectors
        if known == 0 or known * len(own) > SIMILAR_COMPARISONS:
            continue
        queries = np.stack([item.vector for item in own if item.vector is not None])
        hits = transaction.dense(scope, fingerprint, queries, SIMILAR_SHOWN, Where(now=now))
        near = [[(int(s), float(c)) for s, c in zip(h.seqs, h.scores, strict=True) if c >= least] for h in hits]
        shown = {seq for found in near for seq, _ in found}
        ids = transaction.ids(scope, shown) if shown else {}
        for item, found in zip(own, near, strict=True):
            item.similar = [Similar(id=ids[seq], score=min(1.0, score)) for seq, score in found if seq in ids]


def version_entry(
    memory: Memory, event: Event, at: datetime, actor: str, valid_from: datetime | None = None
) -> HistoryEntry:
    """``valid_from``: unset, when the memory was created."""
    return HistoryEntry(
        memory_id=memory.id,
        version=memory.version,
        event=event,
        text=memory.text,
        metadata=memory.metadata,
        importance=memory.importance,
        expires_at=memory.expires_at,
        at=at,
        valid_from=memory.created_at if valid_from is None else valid_from,
        actor=actor,
    )


def replacement(
    memory: Memory, before: Memory, vector: Vector | None, actor: str, *, dated: bool = False
) -> Replacement:
    """Row of a changed memory; ``vector`` is needed only if the indexed text changed.

    Args:
        dated: the change was said to be of ``created_at``; else it is of now.
    """
    said_at = memory.created_at if dated else max(memory.updated_at, memory.created_at)
    changed = indexed_text(before.text, before.name) != indexed_text(memory.text, memory.name)
    return Replacement(
        memory=memory,
        text_hash=hash_of(memory),
        entry=version_entry(memory, "UPDATE", memory.updated_at, actor, said_at),
        terms=document_terms(indexed_text(memory.text, memory.name)) if changed else None,
        vector=vector if changed else None,
    )


def _moving(decisions: Sequence[Decision]) -> dict[Scope, list[Memory]]:
    """By user, memories of the store, as they are, that get other words or another place in a session, or go."""
    first: dict[tuple[Scope, str], Memory] = {}
    moving: dict[tuple[Scope, str], Memory] = {}
    for decision in decisions:
        before = decision.before
        if before is not None and not before.id.startswith(PROVISIONAL):
            key = decision.item.scope, before.id
            stored = first.setdefault(key, before)
            if decision.needs_vector or _place(decision.memory) != _place(before):
                moving[key] = stored
    found: dict[Scope, list[Memory]] = defaultdict(list)
    for (scope, _), memory in moving.items():
        found[scope].append(memory)
    for decision in decisions:
        if decision.expired is not None:
            found[decision.item.scope].append(decision.expired)
    return found


def _place(memory: Memory) -> tuple[str | None, datetime]:
    return memory.session_id, memory.created_at


def _new_row(item: Item, memory: Memory, now: datetime, actor: str) -> NewMemory:
    assert item.vector is not None
    return NewMemory(
        memory=memory,
        text_hash=item.text_hash,
        terms=item.terms,
        vector=item.vector,
        stored_at=now,
        history=[version_entry(memory, "ADD", now, actor)],
    )


def _revisions(transaction: ReadTransaction, items: Sequence[Item]) -> dict[Scope, int]:
    return transaction.revisions({item.scope for item in items})


def _audit(
    transaction: WriteTransaction, decisions: Sequence[Decision], ids: Sequence[str], now: datetime, actor: str
) -> None:
    """One entry for each user something was written for."""
    written: dict[Scope, list[str]] = defaultdict(list)
    for decision, memory_id in zip(decisions, ids, strict=True):
        scope = decision.item.scope
        if decision.event != "NONE":
            written[scope].append(memory_id)
        if decision.expired is not None:
            record(transaction, scope.tenant, actor, "purge", now, user_id=scope.user_id, count=1)
    for scope, own in written.items():
        subject = own[0] if len(own) == 1 else None
        record(transaction, scope.tenant, actor, "store", now, user_id=scope.user_id, subject=subject, count=len(own))


def _lacks_vector(decision: Decision) -> bool:
    return decision.needs_vector and decision.item.vector is None


def _response(decisions: Sequence[Decision], ids: Sequence[str]) -> StoreResponse:
    results = [
        StoreResult(id=memory_id, text=d.item.text, event=d.event, similar=d.item.similar)
        for memory_id, d in zip(ids, decisions, strict=True)
    ]
    return StoreResponse(results=results)


def _with_texts(answer: Any, items: Sequence[Item]) -> StoreResponse:
    results = [{**result, "text": item.text} for result, item in zip(answer["results"], items, strict=True)]
    return StoreResponse.model_validate({"results": results})
