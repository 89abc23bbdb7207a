"""``MemoryClient``: mem0's client, against a maas server."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, Self

from maas.client import MaasClient
from maas.compat.mem0.memory import THRESHOLD, TOP_K
from maas.compat.mem0.scope import ENTITIES
from maas.compat.mem0.shapes import Messages, memory_item
from maas.compat.mem0.store import UNSET, Mem0Store

DEFAULT_HOST = "http://127.0.0.1:8000"
PAGE_SIZE = 100


class MemoryClient:
    """mem0's platform calls as a maas server answers them.

    Args:
        api_key: a maas key; None takes ``MEM0_API_KEY`` from the environment.
        host: the server.
        client: a MaasClient used instead of one made here.
    """

    def __init__(self, api_key: str | None = None, host: str | None = None, client: MaasClient | None = None) -> None:
        key = api_key or os.environ.get("MEM0_API_KEY")
        if client is None and not key:
            raise ValueError("no API key; give api_key, or set MEM0_API_KEY to a maas key")
        self.client = client or MaasClient(host or DEFAULT_HOST, api_key=key)
        self._store = Mem0Store(self.client)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        self.client.close()

    def add(self, messages: Messages, options: Any = None, **kwargs: Any) -> dict[str, Any]:
        """Stored when it returns; there is no event to wait for."""
        given = _merged(options, kwargs)
        return self._store.add(messages, given, given)

    def get(self, memory_id: str) -> dict[str, Any]:
        """Raises NotFoundError for a memory that is not there."""
        return memory_item(self.client.get(memory_id))

    def get_all(self, options: Any = None, **kwargs: Any) -> dict[str, Any]:
        """One page: ``{"count", "next", "previous", "results"}``, pages counted from 1."""
        given = _merged(options, kwargs)
        page, size = int(given.get("page", 1)), int(given.get("page_size", PAGE_SIZE))
        if page < 1 or size < 1:
            raise ValueError(f"page and page_size count from 1; found {page} and {size}")
        found = self._store.every(given.get("filters"), given, None)
        end = page * size
        return {
            "count": len(found),
            "next": f"?page={page + 1}&page_size={size}" if end < len(found) else None,
            "previous": f"?page={page - 1}&page_size={size}" if page > 1 else None,
            "results": found[end - size : end],
        }

    def search(self, query: str, options: Any = None, **kwargs: Any) -> dict[str, Any]:
        given = _merged(options, kwargs)
        return self._store.search(
            query,
            given.get("filters"),
            given,
            top_k=given.get("top_k", TOP_K),
            threshold=given.get("threshold", THRESHOLD),
            explain=bool(given.get("explain")),
        )

    def update(self, memory_id: str, options: Any = None, **kwargs: Any) -> dict[str, Any]:
        """The memory as it is now."""
        given = _merged(options, kwargs)
        self._store.update(memory_id, given.get("text"), given.get("metadata"), given.get("expiration_date", UNSET))
        return self.get(memory_id)

    def delete(self, memory_id: str, delete_linked: bool = False) -> dict[str, Any]:
        """What it superseded is current again.

        Raises:
            NotImplementedError: ``delete_linked``.
        """
        if delete_linked:
            raise NotImplementedError("maas deletes one memory at a time; delete the superseded ones by their ids")
        self._store.delete(memory_id)
        return {"message": "Memory deleted successfully!"}

    def delete_all(self, options: Any = None, **kwargs: Any) -> dict[str, Any]:
        self._store.delete_all(_merged(options, kwargs))
        return {"message": "Memories deleted successfully!"}

    def delete_users(
        self, user_id: str | None = None, agent_id: str | None = None, run_id: str | None = None
    ) -> dict[str, Any]:
        self._store.delete_all(dict(zip(ENTITIES, (user_id, agent_id, run_id), strict=True)))
        return {"message": "Entity deleted successfully."}

    def history(self, memory_id: str) -> list[dict[str, Any]]:
        return self._store.history(memory_id)

    def batch_update(self, memories: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        for memory in memories:
            self._store.update(memory["memory_id"], memory.get("text"), memory.get("metadata"), UNSET)
        return {"message": f"Successfully updated {len(memories)} memories"}

    def batch_delete(self, memories: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        for memory in memories:
            self._store.delete(memory["memory_id"])
        return {"message": f"Successfully deleted {len(memories)} memories"}


def _merged(options: Any, kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Typed options of mem0 are pydantic models; the keyword arguments go over them."""
    given = dict(options) if isinstance(options, Mapping) else options.model_dump(exclude_unset=True) if options else {}
    return given | dict(kwargs)
