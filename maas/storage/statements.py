"""The statements of every recall and every store."""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BigInteger,
    BindParameter,
    Boolean,
    ColumnElement,
    Select,
    Text,
    bindparam,
    case,
    cast,
    delete,
    exists,
    func,
    insert,
    select,
    text,
    type_coerce,
    update,
)
from sqlalchemy.dialects.postgresql import insert as postgres_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert

from maas.recall import windows
from maas.records import Scope
from maas.storage.by_dialect import ListOf, among, joined
from maas.storage.prepared import Prepared
from maas.storage.rows import API_KEY_COLUMNS, MEMORY_COLUMNS
from maas.storage.tables import (
    api_keys,
    audit_log,
    memories,
    memory_versions,
    postgres_memories,
    postgres_vectors,
    spaces,
    user_spaces,
    user_tags,
    users,
    vectors,
)

_TENANT: BindParameter[str] = bindparam("tenant")
_USER: BindParameter[str] = bindparam("user")
_NOW = bindparam("now", type_=memories.c.expires_at.type)
OWNED = (memories.c.tenant_id == _TENANT, memories.c.user_id == _USER)
_OWN_VECTORS = (
    vectors.c.tenant_id == _TENANT,
    vectors.c.user_id == _USER,
    vectors.c.space == bindparam("space"),
)


def owner(scope: Scope) -> dict[str, str]:
    """The parameters that no statement about a user's memories is without."""
    return {"tenant": scope.tenant, "user": scope.user_id}


def _hinted(columns: Any, hint: str) -> Select[Any]:
    """SQLite does not know how few rows a user has or an index holds; left to itself it may read all of a user's."""
    return select(*columns).with_hint(memories, hint, "sqlite").where(*OWNED)


USER = Prepared(select(users).where(users.c.tenant_id == _TENANT, users.c.user_id == _USER))

USERS = Prepared(select(users).where(users.c.tenant_id == _TENANT, among(users.c.user_id, "users")))

TOUCH_USER = Prepared(
    update(users)
    .where(users.c.tenant_id == _TENANT, users.c.user_id == _USER)
    .values(
        revision=users.c.revision + 1,
        reset_revision=case((bindparam("reset", type_=Boolean), users.c.revision + 1), else_=users.c.reset_revision),
    )
    .returning(users)
)

ADD_USER = Prepared(insert(users).values({c: bindparam(c.name) for c in users.c if not c.primary_key}).returning(users))

ADD_TAG = Prepared(
    sqlite_insert(user_tags).on_conflict_do_nothing(), postgresql=postgres_insert(user_tags).on_conflict_do_nothing()
)

SPACE = Prepared(select(spaces.c.space, spaces.c.dim).where(spaces.c.fingerprint == bindparam("fingerprint")))

_NEW_SPACE: dict[Any, Any] = {c: bindparam(c.name) for c in (spaces.c.fingerprint, spaces.c.dim)}
ADD_SPACE = Prepared(
    sqlite_insert(spaces).values(_NEW_SPACE).on_conflict_do_nothing().returning(spaces.c.space),
    postgresql=postgres_insert(spaces).values(_NEW_SPACE).on_conflict_do_nothing().returning(spaces.c.space),
)

API_KEY = Prepared(select(api_keys.c.secret_sha256, *API_KEY_COLUMNS).where(api_keys.c.id == bindparam("id")))

BY_ID = Prepared(_hinted(MEMORY_COLUMNS, "INDEXED BY memories_id").where(memories.c.id == bindparam("id")))

BY_KEY = Prepared(_hinted(MEMORY_COLUMNS, "INDEXED BY memories_key").where(among(memories.c.key, "keys")))

# The row number is the table's own key, and the only one to look rows up by.
BY_SEQ = Prepared(_hinted((*MEMORY_COLUMNS, memories.c.seq), "NOT INDEXED").where(among(memories.c.seq, "seqs")))

