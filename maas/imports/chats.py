"""``conversations.json`` of ChatGPT's and of Claude's data export: every turn is a memory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from maas.errors import InvalidInputError
from maas.imports.files import elements, given, key, moment

MEMBER = "conversations.json"
_SPEAKERS = {"human": "user", "user": "user", "assistant": "assistant"}


def chatgpt(path: Path) -> Iterator[dict[str, Any]]:
    """The branch of each conversation that was shown last, from its first turn to its last."""
    for number, conversation in enumerate(elements(path, MEMBER)):
        if not isinstance(conversation.get("mapping"), dict):
            raise InvalidInputError(f"{path}: conversation {number} has no mapping; expected ChatGPT's {MEMBER}")
        session = str(conversation.get("conversation_id") or conversation.get("id") or number)
        for message in _branch(conversation):
            role = _SPEAKERS.get((message.get("author") or {}).get("role", ""))
            parts = (message.get("content") or {}).get("parts") or []
            text = "\n".join(part for part in parts if isinstance(part, str) and part.strip())
            hidden = (message.get("metadata") or {}).get("is_visually_hidden_from_conversation")
            if role and text and not hidden:
                at = message.get("create_time") or conversation.get("create_time")
                yield _turn("chatgpt", session, message.get("id"), role, text, at, conversation.get("title"))


def claude(path: Path) -> Iterator[dict[str, Any]]:
    for number, conversation in enumerate(elements(path, MEMBER)):
        turns = conversation.get("chat_messages")
        if not isinstance(turns, list):
            raise InvalidInputError(f"{path}: conversation {number} has no chat_messages; expected Claude's {MEMBER}")
        session = str(conversation.get("uuid") or number)
        for place, message in enumerate(turns):
            role = _SPEAKERS.get(message.get("sender", ""))
            said = [part.get("text") for part in message.get("content") or [] if part.get("type") == "text"]
            text = message.get("text") or "\n".join(part for part in said if part)
            if role and text.strip():
                message_id = message.get("uuid") or place
                at = message.get("created_at") or conversation.get("created_at")
                yield _turn("claude", session, message_id, role, text, at, conversation.get("name"))


def _branch(conversation: dict[str, Any]) -> list[dict[str, Any]]:
    """From the current node up to the root, turned round. Answers that were regenerated away stay out."""
    nodes = conversation["mapping"]
    parents = {node.get("parent") for node in nodes.values()}
    leaves = [name for name in nodes if name not in parents]
    current = conversation.get("current_node") or next(reversed(leaves), "")
    found: list[dict[str, Any]] = []
    seen: set[str] = set()
    while current in nodes and current not in seen:
        seen.add(current)
        if message := nodes[current].get("message"):
            found.append({"id": current, **message})
        current = nodes[current].get("parent")
    return found[::-1]


def _turn(
    source: str, session: str, message_id: object, role: str, text: str, at: object, title: str | None
) -> dict[str, Any]:
    message = given(role=role, content=text, created_at=moment(at))
    return {
        "key": key(source, session, message_id),
        "messages": [message],
        "session_id": key(source, session),
        "metadata": given(source=source, title=title),
    }
