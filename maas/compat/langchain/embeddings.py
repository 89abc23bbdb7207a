"""``MaasEmbeddings``: the brain's encoder for LangChain."""

from __future__ import annotations

from langchain_core.embeddings import Embeddings

from maas.compat.memories import Memories, embed


class MaasEmbeddings(Embeddings):
    """Unit vectors of a PersonalMemoryBrain or a MaasClient, which is left open."""

    def __init__(self, memories: Memories) -> None:
        self.memories = memories

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return embed(self.memories, texts)

    def embed_query(self, text: str) -> list[float]:
        return embed(self.memories, [text])[0]
