"""Between rows of the tables and the records of the service."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlalchemy import Row, func

from maas.records import ApiKey, HistoryEntry, Memory
from maas.storage.by_dialect import ByDialect
from maas.storage.tables import PackedVector, api_keys, memories, vectors

# Of either database, in the program's bytes.
PACKED_VECTOR = ByDialect(vectors.c.vector, func.halfvec_send(vectors.c.vector), type_=PackedVector())
_MEMORY_FIELDS = tuple(Memory.model_fields)  # pydantic looks them up anew at each access
MEMORY_COLUMNS = tuple(memories.c[name] for name in _MEMORY_FIELDS)
API_KEY_COLUMNS = tuple(api_keys.c["tenant_id" if name == "tenant" else name] for name in ApiKey.model_fields)


class UserRow(NamedTuple):
    """A row of ``users``, columns in the table's order."""

    number: int
    tenant_id: str
    user_id: str
    tag: str
    revision: int
    reset_revision: int
    memories: int
    terms: int


class SpaceRow(NamedTuple):
    space: int
    dim: int


def to_memory(row: Sequence[Any]) -> Memory:
    """A row that starts with MEMORY_COLUMNS."""
    return Memory.model_validate(dict(zip(_MEMORY_FIELDS, row, strict=False)))


def memory_values(memory: Memory) -> dict[str, Any]:
    return vars(memory)


def words_of(number: int, terms: Sequence[str]) -> str:
    """Terms as the index of words holds them: behind the user's number, so that no two users share one."""
    return " ".join(f"{number}_{term}" for term in terms)


def to_entry(row: Row[Any]) -> HistoryEntry:
    return HistoryEntry.model_validate(row._asdict())


def to_api_key(row: Sequence[Any]) -> ApiKey:
    """A row of API_KEY_COLUMNS."""
    return ApiKey.model_validate(dict(zip(ApiKey.model_fields, row, strict=True)))
