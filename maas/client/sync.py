"""The synchronous client."""

from __future__ import annotations

import builtins
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import IO, Any, Self, TypeVar

import httpx2

from maas.client import _requests
from maas.client._answers import error_of, result
from maas.client._base import (
    DEFAULT_RETRIES,
    DEFAULT_TIMEOUT,
    DEFAULT_URL,
    POLL_SECONDS,
    BaseClient,
    new_idempotency_key,
    next_chunk,
    upload_file,
    upload_headers,
    upload_timeout,
    utc_now,
)
from maas.client._documents import DocumentCalls
from maas.client._requests import Call
from maas.client._retries import Retries
from maas.embedders.protocol import Vectors
from maas.records import (
    ApiKey,
    ContextResponse,
    Dedupe,
    Deleted,
    ErasureReceipt,
    History,
    ImportReport,
    KeyList,
    Memory,
    Mode,
    NewApiKey,
    Page,
    RecallResponse,
    ReindexStatus,
    StoreResponse,
    UserPage,
)
from maas.requests import Message, StoreRequest

T = TypeVar("T")
Messages = Sequence[Mapping[str, Any] | Message]


class MaasClient(DocumentCalls, BaseClient):
    """Talks to a maas server; methods, results and exceptions are those of PersonalMemoryBrain.

    Safe to share between threads. Close it, or use it as a context manager.

    Args:
        base_url: where ``maas serve`` listens.
        api_key: ``maas_<id>_<secret>``; not needed where authentication is off.
        timeout: seconds to wait for a connection, and for each part of an answer but that of an import.
        retries: how often to send again when nothing answered, or 429, 502, 503 or 504 did; an answer with Retry-After
            is obeyed for up to a minute in all. A write carries an Idempotency-Key that stays the same, so it happens
            once; a deletion is not sent again where the first may have happened. 0: never.
        transport: what sends the requests; for tests.
        ids: makes Idempotency-Keys.
        clock: the time, to read a Retry-After that is a date.
        sleep: waits between tries.
        jitter: (low, high) → how long to wait.
    """

    def __init__(
        self,
        base_url: str = DEFAULT_URL,
        api_key: str | None = None,
        timeout: float = DEFAULT_TIMEOUT,
        retries: int = DEFAULT_RETRIES,
        transport: httpx2.BaseTransport | None = None,
        *,
        ids: Callable[[], str] = new_idempotency_key,
        clock: Callable[[], datetime] = utc_now,
        sleep: Callable[[float], None] = time.sleep,
        jitter: Callable[[float, float], float] | None = None,
    ) -> None:
        policy = Retries(retries) if jitter is None else Retries(retries, jitter=jitter)
        super().__init__(base_url, api_key, timeout, policy, ids, clock)
        self._sleep = sleep
        self._http = httpx2.Client(base_url=self.base_url, headers=self._headers, timeout=timeout, transport=transport)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections; calling it twice is harmless."""
        self._http.close()

    def store(
        self,
        text: str | None = None,
        *,
        user_id: str,
        messages: Messages | None = None,
        metadata: Mapping[str, Any] | None = None,
        agent_id: str | None = None,
        session_id: str | None = None,
        created_at: datetime | str | None = None,
        expires_at: datetime | str | None = None,
        importance: float | None = None,
        key: str | None = None,
        supersedes: str | None = None,
        dedupe: Dedupe = "exact",
        idempotency_key: str | None = None,
    ) -> StoreResponse:
        """Store one memory from ``text``, or one for each of ``messages``."""
        given = {
            "text": text,
            "user_id": user_id,
            "messages": None if messages is None else builtins.list(messages),
            "metadata": metadata,
            "agent_id": agent_id,
            "session_id": session_id,
            "created_at": created_at,
            "expires_at": expires_at,
            "importance": importance,
            "key": key,
            "supersedes": supersedes,
            "dedupe": dedupe,
        }
        return self._send(_requests.store(given, idempotency_key))

    def store_messages(
        self,
        messages: Messages,
        *,
        user_id: str,
        metadata: Mapping[str, Any] | None = None,
        agent_id: str | None = None,
        session_id: str | None = None,
        created_at: datetime | str | None = None,
        expires_at: datetime | str | None = None,
        importance: float | None = None,
        key: str | None = None,
        supersedes: str | None = None,
        dedupe: Dedupe = "exact",
        idempotency_key: str | None = None,
    ) -> StoreResponse:
        """Store one memory for each message of a conversation."""
        return self.store(
            user_id=user_id,
            messages=messages,
            metadata=metadata,
            agent_id=agent_id,
            session_id=session_id,
            created_at=created_at,
            expires_at=expires_at,
            importance=importance,
            key=key,
            supersedes=supersedes,
            dedupe=dedupe,
            idempotency_key=idempotency_key,
        )

    def store_batch(
        self, memories: Sequence[Mapping[str, Any] | StoreRequest], *, idempotency_key: str | None = None
    ) -> StoreResponse:
        """Store up to 1,000 memories, all or none; a fault names its item, as in ``memories.3.text``."""
        return self._send(_requests.store_batch(memories, idempotency_key))

    def recall(
        self,
        query: str,
        *,
        user_id: str,
        top_k: int = 10,
        mode: Mode = "hybrid",
        filters: Mapping[str, Any] | None = None,
        agent_id: str | None = None,
        session_id: str | None = None,
        since: datetime | str | None = None,
        until: datetime | str | None = None,
        as_of: datetime | str | None = None,
        now: datetime | str | None = None,
        min_score: float = 0.0,
        include_superseded: bool = False,
        explain: bool = False,
        rerank: bool = False,
        mmr: bool | float | None = None,
    ) -> RecallResponse:
        """The memories that answer ``query``, best first; scores are in 0..1."""
        given = {
            "query": query,
            "user_id": user_id,
            "top_k": top_k,
            "mode": mode,
            "filters": filters,
            "agent_id": agent_id,
            "session_id": session_id,
            "since": since,
            "until": until,
            "as_of": as_of,
            "now": now,
            "min_score": min_score,
            "include_superseded": include_superseded,
            "explain": explain,
            "rerank": rerank,
            "mmr": mmr,
        }
        return self._send(_requests.recall(given))

    def context(
        self,
        query: str,
        *,
        user_id: str,
        max_tokens: int | None = None,
        max_characters: int | None = None,
        top_k: int = 30,
        mode: Mode = "hybrid",
        filters: Mapping[str, Any] | None = None,
        agent_id: str | None = None,
        session_id: str | None = None,
        since: datetime | str | None = None,
        until: datetime | str | None = None,
        as_of: datetime | str | None = None,
        now: datetime | str | None = None,
        min_score: float = 0.0,
        include_superseded: bool = False,
    ) -> ContextResponse:
        """What is remembered about ``query`` as a block for a prompt, never over its limits."""
        given = {
            "query": query,
            "user_id": user_id,
            "max_tokens": max_tokens,
            "max_characters": max_characters,
            "top_k": top_k,
            "mode": mode,
            "filters": filters,
            "agent_id": agent_id,
            "session_id": session_id,
            "since": since,
            "until": until,
            "as_of": as_of,
            "now": now,
            "min_score": min_score,
            "include_superseded": include_superseded,
        }
        return self._send(_requests.context(given))

    def get(self, memory_id: str, *, user_id: str | None = None) -> Memory:
        """One memory; NotFoundError if there is none, or it is not this user's."""
        return self._send(_requests.get(memory_id, user_id))

    def list(
        self,
        *,
        user_id: str,
        limit: int = 50,
        cursor: str | None = None,
        filters: Mapping[str, Any] | None = None,
        agent_id: str | None = None,
        session_id: str | None = None,
        since: datetime | str | None = None,
        until: datetime | str | None = None,
        include_superseded: bool = False,
    ) -> Page:
        """One page, newest first; ``next_cursor`` asks for the next."""
        given = {
            "user_id": user_id,
            "limit": limit,
            "cursor": cursor,
            "filters": filters,
            "agent_id": agent_id,
            "session_id": session_id,
            "since": since,
            "until": until,
            "include_superseded": include_superseded,
        }
        return self._send(_requests.list_memories(given))

    def update(
        self, memory_id: str, *, user_id: str | None = None, idempotency_key: str | None = None, **changes: Any
    ) -> Memory:
        """Change text, metadata, importance or expires_at; None clears the last two."""
        return self._send(_requests.update(memory_id, user_id, changes, idempotency_key))

    def delete(self, memory_id: str, *, user_id: str | None = None) -> Deleted:
        """Delete one memory with its vectors and versions."""
        return self._send(_requests.delete(memory_id, user_id))

    def history(self, memory_id: str, *, user_id: str | None = None) -> History:
        """Every version of a memory, with who wrote it and when."""
        return self._send(_requests.history(memory_id, user_id))

    def erase_user(self, user_id: str) -> ErasureReceipt:
        """Erase a user from every table; the receipt counts what was there and what is left."""
        return self._send(_requests.erase_user(user_id))

    def encode(self, texts: Sequence[str]) -> Vectors:
        """(n,) texts → (n, dim) float32 of unit length."""
        return self._send(_requests.encode(texts))

    def create_key(self, *, idempotency_key: str | None = None, **fields: Any) -> NewApiKey:
        """Make a key of this tenant; fields are those of KeyRequest."""
        return self._send(_requests.create_key(fields, idempotency_key))

    def list_users(self, *, matching: str = "", limit: int = 50, cursor: str | None = None) -> UserPage:
        """One page of the tenant's users, by id."""
        return self._send(_requests.list_users({"matching": matching, "limit": limit, "cursor": cursor}))

    def list_keys(self) -> KeyList:
        return self._send(_requests.list_keys())

    def revoke_key(self, key_id: str) -> ApiKey:
        return self._send(_requests.revoke_key(key_id))

    def reindex_status(self) -> ReindexStatus:
        return self._send(_requests.reindex_status())

    def ready(self) -> None:
        """Raise NotReadyError unless the server has its model and its database."""
        self._send(_requests.ready())

    def export_user(self, user_id: str) -> Iterator[dict[str, Any]]:
        """Stream everything stored of a user: a header, then memories with versions and vectors."""
        call = _requests.export_user(user_id)
        response = self._exchange(call, stream=True)
        try:
            if not response.is_success:
                response.read()
                raise error_of(response, self._clock)
            for line in response.iter_lines():
                yield call.read(line.encode())
        except httpx2.HTTPError as error:
            raise self._silence(error) from error
        finally:
            response.close()

    def import_memories(
        self, lines: Iterable[Mapping[str, Any]], *, user_id: str | None = None, idempotency_key: str | None = None
    ) -> ImportReport:
        """Store the lines of an export, all or nothing; memories already there by id are skipped."""
        call = _requests.import_memories(user_id, idempotency_key)
        with upload_file() as file:
            file.writelines(_requests.json_line(line) for line in lines)
            return result(self._exchange(call, upload=file), call.read, self._clock)

    def reindex(self, *, on_progress: Callable[[ReindexStatus], None] | None = None) -> ReindexStatus:
        """Have the server re-embed everything, and wait until it has."""
        status = self._send(_requests.start_reindex())
        while status.state == "running":
            if on_progress is not None:
                on_progress(status)
            self._sleep(POLL_SECONDS)
            status = self.reindex_status()
        return status

    def _send(self, call: Call[T]) -> T:
        return result(self._exchange(call), call.read, self._clock)

    def _exchange(self, call: Call[Any], *, upload: IO[bytes] | None = None, stream: bool = False) -> httpx2.Response:
        prepared = self._prepared(call)
        waits: list[float] = []
        while True:
            content: bytes | Iterator[bytes] | None = call.content
            if upload is not None:
                upload.seek(0)
                content = iter(lambda: next_chunk(upload), b"")
                prepared["headers"].update(upload_headers())
                prepared["timeout"] = upload_timeout(self._timeout)
            try:
                response = self._http.send(self._http.build_request(**prepared, content=content), stream=stream)
            except httpx2.HTTPError as error:
                pause = self._pause_after_silence(call, error, waits)
            else:
                wait = self._pause_after_answer(call, response, waits)
                if wait is None:
                    return response
                response.close()
                pause = wait
            waits.append(pause)
            self._sleep(pause)
