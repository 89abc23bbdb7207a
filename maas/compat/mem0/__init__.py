"""mem0's ``Memory`` and ``MemoryClient``, kept by maas: ``from maas.compat.mem0 import Memory``.

What is told is stored verbatim; no language model extracts facts from it, so ``infer`` and ``prompt`` change nothing.
"""

from maas.compat.mem0.client import MemoryClient
from maas.compat.mem0.memory import Memory

__all__ = ["Memory", "MemoryClient"]