IDS_BY_SEQ = Prepared(_hinted((memories.c.seq, memories.c.id), "NOT INDEXED").where(among(memories.c.seq, "seqs")))

TEXTS_BY_SEQ = Prepared(_hinted((memories.c.seq, memories.c.text), "NOT INDEXED").where(among(memories.c.seq, "seqs")))

_IMPORTANCE = func.coalesce(cast(memories.c.importance, Text), "nan")
_TRAITS = tuple(joined(column) for column in (memories.c.seq, memories.c.created_at, _IMPORTANCE))
TRAITS = Prepared(_hinted(_TRAITS, "NOT INDEXED").where(among(memories.c.seq, "seqs")))

_NEWEST = func.max(memories.c.created_at, type_=memories.c.created_at.type)
LATEST = Prepared(_hinted((_NEWEST,), "INDEXED BY memories_created").where(memories.c.created_at <= _NOW))

LIVE = (memories.c.expires_at.is_(None) | (memories.c.expires_at > _NOW), memories.c.superseded_by.is_(None))

LIVE_BY_HASH = Prepared(
    _hinted(MEMORY_COLUMNS, "INDEXED BY memories_hash")
    .where(memories.c.text_hash == bindparam("hash"), *LIVE)
    .order_by(memories.c.seq)
    .limit(1)
)

EXISTING_IDS = Prepared(_hinted((memories.c.id,), "INDEXED BY memories_id").where(among(memories.c.id, "ids")))

# A list of numbers as text is the cheapest way through the driver.
_SEQS = (joined(memories.c.seq),)


def _microseconds(at: Any) -> ColumnElement[Any]:
    """A time as the number that is stored."""
    return type_coerce(at, BigInteger)


def _pairs(first: Any, second: Any) -> ColumnElement[Any]:
    return joined(cast(first, Text) + "," + cast(type_coerce(second, BigInteger), Text))


# What is known of a user, all in one round trip; read by Facts.of.
FACTS = Prepared(
    select(
        _hinted(_SEQS, "INDEXED BY memories_superseded").where(memories.c.superseded_by.is_not(None)).scalar_subquery(),
        _hinted((_pairs(memories.c.seq, memories.c.expires_at),), "INDEXED BY memories_expiring")
        .where(memories.c.expires_at.is_not(None))
        .scalar_subquery(),
        _hinted((memories.c.seq,), "INDEXED BY memories_important")
        .where(memories.c.importance.is_not(None))
        .limit(1)
        .scalar_subquery(),
        _hinted((_NEWEST,), "INDEXED BY memories_created").scalar_subquery(),
        select(_pairs(user_spaces.c.space, user_spaces.c.vectors))
        .where(user_spaces.c.tenant_id == _TENANT, user_spaces.c.user_id == _USER)
        .scalar_subquery(),
    )
)

ALL_SEQS = Prepared(select(*_SEQS).where(*OWNED))

_CHANGED = memories.c.revision > bindparam("since")

CHANGED_TURNS = Prepared(
    _hinted(
        (joined(memories.c.seq), joined(memories.c.term_count), joined(_microseconds(memories.c.created_at))),
        "INDEXED BY memories_revision",
    ).where(_CHANGED)
)

# Of those that are in a session or say who spoke: a list for each session, name and role costs less than each row.
_TOLD_BY = (memories.c.session_id, memories.c.name, memories.c.role)
CHANGED_TURN_GROUPS = Prepared(
    _hinted((*_TOLD_BY, *_SEQS), "INDEXED BY memories_revision")
    .where(_CHANGED, func.coalesce(*_TOLD_BY).is_not(None))
    .group_by(*_TOLD_BY)
)

SESSIONS = Prepared(
    _hinted((memories.c.session_id,), "INDEXED BY memories_session")
    .where(memories.c.session_id.is_not(None), memories.c.document_id.is_(None))
    .distinct()
)

