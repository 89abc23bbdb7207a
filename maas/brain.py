"""PersonalMemoryBrain: the life of a memory, from being stored to being recalled, changed and erased."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from maas.administration import Administration
from maas.contexts import Contexts
from maas.documents import Documents
from maas.embedders.protocol import Embedder, Vectors
from maas.errors import (
    ConflictError,
    FingerprintMismatchError,
)
from maas.fields import is_identifier
from maas.idempotency import Repeatable
from maas.ids import UlidFactory, sole
from maas.items import Item, indexed_text, items_of
from maas.logs import log_as_a_library
from maas.overviews import Overviews
from maas.portability import Portability
from maas.prompting import Prompting
from maas.recall.cursor import decode_cursor, encode_cursor
from maas.recall.filters import parse_filters
from maas.recall.late_interaction import late_interaction
from maas.recall.neighbourhood import with_neighbours
from maas.recall.past import Past
from maas.recall.priors import priors_for
from maas.recall.search import Question, search
from maas.records import (
    DEFAULT_TENANT,
    Deleted,
    History,
    Memory,
    Mode,
    Page,
    RecallResponse,
    Scope,
    StoreResponse,
)
from maas.redaction import accepted, build_redactor
from maas.requests import (
    BatchRequest,
    EncodeRequest,
    ListRequest,
    RecallRequest,
    Request,
    SearchRequest,
    StoreRequest,
    UpdateRequest,
    parse,
)
from maas.settings import Settings, load_settings
from maas.storage.opening import open_store
from maas.storage.protocol import MemoryStore, ReadTransaction, WriteTransaction
from maas.storage.values import Where
from maas.storing import Storer, replacement

EMBEDDED_ACTOR = "embedded"

Clock = Callable[[], datetime]


def utc_now() -> datetime:
    return datetime.now(UTC)


class PersonalMemoryBrain(Administration, Documents, Overviews, Portability, Prompting):
    """Stores and recalls memories of one tenant. Safe to share between threads; use it as a context manager.

    Args:
        settings: see :func:`maas.settings.load_settings`.
        embedder: encodes the texts; unset: the backend that ``settings.embedder`` names, closed with the brain.
        clock: the time in UTC.
        ids: unique, time-ordered strings of base32.

    Raises:
        ConfigError: the data folder cannot be written, the schema is newer, or no embedder can be loaded.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        embedder: Embedder | None = None,
        clock: Clock = utc_now,
        ids: Callable[[], str] | None = None,
    ) -> None:
        log_as_a_library()
        self.settings = settings
        self.tenant = DEFAULT_TENANT
        self.actor = EMBEDDED_ACTOR
        self._clock = clock
        self._ids = ids or UlidFactory()
        self._owns_store = True
        self._owns_embedder = embedder is None
        self._redact = build_redactor(settings.redaction)
        self._store: MemoryStore = open_store(settings)
        try:
            self._embedder = embedder if embedder is not None else _build(settings)
        except BaseException:
            self._store.close()
            raise
        self._contexts = Contexts(self._store, self._embedder)

    @classmethod
    def from_config(cls, path: str | Path | None = None, **overrides: Any) -> Self:
        """Open the brain that a config.yaml describes; ``overrides`` as for ``load_settings``."""
        return cls(load_settings(path, **overrides))

    def acting_as(self, tenant: str, actor: str) -> Self:
        """A view for another tenant and actor; it shares store and embedder, and closing it closes neither."""
        view = copy.copy(self)
        view.__dict__.update(tenant=tenant, actor=actor, _owns_store=False, _owns_embedder=False)
        return view

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the database, and the embedder if it was built here. Calling it twice is harmless."""
        if self._owns_store:
            self._store.close()
        if self._owns_embedder:
            self._embedder.close()

    @property
    def embedder(self) -> Embedder:
        return self._embedder

    # -- store ---------------------------------------------------------------------------------------------------

    def store(
        self, text: str | None = None, *, user_id: str, idempotency_key: str | None = None, **fields: Any
    ) -> StoreResponse:
        """Keep one text, or the turns of ``messages``. ``fields`` are those of :class:`StoreRequest`.

        Raises:
            InvalidInputError: names every field at fault; nothing was written.
            IdempotencyConflictError: the key came with another request before.
        """
        request = accepted(self._redact, StoreRequest, {"text": text, "user_id": user_id, **fields})
        return self._store_items(items_of(request, self.tenant), idempotency_key, [request])

    def store_messages(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        user_id: str,
        idempotency_key: str | None = None,
        **fields: Any,
    ) -> StoreResponse:
        """Keep the turns of a conversation, each as a memory of its own."""
        return self.store(user_id=user_id, messages=list(messages), idempotency_key=idempotency_key, **fields)

    def store_batch(
        self, memories: Sequence[Mapping[str, Any] | StoreRequest], *, idempotency_key: str | None = None
    ) -> StoreResponse:
        """Keep many memories, all or none, in one transaction; faults are named as ``memories.3.text``."""
        raw = [item.model_dump(exclude_unset=True) if isinstance(item, StoreRequest) else item for item in memories]
        requests = accepted(self._redact, BatchRequest, {"memories": raw}).memories
        items = [item for i, r in enumerate(requests) for item in items_of(r, self.tenant, f"memories.{i}")]
        return self._store_items(items, idempotency_key, requests)

    def _store_items(
        self, items: Sequence[Item], idempotency_key: str | None, requests: Sequence[Request]
    ) -> StoreResponse:
        moved: dict[str, tuple[Scope, Memory]] = {}

        def forget(transaction: WriteTransaction, scope: Scope, memories: Sequence[Memory]) -> None:
            self._contexts.forget(transaction, scope, memories)
            moved.update({memory.id: (scope, memory) for memory in memories})

        fingerprint = self._embedder.fingerprint
        storer = Storer(self._store, self._encode_all, fingerprint, self.actor, self._ids, self.settings.dedupe, forget)
        response = storer.run(items, Repeatable(self.tenant, idempotency_key, "store", requests), self._clock())
        changed: dict[tuple[Scope, str], list[str]] = {}
        for item, result in zip(items, response.results, strict=True):
            if item.session_id and (result.event == "ADD" or result.id in moved):
                changed.setdefault((item.scope, item.session_id), []).append(result.id)
        for (scope, session_id), ids in sorted(changed.items(), key=str):
            self._contexts.settle(scope, session_id, changed=ids)
        for scope, before in moved.values():
            if before.session_id is not None:
                self._contexts.settle(scope, before.session_id, around=(before.created_at, before.created_at))
        return response

    # -- recall --------------------------------------------------------------------------------------------------

    def recall(self, query: str, *, user_id: str, **fields: Any) -> RecallResponse:
        """The memories that answer ``query`` best. ``fields`` are those of :class:`RecallRequest`.

        A score is how likely the memory answers the question, in 0..1 in every mode; see docs/recall.md.

        Raises:
            InvalidInputError: names every field at fault.
            FingerprintMismatchError: dense or hybrid, and some of the user's vectors are of another embedder.
        """
        started = time.perf_counter()
        request = parse(RecallRequest, {"query": query, "user_id": user_id, **fields})
        scope, where = Scope(self.tenant, request.user_id), self._where(request)
        vector = None if request.mode == "lexical" else self._encode_all([request.query])[0]
        late = late_interaction(self._embedder, request.query) if request.rerank else None
        past = self._past(scope, where, request)
        with self._store.read() as transaction:
            if vector is not None:
                self._refuse_foreign_vectors(transaction, scope, request.mode)
            latest = partial(transaction.latest, scope)
            question = Question(
                text=request.query,
                vector=vector,
                fingerprint=self._embedder.fingerprint,
                context=self._contexts.space,
                mode=request.mode,
                top_k=request.top_k,
                candidates=self.settings.recall.candidates,
                min_score=request.min_score,
                explain=request.explain,
                mmr=request.balance,
                late=late,
                priors=priors_for(request, self.settings.recall, where.now, latest),
                past=past,
            )
            hits = with_neighbours(transaction, scope, search(transaction, scope, question, where))
        return RecallResponse(
            results=hits, periods=list(question.priors.periods), took_ms=(time.perf_counter() - started) * 1e3
        )

    def _refuse_foreign_vectors(self, transaction: ReadTransaction, scope: Scope, mode: Mode) -> None:
        """While re-embedding runs, a hybrid recall answers from what is done and from the words of the rest.

        A dense one has nothing to find the rest by: an answer without them would look like all there is.
        """
        coverage = transaction.coverage(scope, self._embedder.fingerprint)
        if coverage.complete:
            return
        running = self._reindexer.running(transaction)
        if mode != "hybrid" or not running:
            remedy = "wait for it to end" if running else "run `maas reindex`"
            raise FingerprintMismatchError(
                f"{coverage.memories - coverage.vectors:,} of {coverage.memories:,} memories of this user have vectors"
                f" of another embedder than {self._embedder.name}; {remedy}, or recall with mode"
                f" {'hybrid or ' if running else ''}lexical"
            )

    # -- one memory ----------------------------------------------------------------------------------------------

    def get(self, memory_id: str, *, user_id: str | None = None) -> Memory:
        """Raises NotFoundError if it is not there, expired, or another tenant's."""
        with self._store.read() as transaction:
            return self._find(transaction, memory_id, user_id)[1]

    def history(self, memory_id: str, *, user_id: str | None = None) -> History:
        """Every version of a memory, the first one first."""
        with self._store.read() as transaction:
            scope, memory = self._find(transaction, memory_id, user_id)
            return History(results=transaction.history(scope, memory.id))

    def update(
        self, memory_id: str, *, user_id: str | None = None, idempotency_key: str | None = None, **changes: Any
    ) -> Memory:
        """Change what is given (see :class:`UpdateRequest`); the version before stays in the history."""
        request = accepted(self._redact, UpdateRequest, changes)
        given = {name: getattr(request, name) for name in request.model_fields_set}
        repeatable = Repeatable(self.tenant, idempotency_key, f"update {memory_id}", [request])
        vector = None
        while True:
            now = self._clock()
            with self._store.read() as transaction:
                scope, before = self._find(transaction, memory_id, user_id)
            changed_text = given.get("text", before.text) != before.text
            if changed_text and vector is None:
                vector = self._encode_all([indexed_text(given["text"], before.name)])[0]
            with self._store.write() as transaction:
                scope, current = self._find(transaction, memory_id, user_id)
                _refuse_passage(current)
                if repeatable.replay(transaction, now) is not None:
                    return current
                if (current.text, current.name) != (before.text, before.name):
                    vector = None
                    continue
                after = current.model_copy(update=given)
                if not after.same_as(current):
                    after = after.model_copy(update={"updated_at": now, "version": current.version + 1})
                    row = replacement(after, current, vector, self.actor)
                    if row.vector is not None:
                        self._contexts.forget(transaction, scope, [current])
                    transaction.replace(scope, self._embedder.fingerprint, row)
                    self._record(transaction, "update", scope, memory_id)
                repeatable.remember(transaction, {scope.user_id}, {"id": memory_id}, now)
            if after.session_id is not None and vector is not None:
                self._contexts.settle(scope, after.session_id, changed=[after.id])
            return after

    def delete(self, memory_id: str, *, user_id: str | None = None) -> Deleted:
        """Remove a memory with its vectors, terms and versions.

        What it superseded is current again, or superseded by what superseded the removed one.
        """
        with self._store.write() as transaction:
            scopes = self._scopes(transaction, memory_id, user_id)
            held = [(scope, memory) for scope in scopes if (memory := transaction.get(scope, memory_id)) is not None]
            scope, memory = sole(held, "memory", memory_id)
            _refuse_passage(memory)
            self._contexts.forget(transaction, scope, [memory])
            transaction.delete(scope, memory_id)
            self._record(transaction, "delete", scope, memory_id)
        if memory.session_id is not None:
            self._contexts.settle(scope, memory.session_id, around=(memory.created_at, memory.created_at))
        return Deleted(id=memory_id)

    # -- all of a user -------------------------------------------------------------------------------------------

    def list(self, *, user_id: str, **fields: Any) -> Page:
        """A page of memories, newest first. ``fields`` are those of :class:`ListRequest`."""
        request = parse(ListRequest, {"user_id": user_id, **fields})
        scope, where = Scope(self.tenant, request.user_id), self._where(request)
        after = decode_cursor(self.tenant, request)
        with self._store.read() as transaction:
            rows = transaction.page(scope, where, request.limit + 1, after)
        page, more = rows[: request.limit], len(rows) > request.limit
        cursor = encode_cursor(self.tenant, request, page[-1][1].created_at, page[-1][0]) if more else None
        return Page(results=[memory for _, memory in page], next_cursor=cursor)

    # -- vectors -------------------------------------------------------------------------------------------------

    def encode(self, texts: Sequence[str]) -> Vectors:
        """(n,) texts → (n, dim) float32 of unit length."""
        return self._encode_all(parse(EncodeRequest, {"texts": list(texts)}).texts)

    def _encode_all(self, texts: Sequence[str]) -> Vectors:
        distinct = list(dict.fromkeys(texts))
        vectors = self._embedder.encode(distinct)
        if len(distinct) == len(texts):
            return vectors
        place = {text: row for row, text in enumerate(distinct)}
        return np.ascontiguousarray(vectors[[place[text] for text in texts]])

    # -- shared steps --------------------------------------------------------------------------------------------

    def _where(self, request: SearchRequest | ListRequest) -> Where:
        return Where(
            now=self._clock(),
            agent_id=request.agent_id,
            session_id=request.session_id,
            since=request.since,
            until=request.until,
            include_superseded=request.include_superseded,
            filters=parse_filters(request.filters),
            as_of=request.as_of if isinstance(request, SearchRequest) else None,
        )

    def _past(self, scope: Scope, where: Where, request: RecallRequest) -> Past | None:
        if where.as_of is None:
            return None
        with self._store.read() as transaction:
            versions = transaction.earlier_versions(scope, where)
        encode = None if request.mode == "lexical" else self._encode_all
        return Past.encoded(where.as_of, versions, request.query, encode)

    def _scopes(self, transaction: ReadTransaction, memory_id: str, user_id: str | None) -> Sequence[Scope]:
        """Who may hold the memory: the user who is named, else whom the id leads to."""
        if not is_identifier(memory_id) or (user_id is not None and not is_identifier(user_id)):
            return []
        users = [user_id] if user_id is not None else transaction.owners(self.tenant, memory_id)
        return [Scope(self.tenant, user) for user in users]

    def _find(self, transaction: ReadTransaction, memory_id: str, user_id: str | None) -> tuple[Scope, Memory]:
        now, held = self._clock(), []
        for scope in self._scopes(transaction, memory_id, user_id):
            memory = transaction.get(scope, memory_id)
            if memory is not None and (memory.expires_at is None or memory.expires_at > now):
                held.append((scope, memory))
        return sole(held, "memory", memory_id)


def _build(settings: Settings) -> Embedder:
    from maas.embedders.factory import build_embedder

    return build_embedder(settings)


def _refuse_passage(memory: Memory) -> None:
    if memory.document_id is not None:
        raise ConflictError(
            f"this is a passage of the document {memory.document_id}, which stays whole; delete the document, or store"
            " another text"
        )
