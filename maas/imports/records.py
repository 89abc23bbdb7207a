"""One object a memory: JSON lines of anybody, and what mem0's ``get_all`` returns."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from maas.compat.mem0.shapes import expiry
from maas.errors import InvalidInputError
from maas.imports.files import elements, first_byte, given, key, moment, opened

TEXTS = ("text", "memory", "content", "page_content", "document")
IDS = ("key", "id", "uuid", "_id")
TIMES = ("created_at", "timestamp", "time", "date")
KEPT = ("user_id", "agent_id", "session_id", "metadata", "expires_at", "importance")


def jsonl(path: Path) -> Iterator[dict[str, Any]]:
    """Objects with the text under ``text`` (or another of ``TEXTS``), and whatever maas's fields they have."""
    for number, record in _lines(path):
        yield _memory("jsonl", record, f"{path}:{number}")


def mem0(path: Path) -> Iterator[dict[str, Any]]:
    """``{"results": […]}``, the bare list, or one of its objects a line."""
    if first_byte(path, path.name) == b"[":
        records = elements(path, path.name)
    elif _starts_with_a_record(path):
        records = (record for _, record in _lines(path))
    else:
        records = elements(path, path.name, "results.item")
    for number, record in enumerate(records, 1):
        if not isinstance(record.get("memory"), str):
            raise InvalidInputError(f"{path}: record {number} has no memory; expected what mem0's get_all returned")
        fields = _memory("mem0", record, f"{path}:{number}")
        if role := record.get("role"):
            said = given(role=role, content=fields.pop("text"), name=record.get("actor_id"))
            fields["messages"] = [said]
        try:
            expires = expiry(record.get("expiration_date"))
        except ValueError as error:
            raise InvalidInputError(f"{path}: record {number}: {error}") from None
        yield given(**fields | {"session_id": record.get("run_id"), "expires_at": expires and expires.isoformat()})


def _memory(source: str, record: dict[str, Any], place: str) -> dict[str, Any]:
    text = next((record[name] for name in TEXTS if isinstance(record.get(name), str)), None)
    if text is None:
        raise InvalidInputError(f"{place}: no text; expected it under one of {', '.join(TEXTS)}")
    own = next((record[name] for name in IDS if record.get(name) not in (None, "")), None)
    if own is None:
        own = hashlib.blake2b(json.dumps(record, sort_keys=True).encode(), digest_size=16).hexdigest()
    at = next((found for name in TIMES if (found := moment(record.get(name)))), None)
    return given(
        key=key(source, own), text=text, created_at=at, **{name: record[name] for name in KEPT if name in record}
    )


def _starts_with_a_record(path: Path) -> bool:
    with opened(path, path.name) as file:
        try:
            return "memory" in json.loads(file.readline())
        except (ValueError, RecursionError):
            return False


def _lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    with opened(path, path.name) as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                record = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise InvalidInputError(f"{path}:{number}: no JSON ({error}); expected one object a line") from None
            if not isinstance(record, dict):
                raise InvalidInputError(f"{path}:{number}: holds a {type(record).__name__}; expected an object")
            yield number, record