_OF_SESSION = (memories.c.session_id == bindparam("session"), memories.c.document_id.is_(None))
_BY_TIME = (memories.c.created_at, memories.c.seq)
_TURN = (
    memories.c.seq,
    memories.c.id,
    memories.c.version,
    memories.c.term_count,
    exists().where(*_OWN_VECTORS, vectors.c.seq == memories.c.seq),
)


def _at(name: str) -> BindParameter[Any]:
    return bindparam(name, type_=memories.c.created_at.type)


SESSION_TURNS = Prepared(_hinted(_TURN, "INDEXED BY memories_session").where(*_OF_SESSION).order_by(*_BY_TIME))

SESSION_TURNS_BETWEEN = Prepared(
    _hinted(_TURN, "INDEXED BY memories_session")
    .where(*_OF_SESSION, memories.c.created_at >= _at("first"), memories.c.created_at <= _at("last"))
    .order_by(*_BY_TIME)
)

_WINDOW_BEGINS = memories.c.seq * windows.SPREAD % windows.RANGE < windows.BEGINS

WINDOW_BEFORE = Prepared(
    _hinted((memories.c.created_at, memories.c.seq), "INDEXED BY memories_session")
    .where(*_OF_SESSION, _WINDOW_BEGINS, memories.c.created_at < _at("at"))
    .order_by(*(column.desc() for column in _BY_TIME))
    .limit(1)
)

WINDOW_AFTER = Prepared(
    _hinted((memories.c.created_at, memories.c.seq), "INDEXED BY memories_session")
    .where(*_OF_SESSION, _WINDOW_BEGINS, memories.c.created_at > _at("at"))
    .order_by(*_BY_TIME)
    .limit(1)
)

CREATED_BETWEEN = Prepared(
    _hinted(
        (
            func.min(memories.c.created_at, type_=memories.c.created_at.type),
            func.max(memories.c.created_at, type_=memories.c.created_at.type),
        ),
        "INDEXED BY memories_id",
    ).where(among(memories.c.id, "ids"))
)

SPACE_SEQS = Prepared(select(joined(vectors.c.seq)).where(*_OWN_VECTORS))

ALL_VECTORS = Prepared(select(vectors.c.seq, vectors.c.vector).where(*_OWN_VECTORS))

CHANGED_VECTORS = Prepared(
    select(vectors.c.seq, vectors.c.vector).where(
        *_OWN_VECTORS,
        vectors.c.seq.in_(
            _hinted((memories.c.seq,), "INDEXED BY memories_revision").where(memories.c.revision > bindparam("since"))
        ),
    )
)

# One round trip for all terms; a term's rows come in ascending order, each once an occurrence.
POSTINGS = Prepared(
    text(
        "SELECT (SELECT group_concat(doc) FROM memory_vocabulary WHERE term = wanted.value)"
        " FROM json_each(:terms) AS wanted"
    ).bindparams(bindparam("terms", type_=ListOf(Text))),
    # The cover density of one word, every weight 1, is how often it occurs.
    postgresql=text(
        "SELECT (SELECT rtrim(string_agg(repeat(m.seq || ',',"
        " CAST(ts_rank_cd('{1,1,1,1}', m.words, wanted.query) AS integer)), '' ORDER BY m.seq), ',')"
        # A word belongs to one user alone: no other index but that of words may help to find it.
        " FROM memories m WHERE m.tenant_id = :tenant AND m.user_id || '' = :user AND m.words @@ wanted.query)"
        " FROM (SELECT number, CAST('''' || replace(term, '''', '''''') || '''' AS tsquery) AS query"
        " FROM unnest(:terms) WITH ORDINALITY AS listed (term, number)) AS wanted ORDER BY wanted.number"
    ).bindparams(bindparam("terms", type_=ListOf(Text))),
)

