"""Compiles a Where to SQL on ``memories``. Every value is bound; every condition is true or false, never NULL."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from typing import Any, cast

from sqlalchemy import (
    ColumnElement,
    String,
    and_,
    case,
    exists,
    false,
    func,
    literal,
    not_,
    or_,
    select,
    true,
    type_coerce,
)

from maas.recall.filters import Condition, Filter, Group, Scalar
from maas.records import Scope
from maas.storage.protocol import Where
from maas.storage.tables import memories, memory_versions

_Bool = ColumnElement[bool]


def owned(scope: Scope) -> _Bool:
    return and_(memories.c.tenant_id == scope.tenant, memories.c.user_id == scope.user_id)


def live(where: Where) -> _Bool:
    """Hides what has expired, and what is superseded unless asked for."""
    fresh = or_(memories.c.expires_at.is_(None), memories.c.expires_at > where.now)
    current: _Bool = memories.c.superseded_by.is_(None)
    if where.as_of is not None:
        fresh = and_(fresh, _known_by(where.as_of))
        current = or_(current, memories.c.superseded_at > where.as_of)
    return fresh if where.include_superseded else and_(fresh, current)


def _known_by(at: datetime) -> _Bool:
    """Said by then; a memory that was changed is dated by its last version, and was known since its first."""
    version = memory_versions.alias()
    first = exists().where(
        version.c.tenant_id == memories.c.tenant_id,
        version.c.user_id == memories.c.user_id,
        version.c.memory_id == memories.c.id,
        version.c.valid_from <= at,
    )
    return or_(memories.c.created_at <= at, and_(memories.c.version > 1, first))


def narrowed(where: Where) -> _Bool:
    """What the caller asked for beyond :func:`live`."""
    parts: list[_Bool] = [true()]
    if where.agent_id is not None:
        parts.append(memories.c.agent_id == where.agent_id)
    if where.session_id is not None:
        parts.append(memories.c.session_id == where.session_id)
    if where.since is not None:
        parts.append(memories.c.created_at >= where.since)
    if where.until is not None:
        parts.append(memories.c.created_at <= where.until)
    if where.filters is not None:
        parts.append(_compile(where.filters))
    return and_(*parts)


def _compile(node: Filter) -> _Bool:
    if isinstance(node, Group):
        parts = [_compile(part) for part in node.parts]
        if node.logic == "NOT":
            return not_(and_(*parts))
        return and_(*parts) if node.logic == "AND" else or_(*parts)
    operand = _metadata_value(node) if node.path[0] == "metadata" else _column(node)
    return func.coalesce(operand, false())


def _column(node: Condition) -> _Bool:
    column: ColumnElement[Any] = memories.c[node.path[0]]
    return _dispatch(node, lambda value: column.is_(None) if value is None else column == value, column, column)


class _Json:
    """One place in the metadata: its value as SQL sees it, and its JSON type."""

    def __init__(self, keys: tuple[str, ...]) -> None:
        document: ColumnElement[Any] = type_coerce(memories.c.metadata, String)
        if any(character in key for key in keys for character in '"\\') or any(not key.isprintable() for key in keys):
            document = func.json_at(document, json.dumps(keys))
            keys = ("v",)
        self.path = literal("$" + "".join(f'."{key}"' for key in keys))
        self.document = document
        self.value = func.json_extract(document, self.path)
        self.type = func.json_type(document, self.path)

    def equals(self, value: Scalar) -> _Bool:
        if value is None:
            return or_(self.type.is_(None), self.type == "null")
        if isinstance(value, bool):
            return self.type == ("true" if value else "false")
        return and_(self.of_type(value), self.value == value)

    def of_type(self, value: Scalar) -> _Bool:
        return self.type == "text" if isinstance(value, str) else self.type.in_(("integer", "real"))

    def has_element(self, value: Scalar, *, fold: bool) -> _Bool:
        element = func.json_each(self.document, self.path).table_valued("value", "type")
        if value is None or isinstance(value, bool):
            matches = element.c.type == {None: "null", True: "true", False: "false"}[value]
        elif isinstance(value, str):
            folded = func.casefold(element.c.value) == value.casefold() if fold else element.c.value == value
            matches = and_(element.c.type == "text", folded)
        else:
            matches = and_(element.c.type.in_(("integer", "real")), element.c.value == value)
        return select(literal(1)).select_from(element).where(matches).exists()


def _metadata_value(node: Condition) -> _Bool:
    place = _Json(node.path[1:])
    value = node.value
    if node.operator in ("contains", "icontains"):
        assert not isinstance(value, tuple)
        inside = place.has_element(value, fold=node.operator == "icontains")
        if not isinstance(value, str):
            return and_(place.type == "array", inside)
        found = _substring(place.value, value, fold=node.operator == "icontains")
        return case((place.type == "array", inside), (place.type == "text", found), else_=false())
    typed = case((place.of_type(value), place.value)) if not isinstance(value, tuple) else place.value
    return _dispatch(node, place.equals, typed, place.value)


def _dispatch(
    node: Condition, equals: Callable[[Any], _Bool], ordered: ColumnElement[Any], text: ColumnElement[Any]
) -> _Bool:
    """The operators, given how equality and order are spelt at this place."""
    value: Any = node.value
    match node.operator:
        case "eq":
            return equals(value)
        case "ne":
            return not_(func.coalesce(equals(value), false()))
        case "in":
            return or_(false(), *(func.coalesce(equals(item), false()) for item in value))
        case "nin":
            return not_(or_(false(), *(func.coalesce(equals(item), false()) for item in value)))
        case "gt":
            return cast("_Bool", ordered > value)
        case "gte":
            return cast("_Bool", ordered >= value)
        case "lt":
            return cast("_Bool", ordered < value)
        case "lte":
            return cast("_Bool", ordered <= value)
        case "contains":
            return _substring(text, value, fold=False)
        case "icontains":
            return _substring(text, value, fold=True)


def _substring(text: ColumnElement[Any], value: str, *, fold: bool) -> _Bool:
    if fold:
        return func.instr(func.casefold(text), value.casefold()) > 0
    return func.instr(text, value) > 0
