"""Resources: what an assistant may read without calling a tool."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import datetime
from typing import Any

from mcp.server.mcpserver import MCPServer
from pydantic import BaseModel

from maas.mcp.answers import Note, Notes
from maas.mcp.failures import resource_error, telling
from maas.mcp.reach import reach

JSON = "application/json"
RECENT = 20
LOOKED_AT = 1_000
LASTING = 20
IMPORTANT = 0.5
NAMED = 10


class Profile(BaseModel):
    """A user at a glance, from their newest 1,000 memories.

    Attributes:
        memories: how many were looked at; ``more`` says whether there are older ones.
        speakers, sessions: the most frequent names and sessions, with the number of memories of each.
        lasting: memories with a key or an importance of 0.5 and more, the most important first.
    """

    user_id: str
    memories: int
    more: bool
    first: datetime | None
    last: datetime | None
    speakers: dict[str, int]
    sessions: dict[str, int]
    lasting: list[Note]


def profile(user_id: str | None = None) -> str:
    here = reach.get()
    user = here.user(user_id)
    page = here.readable.list(user_id=user, limit=LOOKED_AT)
    found = page.results
    times = [memory.created_at for memory in found]
    lasting = [memory for memory in found if memory.key or (memory.importance or 0) >= IMPORTANT]
    lasting.sort(key=lambda memory: memory.importance or 0, reverse=True)
    return Profile(
        user_id=user,
        memories=len(found),
        more=page.next_cursor is not None,
        first=min(times, default=None),
        last=max(times, default=None),
        speakers=_most(memory.name for memory in found if memory.name),
        sessions=_most(memory.session_id for memory in found if memory.session_id),
        lasting=[Note.of(memory) for memory in lasting[:LASTING]],
    ).model_dump_json(indent=2)


def recent(user_id: str | None = None) -> str:
    here = reach.get()
    page = here.readable.list(user_id=here.user(user_id), limit=RECENT)
    return Notes(results=[Note.of(memory) for memory in page.results]).model_dump_json(indent=2)


def memory(memory_id: str) -> str:
    here = reach.get()
    return Note.of(here.readable.get(memory_id, user_id=here.owner(None))).model_dump_json(indent=2)


def my_profile() -> str:
    return profile()


def my_recent() -> str:
    return recent()


def users_profile(user_id: str) -> str:
    return profile(user_id)


def users_recent(user_id: str) -> str:
    return recent(user_id)


RESOURCES: tuple[tuple[str, Callable[..., str], str, str], ...] = (
    ("maas://me/profile", my_profile, "profile", "The user of this connection at a glance"),
    ("maas://me/recent", my_recent, "recent memories", f"The newest {RECENT} memories of this connection's user"),
    ("maas://users/{user_id}/profile", users_profile, "profile of a user", "A user at a glance"),
    ("maas://users/{user_id}/recent", users_recent, "recent memories of a user", f"A user's newest {RECENT} memories"),
    ("maas://memories/{memory_id}", memory, "memory", "One memory by its id"),
)


def add_resources(server: MCPServer[Any]) -> None:
    for uri, handler, name, description in RESOURCES:
        server.resource(uri, name=name, description=description, mime_type=JSON)(telling(resource_error)(handler))


def _most(names: Any) -> dict[str, int]:
    return dict(Counter(names).most_common(NAMED))
