"""What ``Memory`` and ``MemoryClient`` share: mem0's calls on a brain, embedded or behind a server."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from maas.compat.mem0.scope import Owner, owner_of, split_filters
from maas.compat.mem0.shapes import Messages, expiry, history_items, memory_item, moment, turns_of
from maas.compat.memories import Memories, every
from maas.errors import NotFoundError
from maas.records import Memory
from maas.requests import MAX_TOP_K

UNSET: Any = object()


class Mem0Store:
    """mem0's names and shapes on ``target``, which has the SDK's methods."""

    def __init__(self, target: Memories) -> None:
        self._target = target

    def add(self, messages: Messages, entities: Mapping[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
        owner, turns = owner_of(entities, "add()"), turns_of(messages)
        if not turns:
            return {"results": []}
        fields = {
            "metadata": options.get("metadata"),
            "expires_at": expiry(options.get("expiration_date")),
            "created_at": moment(options.get("timestamp")),
        }
        given = {name: value for name, value in fields.items() if value is not None}
        response = self._target.store(messages=turns, **owner.fields(), **given)
        return {
            "results": [
                {
                    "id": result.id,
                    "memory": result.text,
                    "event": result.event,
                    "role": turn["role"],
                    **({"actor_id": turn["name"]} if "name" in turn else {}),
                }
                for result, turn in zip(response.results, turns, strict=True)
            ]
        }

    def get(self, memory_id: str) -> dict[str, Any] | None:
        """None for a memory that is not there."""
        try:
            return memory_item(self._target.get(memory_id))
        except NotFoundError:
            return None

    def every(
        self, filters: Mapping[str, Any] | None, given: Mapping[str, Any], limit: int | None
    ) -> list[dict[str, Any]]:
        owner, rest = split_filters(filters, given, "get_all()")
        return [memory_item(memory) for memory in self._memories(owner, rest, limit)]

    def search(
        self,
        query: str,
        filters: Mapping[str, Any] | None,
        given: Mapping[str, Any],
        *,
        top_k: int,
        threshold: float | None,
        explain: bool = False,
    ) -> dict[str, Any]:
        owner, rest = split_filters(filters, given, "search()")
        hits = self._target.recall(
            query,
            top_k=min(top_k, MAX_TOP_K),
            min_score=float(threshold or 0),
            explain=explain,
            filters=rest,
            **owner.fields(),
        ).results
        return {"results": [memory_item(hit) for hit in hits]}

    def update(self, memory_id: str, text: str | None, metadata: Mapping[str, Any] | None, expires: Any) -> None:
        """Metadata is merged into what is there."""
        if text is None and metadata is None and expires is UNSET:
            raise ValueError("at least one of text, metadata and expiration_date must be given")
        changes: dict[str, Any] = {}
        if text is not None:
            changes["text"] = text
        if metadata is not None:
            changes["metadata"] = {**self._target.get(memory_id).metadata, **metadata}
        if expires is not UNSET:
            changes["expires_at"] = expiry(expires)
        self._target.update(memory_id, **changes)

    def delete(self, memory_id: str) -> None:
        self._target.delete(memory_id)

    def delete_all(self, entities: Mapping[str, Any]) -> None:
        owner = owner_of(entities, "delete_all()")
        if owner.whole_user:
            self._target.erase_user(owner.user_id)
            return
        documents = set[str]()
        for memory in list(every(self._target, include_superseded=True, **owner.fields())):
            if memory.document_id is None:
                self._target.delete(memory.id, user_id=owner.user_id)
            else:  # a passage goes with its document
                documents.add(memory.document_id)
        for document_id in documents:
            self._target.delete_document(document_id, user_id=owner.user_id)

    def history(self, memory_id: str) -> list[dict[str, Any]]:
        """Empty for a memory that was deleted: maas forgets its versions with it."""
        try:
            memory = self._target.get(memory_id)
            return history_items(self._target.history(memory_id).results, memory)
        except NotFoundError:
            return []

    def _memories(
        self, owner: Owner, filters: dict[str, Any] | None = None, limit: int | None = None
    ) -> Iterator[Memory]:
        return every(self._target, limit=limit, filters=filters, **owner.fields())
