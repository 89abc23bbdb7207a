"""Statements compiled once to SQL text, and run on the driver's own connection.

For a statement that touches a few rows, SQLAlchemy's execution takes twenty times as long as SQLite's. The
expressions stay the source: the SQL and how values are bound and read all come from them.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property
from typing import Any

from sqlalchemy import TextClause
from sqlalchemy.dialects import sqlite
from sqlalchemy.dialects.sqlite.base import SQLiteCompiler
from sqlalchemy.engine.interfaces import Compiled
from sqlalchemy.sql.dml import UpdateBase
from sqlalchemy.sql.selectable import FromClause, Select
from sqlalchemy.types import TypeDecorator, TypeEngine


class _Compiler(SQLiteCompiler):
    """SQLAlchemy leaves ``with_hint`` out of SQLite's statements; INDEXED BY stands where it would put it."""

    def get_from_hint_text(self, table: FromClause, text: str | None) -> str | None:
        return text


_DIALECT = sqlite.dialect(paramstyle="named")
_DIALECT.statement_compiler = _Compiler

_Processor = Callable[[Any], Any]


class Prepared:
    """One statement, compiled when it is first run. Parameters go by the names of its ``bindparam``s or columns."""

    def __init__(self, statement: Select[Any] | UpdateBase | TextClause) -> None:
        self._statement = statement

    def rows(self, driver: sqlite3.Connection, **values: Any) -> list[tuple[Any, ...]]:
        return list(self.each(driver, **values))

    def each(self, driver: sqlite3.Connection, **values: Any) -> Iterator[tuple[Any, ...]]:
        """Rows as they are read. The statement has begun when this returns."""
        cursor = driver.execute(self.sql, self._bind(values))
        return map(self._read, cursor) if self._readers else cursor

    def first(self, driver: sqlite3.Connection, **values: Any) -> tuple[Any, ...] | None:
        """The first row, of a statement that gives at most one."""
        rows = self.rows(driver, **values)
        return rows[0] if rows else None

    def scalar(self, driver: sqlite3.Connection, **values: Any) -> Any:
        """The first column of :meth:`first`; None without a row."""
        row = self.first(driver, **values)
        return None if row is None else row[0]

    def run(self, driver: sqlite3.Connection, **values: Any) -> None:
        driver.execute(self.sql, self._bind(values))

    def run_many(self, driver: sqlite3.Connection, rows: Iterable[Mapping[str, Any]]) -> None:
        driver.executemany(self.sql, map(self._bind, rows))

    @cached_property
    def sql(self) -> str:
        return str(self._compiled)

    @cached_property
    def _compiled(self) -> Compiled:
        return self._statement.compile(dialect=_DIALECT)

    @cached_property
    def _constants(self) -> dict[str, Any]:
        """Values that are written into the statement itself."""
        return {name: value for name, value in (self._compiled.params or {}).items() if value is not None}

    @cached_property
    def _binders(self) -> list[tuple[str, _Processor]]:
        binds: Mapping[str, Any] = getattr(self._compiled, "binds", {})
        found = ((name, _impl(bind.type).bind_processor(_DIALECT)) for name, bind in binds.items())
        return [(name, process) for name, process in found if process is not None]

    @cached_property
    def _readers(self) -> list[tuple[int, _Processor]]:
        columns = () if isinstance(self._statement, TextClause) else self._statement.exported_columns
        found = ((i, _reader(column.type)) for i, column in enumerate(columns))
        return [(i, process) for i, process in found if process is not None]

    def _bind(self, values: Mapping[str, Any]) -> dict[str, Any]:
        bound = {**self._constants, **values}
        for name, process in self._binders:
            if bound[name] is not None:
                bound[name] = process(bound[name])
        return bound

    def _read(self, row: tuple[Any, ...]) -> tuple[Any, ...]:
        values = list(row)
        for i, process in self._readers:
            if values[i] is not None:
                values[i] = process(values[i])
        return tuple(values)


def _reader(type_: TypeEngine[Any]) -> _Processor | None:
    if isinstance(type_, TypeDecorator):  # SQLAlchemy would put a call of its own around each value
        return lambda value: type_.process_result_value(value, _DIALECT)
    return _impl(type_).result_processor(_DIALECT, None)


def _impl(type_: TypeEngine[Any]) -> TypeEngine[Any]:
    return type_.dialect_impl(_DIALECT)
