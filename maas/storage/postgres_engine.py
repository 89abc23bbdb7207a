"""Connections to PostgreSQL, and transactions on them that survive a server's restart between two of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal, cast

import psycopg
from psycopg.adapt import Dumper
from sqlalchemy import Engine, PoolProxiedConnection, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError

from maas.errors import ConfigError
from maas.settings import Settings
from maas.storage.engine import Transaction
from maas.storage.postgres_errors import lost
from maas.storage.tables import Lexemes, Reals

_CONNECT_ARGS = {
    "connect_timeout": "5",
    "application_name": "maas",
    # A peer that is gone is noticed within 15 seconds, not hours.
    "keepalives_idle": "5",
    "keepalives_interval": "5",
    "keepalives_count": "2",
    "tcp_user_timeout": "15000",
}


class _Dumper(Dumper):
    """Sends what is in binary already as what it is, not as mere bytes."""

    format = psycopg.pq.Format.BINARY

    def dump(self, obj: bytes) -> bytes:
        return bytes(obj)


class _LexemesDumper(_Dumper):
    oid = 3614  # of tsvector, on every server


class _RealsDumper(_Dumper):
    oid = 1021  # of real[]


Begin = Literal["BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", "BEGIN ISOLATION LEVEL READ COMMITTED"]
READ: Begin = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
# Every statement sees what was committed before it began: that is what a writer's locks are waited for.
WRITE: Begin = "BEGIN ISOLATION LEVEL READ COMMITTED"


def make_postgres_engine(settings: Settings) -> Engine:
    """The engine of ``storage.url``; nothing is connected yet.

    Raises:
        ConfigError: another driver is named.
    """
    url = make_url(settings.database_url)
    if url.drivername not in ("postgresql", "postgresql+psycopg"):
        raise ConfigError(f"storage.url names {url.drivername!r}; this version speaks postgresql+psycopg://")
    patience = settings.storage.busy_timeout_ms
    engine = create_engine(
        url.set(drivername="postgresql+psycopg"),
        connect_args={name: value for name, value in _CONNECT_ARGS.items() if name not in url.query},
        isolation_level="AUTOCOMMIT",  # transaction() says BEGIN itself
        pool_size=max(2, settings.storage.connections),  # a copy holds a lock on one of its own
        max_overflow=0,
        pool_timeout=patience / 1000,
        pool_reset_on_return=None,  # transaction() has rolled back
    )

    @event.listens_for(engine, "connect")
    def _connect(connection: psycopg.Connection[Any], _record: Any) -> None:
        connection.execute(f"SET lock_timeout = {patience:d}")
        connection.execute("SET jit = off")
        # Every recall reads all words that are not in their index yet: at the server's own 4 MB, for 13 ms.
        connection.execute("SET gin_pending_list_limit = 128")
        register_types(connection)

    return engine


def register_types(connection: psycopg.Connection[Any]) -> None:
    """Let the connection take what the statements send in binary."""
    connection.adapters.register_dumper(Lexemes, _LexemesDumper)
    connection.adapters.register_dumper(Reals, _RealsDumper)


@contextmanager
def postgres_transaction(engine: Engine, begin: Begin) -> Iterator[Transaction[psycopg.Connection[Any]]]:
    """Committed when the block ends well. READ is one snapshot."""
    pooled = _begun(engine, begin)
    driver = _driver(pooled)
    try:
        yield Transaction(engine, pooled)
        driver.commit()
    except BaseException as error:
        if lost(error):
            _drop(pooled)
            engine.dispose()  # the pool's other connections lead to the same server
        raise
    finally:
        if pooled.is_valid:
            if not driver.closed:
                _rolled_back(driver)
            if driver.closed:
                _drop(pooled)
        pooled.close()


def _begun(engine: Engine, begin: Begin) -> PoolProxiedConnection:
    """A connection on which a transaction has begun. One that broke while it lay in the pool is replaced, once."""
    try:
        return _begun_once(engine, begin)
    except (psycopg.Error, DBAPIError) as error:
        if not lost(error):
            raise
    engine.dispose()
    return _begun_once(engine, begin)


def _begun_once(engine: Engine, begin: Begin) -> PoolProxiedConnection:
    pooled = engine.raw_connection()
    try:
        _driver(pooled).execute(begin)
    except BaseException:
        _drop(pooled)
        pooled.close()
        raise
    return pooled


def _driver(pooled: PoolProxiedConnection) -> psycopg.Connection[Any]:
    return cast("psycopg.Connection[Any]", pooled.dbapi_connection)


def _rolled_back(driver: psycopg.Connection[Any]) -> None:
    try:
        driver.rollback()
    except psycopg.Error:
        driver.close()


def _drop(pooled: PoolProxiedConnection) -> None:
    if pooled.is_valid:
        pooled.invalidate()
