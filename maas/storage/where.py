"""Compiles a Where to SQL on ``memories``. Every value is bound; every condition is true or false, never NULL."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import datetime
from itertools import groupby
from typing import Any, cast

from sqlalchemy import (
    ARRAY,
    BigInteger,
    ColumnElement,
    Numeric,
    String,
    Text,
    and_,
    case,
    exists,
    false,
    func,
    literal,
    literal_column,
    not_,
    or_,
    select,
    true,
    type_coerce,
)
from sqlalchemy import cast as sql_cast
from sqlalchemy.dialects.postgresql import JSONB

from maas.recall.filters import Condition, Filter, Group, Scalar
from maas.records import Scope
from maas.storage.by_dialect import ByDialect, folded, position
from maas.storage.tables import memories, memory_versions
from maas.storage.values import Where

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
    return _dispatch(
        node, lambda value: column.is_(None) if value is None else column == _bound(value), lambda _: column
    )


class _Json:
    """One place in the metadata: its value as SQL sees it, and its JSON type."""

    def __init__(self, keys: tuple[str, ...]) -> None:
        document: ColumnElement[Any] = type_coerce(memories.c.metadata, String)
        # SQLite's paths cannot spell every key; PostgreSQL's are lists of them.
        path = literal(list(keys), ARRAY(Text))
        self._found = sql_cast(document, JSONB).op("#>", return_type=JSONB())(path)
        self._shown = sql_cast(document, JSONB).op("#>>", return_type=Text())(path)
        if any(character in key for key in keys for character in '"\\') or any(not key.isprintable() for key in keys):
            document = func.json_at(document, json.dumps(keys))
            keys = ("v",)
        self._path = literal("$" + "".join(f'."{key}"' for key in keys))
        self._document = document
        self._value = func.json_extract(document, self._path)
        self._type = func.json_type(document, self._path)

    @property
    def text(self) -> ColumnElement[Any]:
        return ByDialect(
            case((self._type == "text", self._value)), case((self._is("string"), self._shown.collate("C")))
        )

    @property
    def number(self) -> ColumnElement[Any]:
        return ByDialect(
            case((self._type.in_(("integer", "real")), self._value)),
            case((self._is("number"), sql_cast(self._shown, Numeric))),
        )

    @property
    def is_array(self) -> _Bool:
        return ByDialect(self._type == "array", self._is("array"))

    def equals(self, value: Scalar) -> _Bool:
        if value is None:
            kind = func.jsonb_typeof(self._found)
            return ByDialect(or_(self._type.is_(None), self._type == "null"), or_(kind.is_(None), kind == "null"))
        if isinstance(value, bool):
            is_value = self._type == ("true" if value else "false")
            return ByDialect(is_value, self._found == _json(value))
        mine = self.text if isinstance(value, str) else self.number
        return cast("_Bool", mine == _bound(value))

    def has_element(self, value: Scalar, *, fold: bool) -> _Bool:
        element = func.json_each(self._document, self._path).table_valued("value", "type")
        if value is None or isinstance(value, bool):
            matches = element.c.type == {None: "null", True: "true", False: "false"}[value]
        elif isinstance(value, str):
            mine = folded(element.c.value) if fold else element.c.value
            matches = and_(element.c.type == "text", mine == (value.casefold() if fold else value))
        else:
            matches = and_(element.c.type.in_(("integer", "real")), element.c.value == value)
        listed = select(literal(1)).select_from(element).where(matches).exists()
        if not (fold and isinstance(value, str)):
            return ByDialect(listed, self._found.op("@>")(_json([value])))
        # Strict, or it would look into lists in the list; silent, since this is asked of what is no list as well.
        path: ColumnElement[Any] = literal_column("'strict $[*] ? (@.type() == \"string\")'::jsonpath")
        texts = func.jsonb_path_query(self._found, path, literal_column("'{}'::jsonb"), true())
        text = texts.column_valued("found").op("#>>", return_type=Text())(literal([], ARRAY(Text)))
        return ByDialect(listed, select(literal(1)).where(folded(text) == value.casefold()).exists())

    def _is(self, kind: str) -> _Bool:
        return func.jsonb_typeof(self._found) == kind


def _json(value: Any) -> ColumnElement[Any]:
    return sql_cast(literal(json.dumps(value, ensure_ascii=False), Text), JSONB)


def _metadata_value(node: Condition) -> _Bool:
    place = _Json(node.path[1:])
    value = node.value
    if node.operator in ("contains", "icontains"):
        assert not isinstance(value, tuple)
        fold = node.operator == "icontains"
        inside = place.has_element(value, fold=fold)
        if not isinstance(value, str):
            return and_(place.is_array, inside)
        return case((place.is_array, inside), else_=_substring(place.text, value, fold=fold))
    return _dispatch(node, place.equals, lambda item: place.text if isinstance(item, str) else place.number)


def _dispatch(
    node: Condition, equals: Callable[[Any], _Bool], operand_of: Callable[[Any], ColumnElement[Any]]
) -> _Bool:
    """The operators, given how equality is spelt at this place, and what a value is compared with."""
    value: Any = node.value
    operand = operand_of(value)
    match node.operator:
        case "eq":
            return equals(value)
        case "ne":
            return not_(func.coalesce(equals(value), false()))
        case "in":
            return _listed(value, equals, operand_of)
        case "nin":
            return not_(_listed(value, equals, operand_of))
        case "gt":
            return cast("_Bool", operand > _bound(value))
        case "gte":
            return cast("_Bool", operand >= _bound(value))
        case "lt":
            return cast("_Bool", operand < _bound(value))
        case "lte":
            return cast("_Bool", operand <= _bound(value))
        case "contains":
            return _substring(operand, value, fold=False)
        case "icontains":
            return _substring(operand, value, fold=True)


def _listed(
    values: Sequence[Any], equals: Callable[[Any], _Bool], operand_of: Callable[[Any], ColumnElement[Any]]
) -> _Bool:
    """Values of one kind make one IN: SQLite takes no expression a thousand levels deep, as a chain of ORs is."""
    found = []
    for kind, group in groupby(sorted(values, key=_kind), key=_kind):
        if kind in ("NoneType", "bool"):
            found += [equals(value) for value in dict.fromkeys(group)]
        else:
            items = list(group)
            found.append(operand_of(items[0]).in_([_bound(item) for item in items]))
    return or_(false(), *(func.coalesce(each, false()) for each in found))


def _kind(value: Any) -> str:
    return type(value).__name__


def _bound(value: Any) -> Any:
    """SQLAlchemy would bind an integer as one of 32 bits."""
    return literal(value, BigInteger) if type(value) is int else value


def _substring(text: ColumnElement[Any], value: str, *, fold: bool) -> _Bool:
    return position(folded(text), value.casefold()) > 0 if fold else position(text, value) > 0
