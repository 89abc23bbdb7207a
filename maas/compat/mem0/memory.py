"""``Memory``: mem0's class for memories in this process."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any, Self

from maas.brain import PersonalMemoryBrain
from maas.compat.mem0.shapes import Messages
from maas.compat.mem0.store import UNSET, Mem0Store
from maas.errors import NotFoundError
from maas.settings import Settings, load_settings

_MEM0_SECTIONS = frozenset(
    {
        "vector_store",
        "llm",
        "embedder",
        "graph_store",
        "reranker",
        "history_db_path",
        "version",
        "custom_instructions",
        "custom_fact_extraction_prompt",
        "custom_update_memory_prompt",
    }
)
TOP_K = 20
THRESHOLD = 0.1


class Memory:
    """Stores and searches memories of users, agents and runs, in mem0's words.

    Args:
        config: maas's settings; None reads config.yaml and the environment.
        brain: used instead, and left open.
    """

    def __init__(self, config: Settings | None = None, *, brain: PersonalMemoryBrain | None = None) -> None:
        self.brain = brain if brain is not None else PersonalMemoryBrain(config or load_settings())
        self._owned = brain is None
        self._store = Mem0Store(self.brain)

    @classmethod
    def from_config(cls, config_dict: Mapping[str, Any] | None = None) -> Self:
        """maas's settings as a dictionary. mem0's own sections mean nothing here and are warned about."""
        given = dict(config_dict or {})
        foreign = [name for name in given if name in _MEM0_SECTIONS and not _is_ours(name, given[name])]
        if foreign:
            warnings.warn(
                f"maas has its own encoder and database and no language model: {', '.join(foreign)} is not used",
                stacklevel=2,
            )
        return cls(load_settings(**{name: value for name, value in given.items() if name not in foreign}))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Close what was opened here; calling it twice is harmless."""
        if self._owned:
            self.brain.close()

    def add(
        self,
        messages: Messages,
        *,
        user_id: str | None = None,
        agent_id: str | None = None,
        run_id: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        timestamp: Any = None,
        expiration_date: Any = None,
        infer: bool = True,
        memory_type: str | None = None,
        prompt: str | None = None,
    ) -> dict[str, Any]:
        """Store each message verbatim; ``{"results": [{"id", "memory", "event", …}]}``, NONE for a repetition."""
        return self._store.add(
            messages,
            {"user_id": user_id, "agent_id": agent_id, "run_id": run_id},
            {"metadata": metadata, "timestamp": timestamp, "expiration_date": expiration_date},
        )

    def get(self, memory_id: str) -> dict[str, Any] | None:
        return self._store.get(memory_id)

    def get_all(
        self,
        *,
        filters: Mapping[str, Any] | None = None,
        top_k: int = TOP_K,
        show_expired: bool = False,
        limit: int | None = None,
        **entities: Any,
    ) -> dict[str, Any]:
        """The newest ``top_k`` memories. Expired ones are gone, whatever ``show_expired`` says."""
        _refuse_strangers("get_all()", entities)
        return {"results": self._store.every(filters, entities, limit or top_k)}

    def search(
        self,
        query: str,
        *,
        top_k: int = TOP_K,
        filters: Mapping[str, Any] | None = None,
        threshold: float | None = THRESHOLD,
        rerank: bool = False,
        explain: bool = False,
        show_expired: bool = False,
        limit: int | None = None,
        **entities: Any,
    ) -> dict[str, Any]:
        """The memories that answer ``query``; ``score`` in 0..1, and ``score_details`` when asked to explain."""
        _refuse_strangers("search()", entities)
        return self._store.search(query, filters, entities, top_k=limit or top_k, threshold=threshold, explain=explain)

    def update(
        self,
        memory_id: str,
        text: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        expiration_date: Any = UNSET,
        data: str | None = None,
    ) -> dict[str, Any]:
        """Change what is given. Raises ValueError for a memory that is not there."""
        try:
            self._store.update(memory_id, data if text is None else text, metadata, expiration_date)
        except NotFoundError as error:
            raise ValueError(error.detail) from error
        return {"message": "Memory updated successfully!"}

    def delete(self, memory_id: str) -> dict[str, Any]:
        """Raises ValueError for a memory that is not there."""
        try:
            self._store.delete(memory_id)
        except NotFoundError as error:
            raise ValueError(error.detail) from error
        return {"message": "Memory deleted successfully!"}

    def delete_all(
        self, user_id: str | None = None, agent_id: str | None = None, run_id: str | None = None
    ) -> dict[str, Any]:
        """Delete what belongs to all of the ids given; a user alone is erased whole."""
        self._store.delete_all({"user_id": user_id, "agent_id": agent_id, "run_id": run_id})
        return {"message": "Memories deleted successfully!"}

    def history(self, memory_id: str) -> list[dict[str, Any]]:
        return self._store.history(memory_id)

    def reset(self) -> None:
        """Not here: one call that wipes everybody is an accident waiting to happen."""
        raise NotImplementedError("maas erases one user at a time: delete_all(user_id=…), or delete the data folder")


def _is_ours(name: str, value: Any) -> bool:
    """mem0 and maas both have ``embedder``; mem0's names a provider."""
    return name in Settings.model_fields and isinstance(value, Mapping) and not {"provider", "config"} & set(value)


def _refuse_strangers(call: str, given: Mapping[str, Any]) -> None:
    if strangers := set(given) - {"user_id", "agent_id", "run_id"}:
        raise TypeError(f"{call} got unexpected arguments: {', '.join(sorted(strangers))}")
