"""Statements compiled once to SQL text, and run on the driver's own connection.

For a statement that touches a few rows, SQLAlchemy's execution takes twenty times as long as SQLite's. The
expressions stay the source: the SQL and how values are bound and read all come from them.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property, partial
from itertools import chain
from typing import TYPE_CHECKING, Any, cast

from sqlalchemy import BigInteger, Float, LargeBinary, TextClause
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.dialects.sqlite.base import SQLiteCompiler
from sqlalchemy.engine.interfaces import Compiled, Dialect
from sqlalchemy.sql.dml import Insert, UpdateBase
from sqlalchemy.sql.selectable import FromClause, Select
from sqlalchemy.types import TypeDecorator, TypeEngine

if TYPE_CHECKING:
    import psycopg
    from typing_extensions import TypeIs

    Driver = sqlite3.Connection | psycopg.Connection[Any]

Statement = Select[Any] | UpdateBase | TextClause


class _Compiler(SQLiteCompiler):
    """SQLAlchemy leaves ``with_hint`` out of SQLite's statements; INDEXED BY stands where it would put it."""

    def get_from_hint_text(self, table: FromClause, text: str | None) -> str | None:
        return text


_SQLITE = sqlite.dialect(paramstyle="named")
_SQLITE.statement_compiler = _Compiler
_POSTGRES: Dialect = cast("Any", postgresql.psycopg.dialect)()

_Processor = Callable[[Any], Any]


class Prepared:
    """One statement, compiled when it is first run. Parameters go by the names of its ``bindparam``s or columns.

    Args:
        statement: for both databases, or for SQLite alone.
        postgresql: what PostgreSQL is told instead.
    """

    def __init__(self, statement: Statement, postgresql: Statement | None = None) -> None:
        self._statements = (statement, statement if postgresql is None else postgresql)

    def rows(self, driver: Driver, **values: Any) -> list[tuple[Any, ...]]:
        return list(self.each(driver, **values))

    def each(self, driver: Driver, **values: Any) -> Iterator[tuple[Any, ...]]:
        """Rows as they are read. The statement has begun when this returns."""
        compiled = self.on(driver)
        cursor = cast("Any", driver).execute(compiled.sql, compiled.bind(values))
        return map(compiled.read, cursor) if compiled.readers else cursor

    def planned_anew(self, driver: psycopg.Connection[Any], **values: Any) -> list[tuple[Any, ...]]:
        """Rows of a statement whose plan depends on its values, as that of a partial index does."""
        compiled = self.postgresql
        return driver.execute(cast("Any", compiled.sql), compiled.bind(values), prepare=False).fetchall()

    def first(self, driver: Driver, **values: Any) -> tuple[Any, ...] | None:
        """The first row, of a statement that gives at most one."""
        rows = self.rows(driver, **values)
        return rows[0] if rows else None

    def scalar(self, driver: Driver, **values: Any) -> Any:
        """The first column of :meth:`first`; None without a row."""
        row = self.first(driver, **values)
        return None if row is None else row[0]

    def run(self, driver: Driver, **values: Any) -> None:
        compiled = self.on(driver)
        cast("Any", driver).execute(compiled.sql, compiled.bind(values))

    def run_many(self, driver: Driver, rows: Iterable[Mapping[str, Any]]) -> None:
        compiled = self.on(driver)
        if is_sqlite(driver):
            driver.executemany(compiled.sql, map(compiled.bind, rows))
        elif type(compiled.statement) is Insert:
            compiled.copy(driver, rows)
        else:
            with driver.cursor() as cursor:  # sends all, and then waits for what came of them
                cursor.executemany(cast("Any", compiled.sql), map(compiled.bind, rows))

    def on(self, driver: Driver) -> CompiledStatement:
        return self.sqlite if is_sqlite(driver) else self.postgresql

    @property
    def sql(self) -> str:
        return self.sqlite.sql

    @cached_property
    def sqlite(self) -> CompiledStatement:
        return CompiledStatement(self._statements[0], _SQLITE)

    @cached_property
    def postgresql(self) -> CompiledStatement:
        return CompiledStatement(self._statements[1], _POSTGRES)


