"""Engines for one SQLite file: a pool of readers on snapshots, and one writer that locks at BEGIN."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar, cast

from sqlalchemy import Engine, PoolProxiedConnection, create_engine, event
from sqlalchemy.engine import Connection, make_url
from sqlalchemy.exc import DBAPIError

from maas.errors import ConfigError, MaasError, StorageError, UnavailableError
from maas.settings import Settings
from maas.storage.encryption import PAGE_SIZE, connect, database_errors, encryption_key

D = TypeVar("D")
Durability = Literal["normal", "full"]
READERS_BEYOND_THREADS = 64


def make_engines(settings: Settings) -> tuple[Engine, Engine]:
    """The reading and the writing engine of ``settings.database_url``; folder and file are made if they are missing.

    Raises:
        ConfigError: not SQLite, a folder that cannot be written, or a key that is none.
    """
    url = make_url(settings.database_url)
    if url.get_backend_name() != "sqlite":
        raise ConfigError(f"storage.url names {url.get_backend_name()!r}; a file of SQLite is sqlite:///path")
    if not url.database or url.database == ":memory:":
        raise ConfigError("storage.url names no file; readers and the writer share one, give sqlite:///path")
    folder = Path(url.database).parent
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with (folder / ".writable").open("wb"):
            pass
        (folder / ".writable").unlink(missing_ok=True)
        # Made here, so that it is private to its owner; its log takes over the mode.
        os.close(os.open(url.database, os.O_CREAT | os.O_WRONLY, 0o600))
    except OSError as error:
        raise ConfigError(f"the data folder {folder} cannot be written: {error.strerror}; set data_dir") from None
    key = encryption_key(settings)
    reader = _engine(str(url.database), key, settings, size=settings.server.threads, overflow=READERS_BEYOND_THREADS)
    writer = _engine(str(url.database), key, settings, size=1, overflow=0)
    return reader, writer


class Transaction(Generic[D]):
    """The driver's own transaction: its statements and SQLAlchemy's run inside it alike."""

    def __init__(self, engine: Engine, pooled: PoolProxiedConnection) -> None:
        self._engine = engine
        self._pooled = pooled
        self.driver = cast("D", pooled.dbapi_connection)

    @cached_property
    def connection(self) -> Connection:
        """Made when it is first asked for: storing and recalling do without."""
        return Connection(self._engine, self._pooled)


@contextmanager
def transaction(
    engine: Engine, begin: Literal["BEGIN", "BEGIN IMMEDIATE"]
) -> Iterator[Transaction[sqlite3.Connection]]:
    """One snapshot, committed when the block ends well. IMMEDIATE takes the writer's lock at once."""
    pooled = engine.raw_connection()
    try:
        opened: Transaction[sqlite3.Connection] = Transaction(engine, pooled)
        opened.driver.execute(begin)
        try:
            yield opened
            opened.driver.commit()
        finally:
            opened.driver.rollback()
    finally:
        pooled.close()


def _engine(path: str, key: str | None, settings: Settings, *, size: int, overflow: int) -> Engine:
    timeout = settings.storage.busy_timeout_ms
    engine = create_engine(
        f"sqlite:///{path}",
        creator=lambda: connect(path, key, timeout=timeout / 1000),
        pool_size=size,
        max_overflow=overflow,
        pool_timeout=max(1.0, timeout / 1000),
        pool_reset_on_return=None,  # transaction() has rolled back
        hide_parameters=True,  # an error goes into the log, and what people said does not
    )

    # The sqlite3 module would begin transactions late and commit before DDL; transaction() says BEGIN itself.
    @event.listens_for(engine, "connect")
    def _connect(connection: sqlite3.Connection, _record: Any) -> None:
        cursor = connection.cursor()
        for pragma in (
            f"busy_timeout={timeout}",
            f"page_size={PAGE_SIZE}",
            "journal_mode=WAL",
            f"synchronous={'FULL' if settings.storage.durability == 'full' else 'NORMAL'}",
            "foreign_keys=ON",
            "secure_delete=ON",
            "temp_store=MEMORY",
            "cache_size=-16000",
            "mmap_size=268435456",
        ):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()
        connection.create_function("casefold", 1, _casefold, deterministic=True)
        connection.create_function("json_at", 2, _json_at, deterministic=True)

    return engine


@contextmanager
def storage_errors() -> Iterator[None]:
    """Tell the database's refusals apart: worth a retry, or a fault."""
    try:
        yield
    except MaasError:
        raise
    except database_errors(DBAPIError) as error:
        reason = error.orig if isinstance(error, DBAPIError) else error
        if type(reason).__name__ == "OperationalError" and ("locked" in str(reason) or "busy" in str(reason)):
            raise UnavailableError(
                "another process kept the database locked for longer than storage.busy_timeout_ms; try again",
                retry_after=1,
            ) from error
        if "not a database" in str(reason):
            raise StorageError(
                f"the database is damaged, or it is encrypted and storage.encryption_key is unset: {reason};"
                " run `maas doctor`"
            ) from error
        if "malformed" in str(reason):
            raise StorageError(f"the database is damaged: {reason}; run `maas doctor`") from error
        raise StorageError(f"the database refused: {reason}; nothing was written") from error


def _casefold(value: Any) -> Any:
    """SQLite's own lower() knows ASCII only."""
    return value.casefold() if isinstance(value, str) else value


def _json_at(document: str, keys: str) -> str:
    """``{"v": value}`` at a list of keys, or ``{}``: for keys that SQLite's path syntax cannot spell."""
    value = json.loads(document)
    for key in json.loads(keys):
        if not isinstance(value, dict) or key not in value:
            return "{}"
        value = value[key]
    return json.dumps({"v": value}, ensure_ascii=False)
