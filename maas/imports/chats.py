"""``conversations.json`` of ChatGPT's and of Claude's data export: every turn that somebody read or wrote is a memory.

Beside these the files hold what programs said to each other: calls of tools and their answers, thoughts, instructions,
marks where the page shows a link to a source. None of it is taken.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from maas.errors import InvalidInputError
from maas.imports.files import elements, given, key, moment

MEMBER = "conversations.json"
_SPEAKERS = {"human": "user", "user": "user", "assistant": "assistant"}
# A source cited: between two private characters, or in brackets as 【4:2†source】.
_CITED = re.compile("\ue200[^\ue201]*\ue201|\u3010[^\u3010\u3011]*\u2020[^\u3010\u3011]*\u3011")
# Stands in the text of a turn where Claude called a tool.
_TOOL_CALLED = re.compile(r"```\s*This block is not supported on your current device yet\.\s*```")


def chatgpt(path: Path) -> Iterator[dict[str, Any]]:
    """The branch of each conversation that was shown last, from its first turn to its last."""
    for number, conversation in enumerate(elements(path, MEMBER)):
        if not isinstance(conversation.get("mapping"), dict):
            raise InvalidInputError(f"{path}: conversation {number} has no mapping; expected ChatGPT's {MEMBER}")
        session = str(conversation.get("conversation_id") or conversation.get("id") or number)
        for message in _branch(conversation):
            role = _SPEAKERS.get((message.get("author") or {}).get("role", ""))
            parts = map(_said, (message.get("content") or {}).get("parts") or [])
            text = _CITED.sub("", "\n".join(part for part in parts if part.strip())).strip()
            hidden = (message.get("metadata") or {}).get("is_visually_hidden_from_conversation")
            to_a_tool = message.get("recipient") not in (None, "all")
            if role and text and not hidden and not to_a_tool:
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
            said = [part.get("text") or "" for part in message.get("content") or [] if part.get("type") == "text"]
            # The text of older exports; in newer ones it repeats the content, thoughts among it.
            text = "\n".join(part for part in said if part.strip()) or _TOOL_CALLED.sub("", message.get("text") or "")
            text = text.strip()
            if role and text:
                message_id = message.get("uuid") or place
                at = message.get("created_at") or conversation.get("created_at")
                yield _turn("claude", session, message_id, role, text, at, conversation.get("name"))


def _said(part: Any) -> str:
    """A part of a turn: text, or what was spoken; "" for pictures and files."""
    if isinstance(part, dict) and part.get("content_type") == "audio_transcription":
        part = part.get("text")
    return part if isinstance(part, str) else ""


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
