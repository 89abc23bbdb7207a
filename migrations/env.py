"""Alembic's entry. The program hands over an open connection, so that the caller's transaction covers the migration."""

from __future__ import annotations

from alembic import context

from maas.storage.tables import metadata

connection = context.config.attributes.get("connection")
if connection is None:
    raise SystemExit("run migrations with `maas migrate`: it opens the configured database and locks it")

context.configure(connection=connection, target_metadata=metadata, render_as_batch=True)
with context.begin_transaction():
    context.run_migrations()
