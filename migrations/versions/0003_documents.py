"""Documents: their passages are memories, and what is still to be read waits beside them."""

from __future__ import annotations

from alembic import op

revision = "0003"
down_revision = "0002"

STATEMENTS = (
    "ALTER TABLE memories ADD COLUMN document_id TEXT",
    'ALTER TABLE memories ADD COLUMN "start" INTEGER',
    'ALTER TABLE memories ADD COLUMN "end" INTEGER',
    'CREATE INDEX memories_document ON memories (tenant_id, user_id, document_id, "start") WHERE document_id IS NOT NULL',
    """CREATE TABLE documents (
        tenant_id TEXT NOT NULL,
        user_id TEXT NOT NULL,
        id TEXT NOT NULL,
        title TEXT,
        metadata TEXT NOT NULL,
        agent_id TEXT,
        importance REAL,
        created_at INTEGER NOT NULL,
        stored_at INTEGER NOT NULL,
        expires_at INTEGER,
        text_hash BLOB NOT NULL,
        characters INTEGER NOT NULL,
        passages INTEGER NOT NULL,
        read_passages INTEGER NOT NULL,
        state TEXT NOT NULL,
        error TEXT,
        beat_at INTEGER NOT NULL,
        runner TEXT,
        fingerprint TEXT,
        vector BLOB,
        encoder_state BLOB,
        PRIMARY KEY (tenant_id, user_id, id)
    )""",
    "CREATE UNIQUE INDEX documents_hash ON documents (tenant_id, user_id, text_hash)",
    """CREATE TABLE document_sources (
        tenant_id TEXT NOT NULL,
        user_id TEXT NOT NULL,
        document_id TEXT NOT NULL,
        text TEXT NOT NULL,
        PRIMARY KEY (tenant_id, user_id, document_id)
    )""",
)
UNDONE = (
    "DROP TABLE document_sources",
    "DROP TABLE documents",
    "DROP INDEX memories_document",
    # Passages go on as memories of a session, which their document was.
    'ALTER TABLE memories DROP COLUMN "end"',
    'ALTER TABLE memories DROP COLUMN "start"',
    "ALTER TABLE memories DROP COLUMN document_id",
)


def upgrade() -> None:
    if op.get_bind().dialect.name != "sqlite":
        return  # PostgreSQL begins at 0006
    for statement in STATEMENTS:
        op.get_bind().exec_driver_sql(statement)


def downgrade() -> None:
    if op.get_bind().dialect.name != "sqlite":
        return
    for statement in UNDONE:
        op.get_bind().exec_driver_sql(statement)
