"""LangGraph's ``BaseStore``, kept by maas: ``from maas.compat.langgraph import MaasStore``."""

from maas.compat.langgraph.store import MaasStore

__all__ = ["MaasStore"]
