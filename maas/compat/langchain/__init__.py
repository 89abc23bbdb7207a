"""LangChain's ``VectorStore`` and ``Embeddings``: ``from maas.compat.langchain import MaasVectorStore``."""

from maas.compat.langchain.embeddings import MaasEmbeddings
from maas.compat.langchain.vector_store import MaasVectorStore

__all__ = ["MaasEmbeddings", "MaasVectorStore"]
