"""A memory on its way in, before it has an id."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maas.recall.analysis import document_terms
from maas.records import Dedupe, Memory, Role, Scope, Similar
from maas.requests import StoreRequest

Vector = NDArray[np.float32]


@dataclass
class Item:
    """One memory on its way in; what follows from its text is worked out once."""

    scope: Scope
    text: str
    metadata: dict[str, Any]
    dedupe: Dedupe
    place: str = ""
    role: Role | None = None
    name: str | None = None
    agent_id: str | None = None
    session_id: str | None = None
    created_at: datetime | None = None
    expires_at: datetime | None = None
    importance: float | None = None
    key: str | None = None
    supersedes: str | None = None
    vector: Vector | None = None
    similar: list[Similar] = field(default_factory=list)

    @cached_property
    def indexed_text(self) -> str:
        return indexed_text(self.text, self.name)

    @cached_property
    def text_hash(self) -> bytes:
        return text_hash(self.text, self.role, self.name, self.agent_id, self.session_id)

    @cached_property
    def terms(self) -> list[str]:
        return document_terms(self.indexed_text)


def indexed_text(text: str, name: str | None) -> str:
    """What is encoded and indexed: a turn of a conversation with its speaker in front."""
    return f"{name}: {text}" if name else text


def text_hash(text: str, role: str | None, name: str | None, agent_id: str | None, session_id: str | None) -> bytes:
    """Equal for repetitions. The same "ok" in another session, or by someone else, is another memory."""
    said = json.dumps([agent_id, session_id, role, name, text], ensure_ascii=False)
    return hashlib.blake2b(said.encode(), digest_size=16).digest()


def hash_of(memory: Memory) -> bytes:
    """The :func:`text_hash` of a memory."""
    return text_hash(memory.text, memory.role, memory.name, memory.agent_id, memory.session_id)


def items_of(request: StoreRequest, tenant: str, place: str = "") -> list[Item]:
    """A request's memories: its text, or one for each of its messages."""
    scope = Scope(tenant, request.user_id)
    shared: dict[str, Any] = {
        name: getattr(request, name)
        for name in ("metadata", "dedupe", "agent_id", "session_id", "expires_at", "importance", "key", "supersedes")
    }
    if request.text is not None:
        return [Item(scope=scope, text=request.text, created_at=request.created_at, place=place, **shared)]
    return [
        Item(
            scope=scope,
            text=message.content,
            role=message.role,
            name=message.name,
            created_at=message.created_at or request.created_at,
            place=place,
            **shared,
        )
        for message in request.messages or []
    ]
