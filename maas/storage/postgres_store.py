"""MemoryStore on PostgreSQL with pgvector: rows, words and vectors in one database, for any number of processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import psycopg
from sqlalchemy import event, text
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError

from maas.errors import ConfigError, MaasError
from maas.settings import Settings
from maas.storage.migrate import run_migrations, schema_revision
from maas.storage.postgres_engine import READ, WRITE, make_postgres_engine, postgres_transaction
from maas.storage.postgres_errors import postgres_errors
from maas.storage.postgres_index import drop_indexes, tune
from maas.storage.postgres_reader import PostgresReader
from maas.storage.postgres_writer import PostgresWriter
from maas.storage.reader import Caches
from maas.storage.store import Store
from maas.storage.tables import SCHEMA_REVISION

MINIMUM_SERVER = 15
# The first whose index scans go on until enough rows pass the filter.
MINIMUM_PGVECTOR = (0, 8)
_EXTENSION = "vector"
_MIGRATING = 6_173_001  # the advisory lock of whoever migrates


class PostgresStore(Store[PostgresReader, PostgresWriter]):
    """Opens, and migrates, the database of ``settings``.

    Raises:
        ConfigError: the server or its pgvector is missing or too old, or the database is newer than this program.
        UnavailableError: the server cannot be reached, or refuses to let maas in.
    """

    def __init__(self, settings: Settings) -> None:
        super().__init__(Caches.of(settings.storage.cache_bytes))
        self._engine = make_postgres_engine(settings)
        self._exact_up_to = settings.storage.exact_up_to
        # Once a server is lost, another may answer that has not heard of the last revisions, and numbers them anew.
        event.listen(self._engine, "engine_disposed", lambda _engine: self.caches.clear())
        try:
            self.found_revision = self._prepare()
        except MaasError:
            self.close()
            raise

    def _prepare(self) -> str | None:
        """Bring the database to this program's schema; returns the revision that it had."""
        with postgres_errors():
            with postgres_transaction(self._engine, READ) as opened:
                _refuse_old_server(opened.connection)
                before = schema_revision(opened.connection)
                if before is not None:
                    _refuse_old_pgvector(opened.connection)
            if before != SCHEMA_REVISION:
                self._migrate()
        return before

    def _migrate(self) -> None:
        with postgres_transaction(self._engine, WRITE) as opened, opened.connection.begin():
            opened.driver.execute("SET LOCAL lock_timeout = '10min'")
            opened.driver.execute("SELECT pg_advisory_xact_lock(%s)", (_MIGRATING,))
            _add_pgvector(opened.connection)
            _refuse_old_pgvector(opened.connection)
            current = schema_revision(opened.connection)
            if current != SCHEMA_REVISION:
                run_migrations(opened.connection, current)

    @contextmanager
    def _reading(self) -> Iterator[PostgresReader]:
        with postgres_errors(), postgres_transaction(self._engine, READ) as opened:
            yield PostgresReader(opened, self.caches, self._exact_up_to)

    @contextmanager
    def _writing(self) -> Iterator[PostgresWriter]:
        with postgres_errors(), postgres_transaction(self._engine, WRITE) as opened:
            yield PostgresWriter(opened, self.caches, self._exact_up_to)

    def _forget(self, number: int) -> None:
        super()._forget(number)
        with suppress(MaasError), postgres_errors():  # the rows are gone: what is left, the next `maas tune` drops
            drop_indexes(self._engine, number)

    def _dispose(self) -> None:
        self._engine.dispose()

    def tune(self, report: Callable[[str], None] = lambda _index: None) -> tuple[list[str], list[str]]:
        """See :func:`maas.storage.postgres_index.tune`."""
        self._refuse_closed()
        with postgres_errors():
            return tune(self._engine, self._exact_up_to, report)

    def wipe(self) -> bool:
        """The server's vacuum frees what was deleted, in its own time; see docs/postgres.md."""
        return False


def _refuse_old_server(connection: Connection) -> None:
    number = int(connection.execute(text("SHOW server_version_num")).scalar_one())
    if number < MINIMUM_SERVER * 10_000:
        raise ConfigError(f"the server is PostgreSQL {number // 10_000}; maas needs {MINIMUM_SERVER} or newer")


def _refuse_old_pgvector(connection: Connection) -> None:
    found = connection.execute(text("SELECT extversion FROM pg_extension WHERE extname = 'vector'")).scalar()
    if found is None:
        raise ConfigError("the database has lost its extension pgvector; run CREATE EXTENSION vector in it")
    if tuple(map(int, found.split(".")[:2])) < MINIMUM_PGVECTOR:
        needed = ".".join(map(str, MINIMUM_PGVECTOR))
        raise ConfigError(
            f"the database has pgvector {found}; maas needs {needed} or newer: ALTER EXTENSION vector UPDATE"
        )


def _add_pgvector(connection: Connection) -> None:
    try:
        connection.execute(text(f"CREATE EXTENSION IF NOT EXISTS {_EXTENSION}"))
    except DBAPIError as error:
        reason = error.orig
        if isinstance(reason, psycopg.errors.InsufficientPrivilege):
            raise ConfigError(
                "this user may not add pgvector; a superuser must run CREATE EXTENSION vector in the database"
            ) from error
        if isinstance(reason, (psycopg.errors.FeatureNotSupported, psycopg.errors.UndefinedFile)):
            raise ConfigError(
                "the server has no pgvector; install it there (Debian: postgresql-<version>-pgvector), then start again"
            ) from error
        raise
