"""mem0's dictionaries, from and to maas's records."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

from maas.records import HistoryEntry, Memory, SearchHit

Messages = str | Mapping[str, Any] | Sequence[Mapping[str, Any]]


def turns_of(messages: Messages) -> list[dict[str, Any]]:
    """Chat messages as maas takes them. System messages are left out, as mem0 does, and those that say nothing."""
    said: Sequence[Mapping[str, Any]]
    if isinstance(messages, str):
        said = [{"role": "user", "content": messages}]
    elif isinstance(messages, Mapping):
        said = [messages]
    elif isinstance(messages, (list, tuple)):
        said = messages
    else:
        raise ValueError(f"messages must be a str, a dict or a list of dicts; found {type(messages).__name__}")
    turns = [_turn(message) for message in said if message.get("role") != "system"]
    return [turn for turn in turns if turn.get("content", "").strip()]  # a call of a tool has none


def memory_item(memory: Memory) -> dict[str, Any]:
    """What get, get_all and search hand out for a memory."""
    item: dict[str, Any] = {
        "id": memory.id,
        "memory": memory.text,
        "hash": hashlib.md5(memory.text.encode(), usedforsecurity=False).hexdigest(),
        "metadata": memory.metadata or None,
        "created_at": memory.created_at.isoformat(),
        "updated_at": memory.updated_at.isoformat(),
        "user_id": memory.user_id,
    }
    if isinstance(memory, SearchHit):
        item["score"] = memory.score
        if memory.explain is not None:
            item["score_details"] = memory.explain
    optional = {
        "agent_id": memory.agent_id,
        "run_id": memory.session_id,
        "actor_id": memory.name,
        "role": memory.role,
        "expiration_date": _last_day(memory.expires_at),
    }
    return item | {name: value for name, value in optional.items() if value is not None}


def history_items(entries: Sequence[HistoryEntry], memory: Memory) -> list[dict[str, Any]]:
    """Each version beside the one before."""
    items = []
    before: HistoryEntry | None = None
    for entry in entries:
        items.append(
            {
                "id": f"{entry.memory_id}:{entry.version}",
                "memory_id": entry.memory_id,
                "old_memory": before.text if before else None,
                "new_memory": entry.text,
                "event": entry.event,
                "created_at": entries[0].at.isoformat(),
                "updated_at": entry.at.isoformat() if before else None,
                "is_deleted": entry.event == "DELETE",
                "actor_id": memory.name,
                "role": memory.role,
            }
        )
        before = entry
    return items


def expiry(value: Any) -> datetime | None:
    """The end, in UTC, of the last day a memory is kept.

    Raises:
        ValueError: it is no date in the form YYYY-MM-DD.
    """
    if value is None:
        return None
    try:
        day = value if isinstance(value, date) else date.fromisoformat(value)
        day = day.date() if isinstance(day, datetime) else day
    except (TypeError, ValueError):
        raise ValueError(f"expiration_date must be a date in the form YYYY-MM-DD; found {value!r}") from None
    return datetime.combine(day, datetime.min.time(), UTC) + timedelta(days=1)


def moment(value: Any) -> Any:
    """mem0's platform takes seconds since 1970, maas ISO 8601."""
    return datetime.fromtimestamp(value, UTC) if isinstance(value, (int, float)) else value


def _turn(message: Mapping[str, Any]) -> dict[str, Any]:
    content = message.get("content")
    if isinstance(content, Sequence) and not isinstance(content, str):
        if other := {part.get("type") for part in content} - {"text"}:
            raise ValueError(f"messages hold {', '.join(map(str, other))}; maas keeps text, so describe it in words")
        content = "\n".join(part["text"] for part in content)
    turn = {"role": message.get("role", "user"), "content": content, "name": message.get("name")}
    return {name: value for name, value in turn.items() if value is not None}


def _last_day(expires_at: datetime | None) -> str | None:
    return (expires_at - timedelta(microseconds=1)).date().isoformat() if expires_at else None