# What the index of words holds of the rows changed since, at most so many: row, and each word once an occurrence.
CHANGED_WORDS = Prepared(
    text(
        "SELECT memories.seq, memory_terms.terms FROM memories INDEXED BY memories_revision"
        " LEFT JOIN memory_terms ON memory_terms.rowid = memories.seq"
        " WHERE memories.tenant_id = :tenant AND memories.user_id = :user AND memories.revision > :since LIMIT :most"
    ),
    postgresql=text(
        "SELECT memories.seq, (SELECT string_agg(repeat(w.lexeme || ' ', cardinality(w.positions)), '')"
        " FROM unnest(memories.words) AS w) FROM memories"
        " WHERE memories.tenant_id = :tenant AND memories.user_id = :user AND memories.revision > :since LIMIT :most"
    ),
)

# A user's terms are one range: their number, '_' and the term. Read in order, and looked up as a recall does.
WORD_COUNTS = Prepared(
    text("SELECT term, count(*) FROM memory_vocabulary WHERE term >= :first AND term < :beyond GROUP BY term")
)
WORD_COUNT = Prepared(text("SELECT count(*) FROM memory_vocabulary WHERE term = :term"))

LAST_SEQ = Prepared(text("SELECT seq FROM sqlite_sequence WHERE name = 'memories'"))

ADD_MEMORY = Prepared(insert(memories), postgresql=insert(postgres_memories))

ADD_VECTOR = Prepared(insert(vectors), postgresql=insert(postgres_vectors))

ADD_VERSION = Prepared(insert(memory_versions))

ADD_TERMS = Prepared(text("INSERT INTO memory_terms (rowid, terms) VALUES (:seq, :terms)"))

DROP_TERMS = Prepared(text("DELETE FROM memory_terms WHERE rowid = :seq"))

# FTS5 only marks what is deleted; merging all into one segment leaves it out, and frees the pages to be zeroed.
# Negative pages begin such a merge, positive ones go on with it; done once hardly a row changes.
MERGE_TERMS = Prepared(text("INSERT INTO memory_terms (memory_terms, rank) VALUES ('merge', :pages)"))

# The row number is the log's own to give.
ADD_AUDIT = Prepared(insert(audit_log).values({c: bindparam(c.name) for c in audit_log.c if not c.primary_key}))

DROP_VERSIONS = Prepared(
    delete(memory_versions).where(
        memory_versions.c.tenant_id == _TENANT,
        memory_versions.c.user_id == _USER,
        memory_versions.c.memory_id == bindparam("id"),
    )
)

DROP_MEMORY = Prepared(delete(memories).where(*OWNED, memories.c.id == bindparam("id")))

# What the row of ``id`` had replaced is replaced by what replaced that row, or is current again.
REVIVE = Prepared(
    update(memories)
    .where(*OWNED, memories.c.superseded_by == bindparam("id"))
    .values(
        {c: bindparam(c.name, type_=c.type) for c in (memories.c.superseded_by, memories.c.superseded_at)}
        | {memories.c.revision: bindparam("revision")}
    )
)

EXPIRED_MEMORIES = Prepared(
    _hinted(MEMORY_COLUMNS, "INDEXED BY memories_expiring").where(memories.c.expires_at <= _NOW)
)

DROP_FROM_SPACE = Prepared(delete(vectors).where(*_OWN_VECTORS, vectors.c.seq == bindparam("row")))

MARK_CHANGED = Prepared(
    update(memories).where(*OWNED, memories.c.seq == bindparam("row")).values(revision=bindparam("at_revision"))
)

DROP_VECTORS = Prepared(
    delete(vectors).where(
        vectors.c.tenant_id == _TENANT,
        vectors.c.user_id == _USER,
        vectors.c.space.in_(select(spaces.c.space)),
        vectors.c.seq == bindparam("seq"),
    )
)

SUPERSEDE = Prepared(
    update(memories)
    .where(*OWNED, memories.c.id == bindparam("old"))
    .values(
        {
            c: bindparam(c.name, type_=c.type)
            for c in (memories.c.superseded_by, memories.c.superseded_at, memories.c.updated_at, memories.c.revision)
        }
    )
)
