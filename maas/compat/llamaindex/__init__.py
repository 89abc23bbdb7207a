"""LlamaIndex's embedding and memory: ``from maas.compat.llamaindex import MaasEmbedding, MaasMemory``."""

from maas.compat.llamaindex.embedding import MaasEmbedding
from maas.compat.llamaindex.memory import MaasMemory, MaasMemoryBlock

__all__ = ["MaasEmbedding", "MaasMemory", "MaasMemoryBlock"]
