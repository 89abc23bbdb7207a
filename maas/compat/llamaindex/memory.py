"""``MaasMemory``: a chat's history, with what other chats said about its question; and the same as a memory block."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from typing import Any

from llama_index.core.base.llms.types import ChatMessage, MessageRole
from llama_index.core.bridge.pydantic import Field, PrivateAttr
from llama_index.core.memory.memory import BaseMemoryBlock
from llama_index.core.memory.types import BaseMemory

from maas.compat.memories import Memories, every
from maas.prompting import DEFAULT_CONTEXT_TOKENS
from maas.records import Memory

PREFACE = "What was said earlier that may bear on this; where two disagree, the newer holds.\n"
MIN_SCORE = 0.05
"""Keeps 90 to 94 % of what answers a question, as docs/recall.md measures it."""
_ROLES = {"user": "user", "assistant": "assistant", "chatbot": "assistant", "model": "assistant"}


class MaasMemory(BaseMemory):
    """Every message is a memory of ``user_id`` in ``session_id``.

    ``get`` gives the session's newest ``history`` messages, the oldest first. With an input, a system message
    stands in front that holds up to ``top_k`` memories of the user's other sessions, in ``max_tokens`` at most.
    """

    user_id: str
    session_id: str
    top_k: int = 5
    min_score: float = MIN_SCORE
    max_tokens: int = DEFAULT_CONTEXT_TOKENS
    history: int = 50
    _memories: Any = PrivateAttr()

    def __init__(self, memories: Memories, **fields: Any) -> None:
        super().__init__(**fields)
        self._memories = memories

    @classmethod
    def class_name(cls) -> str:
        return "MaasMemory"

    @classmethod
    def from_defaults(cls, **kwargs: Any) -> MaasMemory:
        """``memories``, ``user_id`` and ``session_id`` are needed."""
        return cls(**kwargs)

    def get(self, input: str | None = None, **_: Any) -> list[ChatMessage]:
        said = self._session(self.history)
        if not input or not input.strip():
            return said
        elsewhere = {"NOT": {"session_id": self.session_id}}
        block = remembered(self, self._memories, input, elsewhere)
        return [ChatMessage(role=MessageRole.SYSTEM, content=block), *said] if block else said

    def get_all(self) -> list[ChatMessage]:
        return self._session(None)

    def put(self, message: ChatMessage) -> None:
        self.put_messages([message])

    def put_messages(self, messages: list[ChatMessage]) -> None:
        store(self._memories, messages, self.user_id, self.session_id)

    def set(self, messages: list[ChatMessage]) -> None:
        self.reset()
        self.put_messages(messages)

    def reset(self) -> None:
        """Forget this session; the user's other sessions stay."""
        for memory in list(self._stored(include_superseded=True)):
            self._memories.delete(memory.id, user_id=self.user_id)

    def _session(self, limit: int | None) -> list[ChatMessage]:
        newest_first = list(self._stored(limit))
        return [ChatMessage(role=memory.role or "user", content=memory.text) for memory in reversed(newest_first)]

    def _stored(self, limit: int | None = None, *, include_superseded: bool = False) -> Iterator[Memory]:
        session = {"user_id": self.user_id, "session_id": self.session_id}
        return every(self._memories, limit=limit, include_superseded=include_superseded, **session)


class MaasMemoryBlock(BaseMemoryBlock[str]):
    """Long-term memory for LlamaIndex's ``Memory``: takes what falls out of the short term, recalls what fits."""

    name: str = Field(default="maas")
    user_id: str
    top_k: int = 5
    min_score: float = MIN_SCORE
    max_tokens: int = DEFAULT_CONTEXT_TOKENS
    _memories: Any = PrivateAttr()

    def __init__(self, memories: Memories, **fields: Any) -> None:
        super().__init__(**fields)
        self._memories = memories

    async def _aget(self, messages: list[ChatMessage] | None = None, **_: Any) -> str:
        asked = next((m.content for m in reversed(messages or []) if m.role == MessageRole.USER and m.content), None)
        if not asked or not asked.strip():
            return ""
        return await asyncio.to_thread(remembered, self, self._memories, asked)

    async def _aput(self, messages: list[ChatMessage]) -> None:
        session = next((m.additional_kwargs.get("session_id") for m in messages), None)
        await asyncio.to_thread(store, self._memories, messages, self.user_id, session)


def store(memories: Memories, messages: Sequence[ChatMessage], user_id: str, session_id: str | None) -> None:
    """Keep what people and models said. Messages without words, of the system and of tools hold no memory.

    A tool's answer would stand in the history without the call that it answers, which chat models refuse.
    """
    turns = [
        {"role": _ROLES[message.role.value], "content": message.content}
        for message in messages
        if message.role.value in _ROLES and (message.content or "").strip()
    ]
    if turns:
        memories.store_messages(turns, user_id=user_id, session_id=session_id, dedupe="off")


def remembered(
    asking: MaasMemory | MaasMemoryBlock, memories: Memories, query: str, filters: dict[str, Any] | None = None
) -> str:
    """What else is remembered about ``query``, as a block for the prompt; empty if nothing is."""
    block = memories.context(
        query,
        user_id=asking.user_id,
        top_k=asking.top_k,
        min_score=asking.min_score,
        max_tokens=asking.max_tokens,
        filters=filters,
    )
    return PREFACE + block.text if block.text else ""
