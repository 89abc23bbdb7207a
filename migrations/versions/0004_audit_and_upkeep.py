"""Who did what; which backups were made; what deletions left to wipe."""

from __future__ import annotations

from alembic import op

revision = "0004"
down_revision = "0003"

STATEMENTS = (
    """CREATE TABLE audit_log (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        tenant_id TEXT NOT NULL,
        user_id TEXT,
        at INTEGER NOT NULL,
        actor TEXT NOT NULL,
        action TEXT NOT NULL,
        outcome TEXT NOT NULL,
        subject TEXT,
        count INTEGER NOT NULL
    )""",
    "CREATE INDEX audit_log_by_user ON audit_log (tenant_id, user_id, number)",
    "CREATE INDEX audit_log_by_age ON audit_log (tenant_id, at)",
    """CREATE TABLE backups (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        made_at INTEGER NOT NULL,
        path TEXT NOT NULL,
        sha256 TEXT NOT NULL
    )""",
    """CREATE TABLE upkeep (
        task TEXT PRIMARY KEY,
        at INTEGER NOT NULL
    ) WITHOUT ROWID""",
    # FTS5 only marks deleted words; whatever drops or changes words asks for a wipe, each time with another number.
    """CREATE TRIGGER memories_deleted_words AFTER DELETE ON memories BEGIN
        INSERT INTO upkeep (task, at) VALUES ('wipe', unixepoch() * 1000000)
        ON CONFLICT DO UPDATE SET at = max(at + 1, excluded.at);
    END""",
    """CREATE TRIGGER memories_updated_words AFTER UPDATE OF term_count ON memories BEGIN
        INSERT INTO upkeep (task, at) VALUES ('wipe', unixepoch() * 1000000)
        ON CONFLICT DO UPDATE SET at = max(at + 1, excluded.at);
    END""",
)
UNDONE = (
    "DROP TRIGGER memories_updated_words",
    "DROP TRIGGER memories_deleted_words",
    "DROP TABLE upkeep",
    "DROP TABLE backups",
    "DROP TABLE audit_log",
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
