"""mem0 asks for one of three ids, maas for a user: an agent or a run without a user becomes a user of its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

ENTITIES = ("user_id", "agent_id", "run_id")
_COLUMNS = {
    "agent_id": "agent_id",
    "run_id": "session_id",
    "actor_id": "name",
    "role": "role",
    "created_at": "created_at",
    "updated_at": "updated_at",
}
_LOGIC = ("AND", "OR", "NOT")


@dataclass(frozen=True)
class Owner:
    """Whose memories, in maas's words."""

    user_id: str
    agent_id: str | None = None
    session_id: str | None = None

    @property
    def whole_user(self) -> bool:
        return self.agent_id is None and self.session_id is None

    def fields(self) -> dict[str, Any]:
        given = {"user_id": self.user_id, "agent_id": self.agent_id, "session_id": self.session_id}
        return {name: value for name, value in given.items() if value is not None}


def owner_of(entities: Mapping[str, str | None], call: str) -> Owner:
    """Raises ValueError, as mem0 does, unless one of user_id, agent_id and run_id is given."""
    user, agent, run = (_entity(name, entities.get(name)) for name in ENTITIES)
    if user is None and agent is None and run is None:
        raise ValueError(f"{call} needs at least one of user_id, agent_id and run_id; found none")
    if user is None:
        user = f"agent:{agent}" if agent else f"run:{run}"
    return Owner(user, agent, run)


def split_filters(
    filters: Mapping[str, Any] | None, given: Mapping[str, Any], call: str
) -> tuple[Owner, dict[str, Any] | None]:
    """The owner and what is left to filter by, in maas's keys.

    Args:
        filters: mem0's, whose entity ids stand at the top or in an ``AND`` at the top.
        given: entity ids passed as arguments, as mem0 took them before 1.0.
    """
    entities = {name: value for name, value in given.items() if name in ENTITIES and value is not None}
    rest: dict[str, Any] = {}
    for key, value in (filters or {}).items():
        if key in ENTITIES:
            entities[key] = value
        elif key == "AND" and isinstance(value, list):
            parts = [_without_entities(part, entities) for part in value]
            if kept := [_translated(part) for part in parts if part]:
                rest["AND"] = kept
        else:
            rest.update(_translated({key: value}))
    return owner_of(entities, call), rest or None


def _without_entities(part: Any, entities: dict[str, Any]) -> Any:
    if not isinstance(part, Mapping):
        return part
    entities.update({key: value for key, value in part.items() if key in ENTITIES and isinstance(value, str)})
    return {key: value for key, value in part.items() if key not in ENTITIES or not isinstance(value, str)}


def _translated(filters: Any) -> Any:
    if isinstance(filters, list):
        return [_translated(part) for part in filters]
    if not isinstance(filters, Mapping):
        return filters
    return dict(_condition(key, value) for key, value in filters.items())


def _condition(key: str, value: Any) -> tuple[str, Any]:
    if key == "NOT" and isinstance(value, list):
        return key, {"OR": _translated(value)}
    if key in _LOGIC:
        return key, _translated(value)
    if key == "user_id":
        raise ValueError("user_id may stand at the top of filters or in its AND: maas reads one user at a time")
    name = _COLUMNS.get(key, key if key.startswith("metadata.") else f"metadata.{key}")
    return name, {"ne": None} if value == "*" else value


def _entity(name: str, value: Any) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{name} must be a string with a visible character; found {value!r}")
    return value.strip()
