"""What SQLite and PostgreSQL spell differently, as one expression that is compiled for either."""

from __future__ import annotations

import json
from functools import cached_property
from typing import Any

from sqlalchemy import ARRAY, BigInteger, ColumnElement, Text, TypeDecorator, bindparam, cast, func, select
from sqlalchemy.engine import Dialect
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.visitors import InternalTraversal
from sqlalchemy.types import TypeEngine


class ByDialect(ColumnElement[Any]):
    """One of two expressions over the same tables; read as ``type_``, unset as SQLite's."""

    inherit_cache = True
    _traverse_internals = [  # noqa: RUF012 - SQLAlchemy's own attribute
        ("sqlite", InternalTraversal.dp_clauseelement),
        ("postgresql", InternalTraversal.dp_clauseelement),
    ]

    def __init__(
        self, sqlite: ColumnElement[Any], postgresql: ColumnElement[Any], type_: TypeEngine[Any] | None = None
    ) -> None:
        self.sqlite = sqlite
        self.postgresql = postgresql
        self.type = sqlite.type if type_ is None else type_

    @cached_property
    def _from_objects(self) -> list[Any]:
        return self.sqlite._from_objects  # noqa: SLF001 - as SQLAlchemy's own elements do

    def self_group(self, against: Any = None) -> ColumnElement[Any]:
        return self


@compiles(ByDialect, "sqlite")
def _for_sqlite(element: ByDialect, compiler: Any, **kw: Any) -> str:
    return f"({compiler.process(element.sqlite, **kw)})"


@compiles(ByDialect, "postgresql")
def _for_postgresql(element: ByDialect, compiler: Any, **kw: Any) -> str:
    return f"({compiler.process(element.postgresql, **kw)})"


class ListOf(TypeDecorator[list[Any]]):
    """Any number of values in one parameter: a JSON list for SQLite, an array for PostgreSQL."""

    impl = Text
    cache_ok = True

    def __init__(self, item: type[TypeEngine[Any]]) -> None:
        super().__init__()
        self.item = item

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        return ARRAY(self.item()) if dialect.name == "postgresql" else Text()

    def process_bind_param(self, value: Any, dialect: Dialect) -> Any:
        values = list(value)
        return values if dialect.name == "postgresql" else json.dumps(values, ensure_ascii=False)


def among(column: ColumnElement[Any], name: str) -> ColumnElement[Any]:
    """Whether the column's value is one of those in the list parameter ``name``."""
    kind = ListOf(BigInteger if isinstance(column.type, BigInteger) else Text)
    values = bindparam(name, type_=kind)
    listed = select(func.json_each(values).table_valued("value").c.value).scalar_subquery()
    return ByDialect(column.in_(listed), column == func.any(values))


def joined(column: ColumnElement[Any]) -> ColumnElement[Any]:
    """A list of numbers as text, "3,5,8", NULL for none: the cheapest way through either driver."""
    return ByDialect(func.group_concat(column, type_=Text), func.string_agg(cast(column, Text), ",", type_=Text))


def position(text: ColumnElement[Any], part: Any) -> ColumnElement[Any]:
    """Where ``part`` begins in ``text``, counted from 1; 0 if it is not there."""
    return ByDialect(func.instr(text, part, type_=BigInteger), func.strpos(text, part, type_=BigInteger))


def folded(text: ColumnElement[Any]) -> ColumnElement[Any]:
    """As ``str.casefold`` gives it; both functions are maas's own."""
    return ByDialect(func.casefold(text, type_=Text), func.maas_casefold(text, type_=Text))
