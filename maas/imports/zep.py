"""Threads (once sessions) and their messages as Zep's API returns them, in any version of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from maas.errors import InvalidInputError
from maas.imports.files import given, key, moment, opened

_ROLES = {
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "ai": "assistant",
    "system": "system",
    "function": "tool",
    "tool": "tool",
}
_SESSIONS = ("thread_id", "session_id", "uuid")


def messages(path: Path) -> Iterator[dict[str, Any]]:
    """One thread a line: its id, its user and its ``messages``."""
    with opened(path, path.name) as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                yield from _thread(f"{path}:{number}", line)


def _thread(place: str, line: bytes) -> Iterator[dict[str, Any]]:
    try:
        thread = json.loads(line)
    except ValueError as error:
        raise InvalidInputError(f"{place}: no JSON ({error}); expected one thread a line") from None
    session = next((thread.get(name) for name in _SESSIONS if thread.get(name)), None) if thread else None
    if session is None or not isinstance(thread.get("messages"), list):
        raise InvalidInputError(f"{place}: expected an object with thread_id and messages, as Zep's API returns them")
    for turn, message in enumerate(thread["messages"]):
        role = _ROLES.get(str(message.get("role_type") or message.get("role") or "user").lower(), "user")
        content = message.get("content")
        if not isinstance(content, str) or not content.strip():
            continue
        # When it was said, where that is told apart from when Zep heard of it.
        at = moment(message.get("reference_time")) or moment(message.get("created_at"))
        speaker = message.get("name") or (message.get("role") if message.get("role_type") else None)
        yield given(
            key=key("zep", session, message.get("uuid") or message.get("uuid_") or turn),
            user_id=thread.get("user_id") or thread.get("user_uuid"),
            session_id=str(session),
            messages=[given(role=role, content=content, name=speaker, created_at=at)],
            metadata={"source": "zep", **(message.get("metadata") or {})},
        )
