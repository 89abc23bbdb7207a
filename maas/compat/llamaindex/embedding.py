"""``MaasEmbedding``: the brain's encoder for LlamaIndex."""

from __future__ import annotations

import asyncio
from typing import Any

from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.bridge.pydantic import PrivateAttr

from maas.compat.memories import Memories, embed


class MaasEmbedding(BaseEmbedding):
    """Unit vectors of a PersonalMemoryBrain or a MaasClient, which is left open."""

    _memories: Any = PrivateAttr()

    def __init__(self, memories: Memories, **fields: Any) -> None:
        super().__init__(**{"model_name": "maas", **fields})
        self._memories = memories

    @classmethod
    def class_name(cls) -> str:
        return "MaasEmbedding"

    def _get_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        return embed(self._memories, texts)

    def _get_text_embedding(self, text: str) -> list[float]:
        return embed(self._memories, [text])[0]

    def _get_query_embedding(self, query: str) -> list[float]:
        return self._get_text_embedding(query)

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return await asyncio.to_thread(self._get_query_embedding, query)

    async def _aget_text_embedding(self, text: str) -> list[float]:
        return await asyncio.to_thread(self._get_text_embedding, text)

    async def _aget_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        return await asyncio.to_thread(self._get_text_embeddings, texts)
