"""LangGraph's filters and namespaces in maas's words."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

from langgraph.store.base import MatchCondition, SearchOp

ROOT = "metadata.langgraph"
_OPERATORS = {"$eq": "eq", "$ne": "ne", "$gt": "gt", "$gte": "gte", "$lt": "lt", "$lte": "lte"}

Namespace = tuple[str, ...]


def key_of(namespace: Namespace, key: str) -> str:
    """One memory for each key of each namespace, however long both are."""
    return hashlib.blake2b(json.dumps([namespace, key]).encode(), digest_size=24).hexdigest()


def filters_of(op: SearchOp, *, indexed: bool | None = None) -> dict[str, Any]:
    """What a search asks of metadata; ``indexed`` narrows it to items that are, or are not, found by meaning.

    Raises:
        ValueError: an operator or a value that is no text, number, truth or null.
    """
    conditions = within(op.namespace_prefix)
    for field, wanted in (op.filter or {}).items():
        path = f"{ROOT}.value.{field}"
        if isinstance(wanted, Mapping) and wanted and all(str(name).startswith("$") for name in wanted):
            conditions.append({path: {_operator(name): _scalar(field, value) for name, value in wanted.items()}})
        else:
            conditions.append({path: {"eq": _scalar(field, wanted)}})
    if indexed is not None:
        conditions.append({f"{ROOT}.indexed": indexed})
    return {"AND": conditions}


def within(prefix: Namespace) -> list[dict[str, Any]]:
    """Everything under ``prefix``, and nothing that was not put here."""
    found: list[dict[str, Any]] = [{f"{ROOT}.key": {"ne": None}}]
    return found + [{f"{ROOT}.namespace.{place}": part} for place, part in enumerate(prefix)]


def matches(condition: MatchCondition, namespace: Namespace) -> bool:
    path = condition.path
    if len(path) > len(namespace):
        return False
    part = namespace[: len(path)] if condition.match_type == "prefix" else namespace[len(namespace) - len(path) :]
    return all(wanted in ("*", found) for wanted, found in zip(path, part, strict=True))


def texts_in(value: Any) -> Iterator[str]:
    """The words of a value: its strings, in their order."""
    if isinstance(value, str) and value.strip():
        yield value
    elif isinstance(value, Mapping):
        for part in value.values():
            yield from texts_in(part)
    elif isinstance(value, (list, tuple)):
        for part in value:
            yield from texts_in(part)


def _operator(name: str) -> str:
    if name not in _OPERATORS:
        raise ValueError(f"unknown operator {name!r} in filter; expected one of {', '.join(_OPERATORS)}")
    return _OPERATORS[name]


def _scalar(field: str, value: Any) -> Any:
    if value is None or isinstance(value, (str, int, float, bool)):
        return value
    raise ValueError(f"filter on {field!r} compares with a {type(value).__name__}; give a text, number, truth or null")
