"""Between rows of the tables and the records of the service."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Row

from maas.records import ApiKey, HistoryEntry, Memory
from maas.storage.tables import memories

MEMORY_COLUMNS = tuple(memories.c[name] for name in Memory.model_fields)


def to_memory(row: Sequence[Any]) -> Memory:
    """A row that starts with MEMORY_COLUMNS; it was validated when it came in, so it is not again."""
    return Memory.model_construct(_fields_set=None, **dict(zip(Memory.model_fields, row, strict=False)))


def memory_values(memory: Memory) -> dict[str, Any]:
    return {name: getattr(memory, name) for name in Memory.model_fields}


def to_entry(row: Row[Any]) -> HistoryEntry:
    return HistoryEntry.model_construct(**{name: getattr(row, name) for name in HistoryEntry.model_fields})


def to_api_key(row: Row[Any]) -> ApiKey:
    values = {name: getattr(row, name) for name in ApiKey.model_fields if name != "tenant"}
    return ApiKey(tenant=row.tenant_id, **values)
