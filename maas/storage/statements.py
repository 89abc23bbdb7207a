"""The queries of every recall and every store, built once: building one costs more than running it."""

from __future__ import annotations

from sqlalchemy import BindParameter, bindparam, func, select, text, update

from maas.storage.rows import MEMORY_COLUMNS
from maas.storage.tables import memories, spaces, user_spaces, users

_TENANT: BindParameter[str] = bindparam("tenant")
_USER: BindParameter[str] = bindparam("user")
_OWNED = (memories.c.tenant_id == _TENANT, memories.c.user_id == _USER)

USER = select(users).where(users.c.tenant_id == _TENANT, users.c.user_id == _USER)

SPACE = select(spaces).where(spaces.c.fingerprint == bindparam("fingerprint"))

VECTOR_COUNT = select(user_spaces.c.vectors).where(
    user_spaces.c.tenant_id == _TENANT, user_spaces.c.user_id == _USER, user_spaces.c.space == bindparam("space")
)

BY_ID = select(*MEMORY_COLUMNS).where(*_OWNED, memories.c.id == bindparam("id"))

BY_SEQ = select(*MEMORY_COLUMNS, memories.c.seq).where(*_OWNED, memories.c.seq.in_(bindparam("seqs", expanding=True)))

LIVE_BY_HASH = select(*MEMORY_COLUMNS, memories.c.text_hash).where(
    *_OWNED,
    memories.c.text_hash.in_(bindparam("hashes", expanding=True)),
    memories.c.expires_at.is_(None) | (memories.c.expires_at > bindparam("now", type_=memories.c.expires_at.type)),
    memories.c.superseded_by.is_(None),
)

# Left to itself SQLite reads all of a user's rows to find the few: it does not know how few they are.
EXPIRED = (
    select(func.group_concat(memories.c.seq))
    .with_hint(memories, "INDEXED BY memories_expiring", "sqlite")
    .where(*_OWNED, memories.c.expires_at <= bindparam("now", type_=memories.c.expires_at.type))
)
SUPERSEDED = (
    select(func.group_concat(memories.c.seq))
    .with_hint(memories, "INDEXED BY memories_superseded", "sqlite")
    .where(*_OWNED, memories.c.superseded_by.is_not(None))
)

# One round trip for all terms; a list of numbers as text is the cheapest way through the driver.
POSTINGS = text(
    "SELECT (SELECT group_concat(doc) FROM memory_vocabulary WHERE term = wanted.value)"
    " FROM json_each(:terms) AS wanted"
)

TOUCH_USER = (
    update(users)
    .where(users.c.tenant_id == _TENANT, users.c.user_id == _USER)
    .values(
        revision=users.c.revision + 1,
        reset_revision=func.iif(bindparam("reset"), users.c.revision + 1, users.c.reset_revision),
    )
    .returning(users)
)
