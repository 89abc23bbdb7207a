"""Brings a database to this program's schema; safe when several processes start at once."""

from __future__ import annotations

import time
from pathlib import Path

from sqlalchemy import Engine, inspect, text
from sqlalchemy.engine import Connection

from maas.errors import ConfigError
from maas.storage.encryption import database_errors
from maas.storage.engine import transaction
from maas.storage.tables import SCHEMA_REVISION

PATIENCE_SECONDS = 600  # for another process that is migrating a large database
_PACKAGE = Path(__file__).resolve().parents[1]
_INSTALLED = _PACKAGE / "migrations"
MIGRATIONS = _INSTALLED if _INSTALLED.is_dir() else _PACKAGE.parent / "migrations"


def upgrade(engine: Engine) -> str | None:
    """Migrate a SQLite database under the writer's lock, all or nothing.

    Args:
        engine: of the database.

    Returns:
        The revision that the database had; None for an empty one.

    Raises:
        ConfigError: the database is newer than this program, or the migrations are not beside the package.
    """
    with transaction(engine, "BEGIN") as opened:
        if schema_revision(opened.connection) == SCHEMA_REVISION:
            return SCHEMA_REVISION  # the usual start takes no lock, so nobody who writes is in its way
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return _upgrade_locked(engine)
        except database_errors() as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise


def _upgrade_locked(engine: Engine) -> str | None:
    with transaction(engine, "BEGIN IMMEDIATE") as opened, opened.connection.begin():
        current = schema_revision(opened.connection)
        if current == SCHEMA_REVISION:
            return current
        run_migrations(opened.connection, current)
        return current


def schema_revision(connection: Connection) -> str | None:
    """The revision a database was last migrated to; None for an empty one."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    row = connection.execute(text("SELECT version_num FROM alembic_version")).first()
    return None if row is None else str(row[0])


def run_migrations(connection: Connection, current: str | None) -> None:
    """From revision ``current`` to this program's, in the connection's transaction. Raises ConfigError."""
    from alembic import command
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    if not (MIGRATIONS / "env.py").is_file():
        raise ConfigError(f"no migrations at {MIGRATIONS}; the installation is not whole: install maas again")
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if current is not None and current not in known:
        raise ConfigError(
            f"the database has schema {current!r}, this program knows up to {SCHEMA_REVISION!r}; upgrade maas"
        )
    command.upgrade(config, SCHEMA_REVISION)
