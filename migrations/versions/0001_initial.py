"""Memories, their vectors, terms and versions; users, keys and idempotency."""

from __future__ import annotations

from alembic import op

revision = "0001"
down_revision = None

STATEMENTS = (
    """CREATE TABLE users (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        tenant_id TEXT NOT NULL,
        user_id TEXT NOT NULL,
        tag TEXT NOT NULL,
        revision INTEGER NOT NULL DEFAULT 0,
        reset_revision INTEGER NOT NULL DEFAULT 0,
        memories INTEGER NOT NULL DEFAULT 0,
        terms INTEGER NOT NULL DEFAULT 0,
        UNIQUE (tenant_id, user_id)
    )""",
    """CREATE TABLE user_tags (
        tenant_id TEXT NOT NULL,
        tag TEXT NOT NULL,
        user_id TEXT NOT NULL,
        PRIMARY KEY (tenant_id, tag, user_id)
    ) WITHOUT ROWID""",
    "CREATE INDEX user_tags_by_user ON user_tags (tenant_id, user_id)",
    """CREATE TABLE memories (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        tenant_id TEXT NOT NULL,
        user_id TEXT NOT NULL,
        id TEXT NOT NULL,
        text TEXT NOT NULL,
        text_hash BLOB NOT NULL,
        role TEXT,
        name TEXT,
        agent_id TEXT,
        session_id TEXT,
        metadata TEXT NOT NULL,
        importance REAL,
        key TEXT,
        created_at INTEGER NOT NULL,
        updated_at INTEGER NOT NULL,
        stored_at INTEGER NOT NULL,
        expires_at INTEGER,
        superseded_by TEXT,
        superseded_at INTEGER,
        version INTEGER NOT NULL,
        revision INTEGER NOT NULL,
        term_count INTEGER NOT NULL
    )""",
    "CREATE UNIQUE INDEX memories_id ON memories (tenant_id, user_id, id)",
    "CREATE UNIQUE INDEX memories_key ON memories (tenant_id, user_id, key) WHERE key IS NOT NULL",
    "CREATE INDEX memories_hash ON memories (tenant_id, user_id, text_hash)",
    "CREATE INDEX memories_created ON memories (tenant_id, user_id, created_at, seq)",
    "CREATE INDEX memories_revision ON memories (tenant_id, user_id, revision, seq, term_count)",
    "CREATE INDEX memories_session ON memories (tenant_id, user_id, session_id) WHERE session_id IS NOT NULL",
    "CREATE INDEX memories_expiring ON memories (tenant_id, user_id, expires_at) WHERE expires_at IS NOT NULL",
    "CREATE INDEX memories_superseded ON memories (tenant_id, user_id, superseded_by) WHERE superseded_by IS NOT NULL",
    """CREATE TABLE spaces (
        space INTEGER PRIMARY KEY AUTOINCREMENT,
        fingerprint TEXT NOT NULL UNIQUE,
        dim INTEGER NOT NULL
    )""",
    """CREATE TABLE vectors (
        tenant_id TEXT NOT NULL,
        user_id TEXT NOT NULL,
        space INTEGER NOT NULL REFERENCES spaces (space),
        seq INTEGER NOT NULL,
        vector BLOB NOT NULL,
        PRIMARY KEY (tenant_id, user_id, space, seq)
    ) WITHOUT ROWID""",
    """CREATE TABLE user_spaces (
        tenant_id TEXT NOT NULL,
        user_id TEXT NOT NULL,
        space INTEGER NOT NULL,
        vectors INTEGER NOT NULL,
        PRIMARY KEY (tenant_id, user_id, space)
    ) WITHOUT ROWID""",
    # Every character outside ASCII is a token character of this tokenizer: terms are split and folded before.
    """CREATE VIRTUAL TABLE memory_terms USING fts5 (terms, tokenize = "ascii tokenchars '_'", columnsize = 0)""",
    "CREATE VIRTUAL TABLE memory_vocabulary USING fts5vocab (memory_terms, instance)",
    """CREATE TABLE memory_versions (
        tenant_id TEXT NOT NULL,
        user_id TEXT NOT NULL,
        memory_id TEXT NOT NULL,
        version INTEGER NOT NULL,
        event TEXT NOT NULL,
        text TEXT NOT NULL,
        metadata TEXT NOT NULL,
        importance REAL,
        expires_at INTEGER,
        at INTEGER NOT NULL,
        actor TEXT NOT NULL,
        PRIMARY KEY (tenant_id, user_id, memory_id, version)
    ) WITHOUT ROWID""",
    """CREATE TABLE idempotency_keys (
        tenant_id TEXT NOT NULL,
        key TEXT NOT NULL,
        request_hash BLOB NOT NULL,
        response TEXT NOT NULL,
        created_at INTEGER NOT NULL,
        PRIMARY KEY (tenant_id, key)
    ) WITHOUT ROWID""",
    "CREATE INDEX idempotency_age ON idempotency_keys (tenant_id, created_at)",
    """CREATE TABLE idempotency_users (
        tenant_id TEXT NOT NULL,
        user_id TEXT NOT NULL,
        key TEXT NOT NULL,
        PRIMARY KEY (tenant_id, user_id, key),
        FOREIGN KEY (tenant_id, key) REFERENCES idempotency_keys (tenant_id, key) ON DELETE CASCADE
    ) WITHOUT ROWID""",
    "CREATE INDEX idempotency_users_by_key ON idempotency_users (tenant_id, key)",
    """CREATE TABLE api_keys (
        id TEXT PRIMARY KEY,
        tenant_id TEXT NOT NULL,
        name TEXT NOT NULL,
        secret_sha256 BLOB NOT NULL,
        scopes TEXT NOT NULL,
        user_id TEXT,
        created_at INTEGER NOT NULL,
        expires_at INTEGER,
        revoked_at INTEGER
    ) WITHOUT ROWID""",
    "CREATE INDEX api_keys_tenant ON api_keys (tenant_id, created_at)",
    """CREATE TABLE reindex_runs (
        run INTEGER PRIMARY KEY AUTOINCREMENT,
        fingerprint TEXT NOT NULL,
        state TEXT NOT NULL,
        started_at INTEGER NOT NULL,
        beat_at INTEGER NOT NULL,
        finished_at INTEGER,
        error TEXT
    )""",
    # Counts kept by triggers cannot drift from the rows they count.
    """CREATE TRIGGER memories_inserted AFTER INSERT ON memories BEGIN
        UPDATE users SET memories = memories + 1, terms = terms + new.term_count
        WHERE tenant_id = new.tenant_id AND user_id = new.user_id;
    END""",
    """CREATE TRIGGER memories_deleted AFTER DELETE ON memories BEGIN
        UPDATE users SET memories = memories - 1, terms = terms - old.term_count
        WHERE tenant_id = old.tenant_id AND user_id = old.user_id;
    END""",
    """CREATE TRIGGER memories_updated AFTER UPDATE OF term_count ON memories BEGIN
        UPDATE users SET terms = terms - old.term_count + new.term_count
        WHERE tenant_id = new.tenant_id AND user_id = new.user_id;
    END""",
    """CREATE TRIGGER vectors_inserted AFTER INSERT ON vectors BEGIN
        INSERT INTO user_spaces (tenant_id, user_id, space, vectors)
        VALUES (new.tenant_id, new.user_id, new.space, 1)
        ON CONFLICT DO UPDATE SET vectors = vectors + 1;
    END""",
    """CREATE TRIGGER vectors_deleted AFTER DELETE ON vectors BEGIN
        UPDATE user_spaces SET vectors = vectors - 1
        WHERE tenant_id = old.tenant_id AND user_id = old.user_id AND space = old.space;
        DELETE FROM user_spaces
        WHERE tenant_id = old.tenant_id AND user_id = old.user_id AND space = old.space AND vectors <= 0;
    END""",
)


def upgrade() -> None:
    if op.get_bind().dialect.name != "sqlite":
        return  # PostgreSQL begins at 0006
    for statement in STATEMENTS:
        op.get_bind().exec_driver_sql(statement)
