"""``MaasVectorStore``: documents as memories of one user."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Self

from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.vectorstores import VectorStore

from maas.compat.langchain.embeddings import MaasEmbeddings
from maas.compat.memories import Memories, batches
from maas.records import Memory
from maas.requests import MAX_BATCH


class MaasVectorStore(VectorStore):
    """Stores, searches and deletes documents. maas encodes them itself, so a foreign ``embedding`` is refused.

    A document's id is the memory's ``key``: adding it again replaces the document. Scores are in 0..1.

    Args:
        memories: a PersonalMemoryBrain or a MaasClient; it is left open.
        user_id: whose documents.
        mode: how to search: hybrid, dense or lexical.
    """

    def __init__(self, memories: Memories, *, user_id: str = "langchain", mode: Any = "hybrid") -> None:
        self._memories = memories
        self._user_id = user_id
        self._mode = mode

    @property
    def embeddings(self) -> Embeddings:
        return MaasEmbeddings(self._memories)

    def add_texts(
        self,
        texts: Iterable[str],
        metadatas: list[dict[str, Any]] | None = None,
        *,
        ids: Sequence[str | None] | None = None,
        **_: Any,
    ) -> list[str]:
        """Add or replace; returns the ids, made where none was given.

        Raises:
            ValueError: as many ids or metadatas as texts were expected.
        """
        found = list(texts)
        metadatas = metadatas if metadatas is not None else [{} for _ in found]
        keys = [given or str(uuid.uuid4()) for given in (ids if ids is not None else [None] * len(found))]
        if not len(found) == len(metadatas) == len(keys):
            raise ValueError(f"found {len(found)} texts, {len(metadatas)} metadatas and {len(keys)} ids")
        requests = [
            {"user_id": self._user_id, "text": text, "metadata": metadata, "key": key, "dedupe": "off"}
            for text, metadata, key in zip(found, metadatas, keys, strict=True)
        ]
        for batch in batches(requests):
            self._memories.store_batch(batch)
        return keys

    def get_by_ids(self, ids: Sequence[str], /) -> list[Document]:
        """The documents there are, in no certain order."""
        return [_document(memory) for memory in self._by_key(ids)]

    def delete(self, ids: list[str] | None = None, **_: Any) -> bool | None:
        """Delete by id; ids that are not there are passed over. None deletes every document of the user."""
        if ids is None:
            self._memories.erase_user(self._user_id)
            return True
        for memory in self._by_key(ids):
            self._memories.delete(memory.id, user_id=self._user_id)
        return True

    def similarity_search(
        self,
        query: str,
        k: int = 4,
        filter: Mapping[str, Any] | None = None,
        **_: Any,
    ) -> list[Document]:
        return [document for document, _ in self.similarity_search_with_score(query, k, filter)]

    def similarity_search_with_score(
        self,
        query: str,
        k: int = 4,
        filter: Mapping[str, Any] | None = None,
        **_: Any,
    ) -> list[tuple[Document, float]]:
        """The ``k`` best, with scores in 0..1. ``filter`` is on metadata, with maas's operators."""
        hits = self._memories.recall(
            query, user_id=self._user_id, top_k=k, mode=self._mode, filters=_filters(filter)
        ).results
        return [(_document(hit), hit.score) for hit in hits]

    def _select_relevance_score_fn(self) -> Callable[[float], float]:
        return lambda score: score

    @classmethod
    def from_texts(
        cls,
        texts: list[str],
        embedding: Embeddings,
        metadatas: list[dict[str, Any]] | None = None,
        *,
        ids: list[str] | None = None,
        memories: Memories | None = None,
        user_id: str = "langchain",
        **_: Any,
    ) -> Self:
        """A store with these texts. ``embedding`` is a MaasEmbeddings, whose memories are used.

        Raises:
            TypeError: another embedding, which maas could not recall with.
        """
        if memories is None and isinstance(embedding, MaasEmbeddings):
            memories = embedding.memories
        if memories is None:
            raise TypeError(f"maas encodes by itself: found a {type(embedding).__name__}, expected a MaasEmbeddings")
        store = cls(memories, user_id=user_id)
        store.add_texts(texts, metadatas, ids=ids)
        return store

    def _by_key(self, ids: Sequence[str]) -> list[Memory]:
        found: list[Memory] = []
        for batch in batches(dict.fromkeys(ids)):
            filters = {"key": {"in": batch}}
            found += self._memories.list(user_id=self._user_id, filters=filters, limit=MAX_BATCH).results
        return found


def _document(memory: Memory) -> Document:
    return Document(id=memory.key or memory.id, page_content=memory.text, metadata=dict(memory.metadata))


def _filters(filters: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Plain keys are those of the metadata."""
    if not filters:
        return None
    return {
        name: [_filters(part) for part in value]
        if name in ("AND", "OR") or (name == "NOT" and isinstance(value, list))
        else _filters(value)
        if name == "NOT"
        else value
        for name, value in ((_name(key), value) for key, value in filters.items())
    }


def _name(key: str) -> str:
    return key if key in ("AND", "OR", "NOT") or key.startswith("metadata.") else f"metadata.{key}"