def is_sqlite(driver: Driver) -> TypeIs[sqlite3.Connection]:
    """SQLCipher's connections are SQLite's in all but their class."""
    return isinstance(driver, sqlite3.Connection) or type(driver).__module__.startswith("sqlcipher3")


class CompiledStatement:
    """A statement as one database is told it."""

    def __init__(self, statement: Statement, dialect: Dialect) -> None:
        self.statement = statement
        self._dialect = dialect

    @cached_property
    def sql(self) -> str:
        return str(self._compiled)

    @cached_property
    def readers(self) -> list[tuple[int, _Processor]]:
        columns = () if isinstance(self.statement, TextClause) else self.statement.exported_columns
        found = ((i, self._reader(column.type)) for i, column in enumerate(columns))
        return [(i, process) for i, process in found if process is not None]

    def bind(self, values: Mapping[str, Any]) -> dict[str, Any]:
        bound = {**self._constants, **values}
        for name, process in self._binders:
            if bound[name] is not None:
                bound[name] = process(bound[name])
        return bound

    def read(self, row: tuple[Any, ...]) -> tuple[Any, ...]:
        values = list(row)
        for i, process in self.readers:
            if values[i] is not None:
                values[i] = process(values[i])
        return tuple(values)

    def copy(self, driver: psycopg.Connection[Any], rows: Iterable[Mapping[str, Any]]) -> None:
        """COPY in binary, as the rows of an INSERT: many times as fast. Columns are those of the first row."""
        ahead = iter(rows)
        first = next(ahead, None)
        if first is None:
            return
        assert isinstance(self.statement, Insert)
        columns = [column for column in self.statement.table.columns if column.name in first]
        names = [column.name for column in columns]
        listed = ", ".join(self._dialect.identifier_preparer.quote(name) for name in names)
        into = f"COPY {self.statement.table.name} ({listed}) FROM STDIN (FORMAT BINARY)"
        encoders = [
            (i, partial(column.type.process_bind_param, dialect=self._dialect))
            for i, column in enumerate(columns)
            if isinstance(column.type, TypeDecorator)
        ]
        with driver.cursor() as cursor, cursor.copy(cast("Any", into)) as copy:
            copy.set_types([self._wire_type(column.type) for column in columns])
            for row in chain([first], ahead):
                values = [row[name] for name in names]
                for i, encode in encoders:
                    if values[i] is not None:
                        values[i] = encode(values[i])
                copy.write_row(values)

    @cached_property
    def _compiled(self) -> Compiled:
        return self.statement.compile(dialect=self._dialect)

    @cached_property
    def _constants(self) -> dict[str, Any]:
        """Values that are written into the statement itself."""
        return {name: value for name, value in (self._compiled.params or {}).items() if value is not None}

    @cached_property
    def _binders(self) -> list[tuple[str, _Processor]]:
        binds: Mapping[str, Any] = getattr(self._compiled, "binds", {})
        found = ((name, self._impl(bind.type).bind_processor(self._dialect)) for name, bind in binds.items())
        return [(name, process) for name, process in found if process is not None]

    def _reader(self, type_: TypeEngine[Any]) -> _Processor | None:
        if isinstance(type_, TypeDecorator):  # SQLAlchemy would put a call of its own around each value
            return lambda value: type_.process_result_value(value, self._dialect)
        if isinstance(type_, Float):  # the drivers give these as they are
            return None
        return self._impl(type_).result_processor(self._dialect, None)

    def _impl(self, type_: TypeEngine[Any]) -> TypeEngine[Any]:
        return type_.dialect_impl(self._dialect)

    def _wire_type(self, type_: TypeEngine[Any]) -> str:
        plain = type_.load_dialect_impl(self._dialect) if isinstance(type_, TypeDecorator) else type_
        if isinstance(plain, BigInteger):
            return "int8"
        if isinstance(plain, Float):
            return "float8"
        return "bytea" if isinstance(plain, LargeBinary) else "text"
