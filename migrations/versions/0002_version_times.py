"""Since when each version of a memory is what was known, and an index of those that have an importance."""

from __future__ import annotations

from alembic import op

revision = "0002"
down_revision = "0001"

STATEMENTS = (
    "ALTER TABLE memory_versions ADD COLUMN valid_from INTEGER NOT NULL DEFAULT 0",
    "CREATE INDEX memories_important ON memories (tenant_id, user_id) WHERE importance IS NOT NULL",
    # The first version counts from when it was said, a later one from when it was written.
    """UPDATE memory_versions SET valid_from = CASE WHEN version > 1 THEN at ELSE min(at, coalesce((
        SELECT created_at FROM memories
        WHERE memories.tenant_id = memory_versions.tenant_id AND memories.user_id = memory_versions.user_id
            AND memories.id = memory_versions.memory_id), at)) END""",
)


def upgrade() -> None:
    if op.get_bind().dialect.name != "sqlite":
        return  # PostgreSQL begins at 0006
    for statement in STATEMENTS:
        op.get_bind().exec_driver_sql(statement)


def downgrade() -> None:
    if op.get_bind().dialect.name != "sqlite":
        return
    op.get_bind().exec_driver_sql("DROP INDEX memories_important")
    op.get_bind().exec_driver_sql("ALTER TABLE memory_versions DROP COLUMN valid_from")
