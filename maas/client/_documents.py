"""What both clients do with documents."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar

from maas.client import _requests
from maas.client._base import POLL_SECONDS
from maas.client._requests import Call
from maas.records import Deleted, Document, DocumentPage

T = TypeVar("T")


class DocumentCalls:
    """Documents over the synchronous client."""

    _sleep: Callable[[float], None]

    if TYPE_CHECKING:

        def _send(self, call: Call[T]) -> T: ...

    def store_document(
        self,
        text: str,
        *,
        user_id: str,
        title: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        agent_id: str | None = None,
        created_at: datetime | str | None = None,
        expires_at: datetime | str | None = None,
        importance: float | None = None,
        idempotency_key: str | None = None,
        on_progress: Callable[[Document], None] | None = None,
    ) -> Document:
        """Store a text of any length, and wait until the server has read it or has stopped reading."""
        given = {
            "text": text,
            "user_id": user_id,
            "title": title,
            "metadata": metadata,
            "agent_id": agent_id,
            "created_at": created_at,
            "expires_at": expires_at,
            "importance": importance,
        }
        document = self._send(_requests.store_document(given, idempotency_key))
        while document.state == "reading":
            if on_progress is not None:
                on_progress(document)
            self._sleep(POLL_SECONDS)
            document = self.get_document(document.id, user_id=user_id)
        return document

    def get_document(self, document_id: str, *, user_id: str | None = None) -> Document:
        """A document, how far it is read, and its vector once it is."""
        return self._send(_requests.get_document(document_id, user_id))

    def list_documents(self, *, user_id: str, limit: int = 50, cursor: str | None = None) -> DocumentPage:
        """One page of documents, the oldest first."""
        return self._send(_requests.list_documents({"user_id": user_id, "limit": limit, "cursor": cursor}))

    def delete_document(self, document_id: str, *, user_id: str | None = None) -> Deleted:
        """Delete a document with its passages."""
        return self._send(_requests.delete_document(document_id, user_id))


class AsyncDocumentCalls:
    """Documents over the asynchronous client."""

    _sleep: Callable[[float], Awaitable[None]]

    if TYPE_CHECKING:

        async def _send(self, call: Call[T]) -> T: ...

    async def store_document(
        self,
        text: str,
        *,
        user_id: str,
        title: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        agent_id: str | None = None,
        created_at: datetime | str | None = None,
        expires_at: datetime | str | None = None,
        importance: float | None = None,
        idempotency_key: str | None = None,
        on_progress: Callable[[Document], None] | None = None,
    ) -> Document:
        """Store a text of any length, and wait until the server has read it or has stopped reading."""
        given = {
            "text": text,
            "user_id": user_id,
            "title": title,
            "metadata": metadata,
            "agent_id": agent_id,
            "created_at": created_at,
            "expires_at": expires_at,
            "importance": importance,
        }
        document = await self._send(_requests.store_document(given, idempotency_key))
        while document.state == "reading":
            if on_progress is not None:
                on_progress(document)
            await self._sleep(POLL_SECONDS)
            document = await self.get_document(document.id, user_id=user_id)
        return document

    async def get_document(self, document_id: str, *, user_id: str | None = None) -> Document:
        """A document, how far it is read, and its vector once it is."""
        return await self._send(_requests.get_document(document_id, user_id))

    async def list_documents(self, *, user_id: str, limit: int = 50, cursor: str | None = None) -> DocumentPage:
        """One page of documents, the oldest first."""
        return await self._send(_requests.list_documents({"user_id": user_id, "limit": limit, "cursor": cursor}))

    async def delete_document(self, document_id: str, *, user_id: str | None = None) -> Deleted:
        """Delete a document with its passages."""
        return await self._send(_requests.delete_document(document_id, user_id))
