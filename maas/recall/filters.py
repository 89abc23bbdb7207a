"""Filters in mem0's operators, parsed to a small tree.

{"metadata.city": "Tokyo"}                        equal; a list means any of
{"metadata.n": {"gte": 3, "lt": 9}}               eq ne gt gte lt lte in nin contains icontains
{"AND": [...]}, {"OR": [...]}, {"NOT": {...}}     keys side by side mean AND
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError

from maas.errors import FieldError, InvalidInputError
from maas.fields import Timestamp

MAX_DEPTH = 32
MAX_NODES = 256
MAX_VALUES = 1_000
MAX_VALUES_IN_ALL = 10_000

Operator = Literal["eq", "ne", "gt", "gte", "lt", "lte", "in", "nin", "contains", "icontains"]
Scalar = str | int | float | bool | None | datetime

TEXT_FIELDS = frozenset({"agent_id", "session_id", "role", "name", "key"})
NUMBER_FIELDS = frozenset({"importance"})
TIME_FIELDS = frozenset({"created_at", "updated_at"})
FIELDS = TEXT_FIELDS | NUMBER_FIELDS | TIME_FIELDS

_ORDERING = ("gt", "gte", "lt", "lte")
_SUBSTRING = ("contains", "icontains")
_OPERATORS = ("eq", "ne", *_ORDERING, "in", "nin", *_SUBSTRING)
_LOGIC = ("AND", "OR", "NOT")
_TIMESTAMP: TypeAdapter[datetime] = TypeAdapter(Timestamp)


@dataclass(frozen=True, slots=True)
class Condition:
    """``path`` is ("created_at",) for a column, ("metadata", "address", "city") for a value in the metadata."""

    path: tuple[str, ...]
    operator: Operator
    value: Scalar | tuple[Scalar, ...]


@dataclass(frozen=True, slots=True)
class Group:
    """All of ``parts``, any of them, or not all of them."""

    logic: Literal["AND", "OR", "NOT"]
    parts: tuple[Filter, ...]


Filter = Condition | Group


def parse_filters(filters: Mapping[str, Any] | None) -> Filter | None:
    """Build the tree; None for no or empty filters.

    Raises:
        InvalidInputError: names the place as ``filters.AND.0.metadata.city``.
    """
    if not filters:
        return None
    return _Parser().mapping(filters, "filters", 1)


class _Parser:
    """Counts what it has built, so that a small body cannot ask for a huge query."""

    def __init__(self) -> None:
        self._nodes = self._values = 0

    def mapping(self, value: Any, place: str, depth: int) -> Filter:
        if depth > MAX_DEPTH:
            raise _fault(place, f"is nested deeper than {MAX_DEPTH} levels")
        if not isinstance(value, Mapping):
            raise _fault(place, f"is {_kind(value)}; expected an object such as {{'metadata.city': 'Tokyo'}}")
        if not value:
            raise _fault(place, "is empty; name a field or leave it out")
        parts: list[Filter] = []
        for key, content in value.items():
            if not isinstance(key, str):
                raise _fault(place, f"has the key {key!r}; keys are strings")
            inner = f"{place}.{key}"
            if key.upper() in _LOGIC:
                parts.append(self._group(key.upper(), content, inner, depth))
            else:
                parts.extend(self._conditions(key, content, inner))
        return parts[0] if len(parts) == 1 else Group("AND", tuple(parts))

    def _group(self, logic: str, content: Any, place: str, depth: int) -> Group:
        self._count(place)
        if logic == "NOT":
            items = content if isinstance(content, list) else [content]
            parts = tuple(self.mapping(item, place, depth + 1) for item in items)
            if not parts:
                raise _fault(place, "is empty; give at least one filter")
            # NOT of a list means none of them, as in mem0
            return Group("NOT", (parts[0] if len(parts) == 1 else Group("OR", parts),))
        if not isinstance(content, list) or not content:
            raise _fault(place, f"is {_kind(content)}; expected a list of one or more filters")
        parts = tuple(self.mapping(item, f"{place}.{i}", depth + 1) for i, item in enumerate(content))
        return Group("AND" if logic == "AND" else "OR", parts)

    def _conditions(self, name: str, content: Any, place: str) -> list[Filter]:
        path = _path(name, place)
        if isinstance(content, Mapping):
            if not content:
                raise _fault(place, "is empty; give an operator such as {'gte': 3}")
            return [self._condition(path, op, value, f"{place}.{op}") for op, value in content.items()]
        return [self._condition(path, "in" if isinstance(content, list) else "eq", content, place)]

    def _condition(self, path: tuple[str, ...], operator: Any, value: Any, place: str) -> Condition:
        self._count(place)
        if operator not in _OPERATORS:
            raise _fault(place, f"is no operator; known are {', '.join(_OPERATORS)}")
        if operator in ("in", "nin"):
            if not isinstance(value, list) or len(value) > MAX_VALUES:
                raise _fault(place, f"is {_kind(value)}; expected a list of at most {MAX_VALUES:,} values")
            self._values += len(value)
            if self._values > MAX_VALUES_IN_ALL:
                raise _fault(place, f"makes {self._values:,} values in all lists; the limit is {MAX_VALUES_IN_ALL:,}")
            return Condition(path, operator, tuple(_scalar(path, item, f"{place}.{i}") for i, item in enumerate(value)))
        scalar = _scalar(path, value, place)
        if operator in _ORDERING and (scalar is None or isinstance(scalar, bool)):
            raise _fault(place, f"is {_kind(value)}; only numbers, texts and times have an order")
        if operator in _SUBSTRING and path[0] in NUMBER_FIELDS | TIME_FIELDS:
            raise _fault(place, f"{path[0]} is no text; {operator} looks inside texts and lists")
        if not isinstance(scalar, str) and (operator == "icontains" or (operator == "contains" and len(path) == 1)):
            raise _fault(place, f"is {_kind(value)}; expected a text")
        return Condition(path, operator, scalar)

    def _count(self, place: str) -> None:
        self._nodes += 1
        if self._nodes > MAX_NODES:
            raise _fault(place, f"is one condition too many; the limit is {MAX_NODES}")


def _path(name: str, place: str) -> tuple[str, ...]:
    if name in FIELDS:
        return (name,)
    head, *keys = name.split(".")
    if head != "metadata":
        raise _fault(place, f"is no field; known are metadata.<key>, {', '.join(sorted(FIELDS))}")
    if not keys or not all(keys):
        raise _fault(place, "names no key; expected metadata.<key>, nested as metadata.<key>.<key>")
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        raise _fault("filters", "has a key with a lone surrogate; send valid Unicode") from None
    if "\x00" in name:
        raise _fault("filters", "has a key with a NUL character; remove it")
    return ("metadata", *keys)


def _scalar(path: tuple[str, ...], value: Any, place: str) -> Scalar:
    if value is None:
        return None
    if path[0] in TIME_FIELDS:
        try:
            return _TIMESTAMP.validate_python(value)
        except ValidationError as error:
            raise _fault(place, error.errors()[0]["msg"].removeprefix("Value error, ")) from None
    if path[0] in TEXT_FIELDS and not isinstance(value, str):
        raise _fault(place, f"is {_kind(value)}; {path[0]} is a text")
    if path[0] in NUMBER_FIELDS and (isinstance(value, bool) or not isinstance(value, (int, float))):
        raise _fault(place, f"is {_kind(value)}; {path[0]} is a number")
    return _plain(value, place)


def _plain(value: Any, place: str) -> Scalar:
    if isinstance(value, bool):
        return value
    if isinstance(value, int):
        if abs(value) >= 2**63:
            raise _fault(place, "is an integer outside 64 bits")
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise _fault(place, f"is {value}, which JSON cannot carry")
        return value
    if isinstance(value, str):
        try:
            value.encode("utf-8")
        except UnicodeEncodeError:
            raise _fault(place, "holds a lone surrogate; send valid Unicode") from None
        return value
    raise _fault(place, f"is {_kind(value)}; expected a text, number, true, false or null")


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    names = {bool: "true or false", dict: "an object", list: "a list", str: "a text"}
    return "a number" if type(value) in (int, float) else names.get(type(value), f"a {type(value).__name__}")


def _fault(place: str, message: str) -> InvalidInputError:
    # A path through a hostile body can be long and unprintable.
    place = place.encode("utf-8", "replace").decode("utf-8")
    if len(place) > 200:
        place = f"{place[:200]}…"
    return InvalidInputError(f"{place} {message}", errors=[FieldError(place, message)])
