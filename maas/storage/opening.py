"""From a URL to the store it names."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from maas.errors import ConfigError
from maas.settings import Settings
from maas.storage.protocol import MemoryStore

if TYPE_CHECKING:
    from maas.storage.copying import CopyReport, OnProgress


def store_url(settings: Settings) -> URL:
    """Raises ConfigError for what is no URL."""
    try:
        return make_url(settings.database_url)
    except ArgumentError:
        raise ConfigError(
            "storage.url is no URL; expected sqlite:///path or postgresql+psycopg://user@host/name"
        ) from None


def shown_url(settings: Settings) -> str:
    """Without the password."""
    return store_url(settings).render_as_string(hide_password=True)


def on_postgres(settings: Settings) -> bool:
    return store_url(settings).get_backend_name() == "postgresql"


def open_store(settings: Settings) -> MemoryStore:
    """The store of ``storage.url``, migrated to this program's schema.

    Raises:
        ConfigError: no such kind of store, or one that cannot be used.
        UnavailableError: its server cannot be reached.
    """
    if on_postgres(settings):
        _need_driver()
        from maas.storage.postgres_store import PostgresStore

        return PostgresStore(settings)
    from maas.storage.sqlite_store import SqliteStore

    return SqliteStore(settings)


def tune_store(settings: Settings, report: Callable[[str], None]) -> tuple[list[str], list[str]]:
    """Make and drop indexes of PostgreSQL; see maas/storage/postgres_index.py. SQLite needs none."""
    if not on_postgres(settings):
        return [], []
    _need_driver()
    from maas.storage.postgres_store import PostgresStore

    store = PostgresStore(settings)
    try:
        return store.tune(report)
    finally:
        store.close()


def with_url(settings: Settings, url: str | None) -> Settings:
    """The same settings with another database; None leaves it."""
    if url is None:
        return settings
    return settings.model_copy(update={"storage": settings.storage.model_copy(update={"url": url})})


def copy_to_postgres(
    settings: Settings, source: str | None, target: str, *, final: bool, report: OnProgress
) -> CopyReport:
    """Copy the memories of ``source``, unset the configured database, to ``target``; see maas/storage/copying.py."""
    _need_driver()
    from maas.storage.copying import copy_store

    return copy_store(with_url(settings, source), with_url(settings, target), final=final, report=report)


def _need_driver() -> None:
    try:
        import psycopg  # noqa: F401
    except ImportError as error:
        raise ConfigError(f"PostgreSQL's driver cannot be loaded ({error}): pip install 'maas[postgres]'") from None
