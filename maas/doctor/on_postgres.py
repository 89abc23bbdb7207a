"""A database of PostgreSQL: what must hold there alone, and how its rows are given their words anew."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

import psycopg
from sqlalchemy import bindparam, update

from maas.doctor.asking import count, each
from maas.doctor.checks import Check, counts, texts, vectors, versions
from maas.doctor.repairs import Repair
from maas.doctor.report import Finding, Remedy, fault, judged, ok, schema_found, warning
from maas.errors import MaasError
from maas.items import indexed_text
from maas.recall.analysis import document_terms
from maas.settings import Settings
from maas.storage.migrate import schema_revision
from maas.storage.postgres_engine import READ, WRITE, make_postgres_engine, postgres_transaction
from maas.storage.postgres_errors import postgres_errors
from maas.storage.postgres_index import PREFIX, giants, indexes
from maas.storage.prepared import Prepared
from maas.storage.tables import MAX_POSITIONS, WordVector, postgres_memories

_TOLERANCE = 0.01
_UNSOUND = f"""
    FROM vectors v LEFT JOIN spaces s ON s.space = v.space
    WHERE s.dim IS NULL OR vector_dims(v.vector) != s.dim OR NOT abs(l2_norm(v.vector) - 1) < {_TOLERANCE}"""
# As the writer counts them: each word behind its user's number, with how often it occurs.
_WORDS = """
    SELECT m.text, m.name, m.term_count, u.number, m.tenant_id, m.user_id, m.seq,
        (SELECT string_agg(lexeme || ':' || cardinality(positions), ' ' ORDER BY lexeme COLLATE "C")
            FROM unnest(m.words))
    FROM memories m LEFT JOIN users u ON u.tenant_id = m.tenant_id AND u.user_id = m.user_id"""
_ROW = postgres_memories.c
_SET_WORDS = Prepared(
    update(postgres_memories)
    .where(_ROW.tenant_id == bindparam("tenant"), _ROW.user_id == bindparam("user"), _ROW.seq == bindparam("row"))
    .values({_ROW.words: bindparam("own_words", type_=WordVector), _ROW.term_count: bindparam("own_count")})
)
# Readers go on; writers wait, as they do for each other.
_LOCK = "LOCK TABLE users, memories, vectors, memory_versions, user_spaces IN SHARE ROW EXCLUSIVE MODE"


def look(settings: Settings, on_progress: Callable[[str], None]) -> Generator[Finding, None, bool]:
    """All in one snapshot, while servers go on. Returns whether everything could be looked at."""
    engine = make_postgres_engine(settings)
    try:
        with postgres_errors(), postgres_transaction(engine, READ) as opened:
            schema = schema_found(schema_revision(opened.connection))
            yield schema
            if schema.severity != "ok":
                return False
            for check in CHECKS:
                yield from check(opened.driver)
                on_progress(check.__name__)
            yield from _unindexed(opened.driver, settings.storage.exact_up_to)
    except MaasError as error:
        yield fault("database", error.detail)
        return False
    finally:
        engine.dispose()
    return True


@contextmanager
def repairing(settings: Settings) -> Iterator[psycopg.Connection[Any]]:
    """A transaction beside which nobody else writes."""
    engine = make_postgres_engine(settings)
    try:
        with postgres_errors(), postgres_transaction(engine, WRITE) as opened:
            opened.driver.execute(_LOCK)
            yield opened.driver
    finally:
        engine.dispose()


def integrity(driver: psycopg.Connection[Any]) -> Iterator[Finding]:
    """What the server knows of itself: indexes that it does not use, and pages whose checksum was wrong."""
    invalid = "SELECT indexrelid::regclass::text FROM pg_index WHERE NOT indisvalid ORDER BY 1"
    broken = [name for (name,) in each(driver, invalid) if not name.startswith(PREFIX)]
    failed = "SELECT coalesce(max(checksum_failures), 0) FROM pg_stat_database WHERE datname = current_database()"
    pages = count(driver, failed)
    if broken:
        yield fault("database", f"the server does not use {', '.join(broken)}; run REINDEX INDEX CONCURRENTLY on them")
    if pages:
        yield fault("database", f"{pages:,} pages had a wrong checksum; restore the server's backup")
    if not broken and not pages:
        yield ok("database", "every index is in use, and no page had a wrong checksum")


def references(driver: psycopg.Connection[Any]) -> Iterator[Finding]:
    """The space of every vector is there, which no foreign key says: one between tenants and all would stop Citus."""
    used = "SELECT DISTINCT space FROM user_spaces UNION SELECT DISTINCT space FROM vectors"
    known = {space for (space,) in each(driver, "SELECT space FROM spaces")}
    spaces = {space for (space,) in each(driver, used)}
    yield judged("references", len(spaces - known), len(spaces), "spaces of vectors", "are not in the table", "vectors")


def words(driver: psycopg.Connection[Any]) -> Iterator[Finding]:
    """Every memory lies in the index under the terms of its text, and under no others."""
    total = wrong = 0
    for text, name, term_count, number, *_, indexed in each(driver, _WORDS):
        total += 1
        terms = document_terms(indexed_text(text, name))
        wrong += term_count != len(terms) or (indexed or "") != _listed(number, terms)
    yield judged("words", wrong, total, "memories", "are indexed under other words than theirs", "words")


def lengths(driver: psycopg.Connection[Any]) -> Iterator[Finding]:
    total = count(driver, "SELECT count(*) FROM vectors")
    wrong = count(driver, f"SELECT count(*) {_UNSOUND}")
    yield judged("vectors", wrong, total, "vectors", "are not of unit length", "vectors")


CHECKS: tuple[Check, ...] = (integrity, references, texts, versions, words, vectors, lengths, counts)


def unsound_vectors(driver: psycopg.Connection[Any]) -> list[tuple[str, str, int, int]]:
    """(tenant, user, space, seq) of vectors of a wrong size, of no known space, or not of unit length."""
    return cast(
        "list[tuple[str, str, int, int]]",
        list(each(driver, f"SELECT v.tenant_id, v.user_id, v.space, v.seq {_UNSOUND}")),
    )


def rebuild_words(driver: psycopg.Connection[Any]) -> str:
    """Those that are wrong, from the texts."""
    wrong = []
    for text, name, term_count, number, tenant, user_id, seq, indexed in each(driver, _WORDS):
        terms = document_terms(indexed_text(text, name))
        if number is not None and (term_count != len(terms) or (indexed or "") != _listed(number, terms)):
            wrong.append((tenant, user_id, seq, (number, terms)))
    for tenant, user_id, seq, own in wrong:
        _SET_WORDS.run(driver, tenant=tenant, user=user_id, row=seq, own_words=own, own_count=len(own[1]))
    return f"the words of {len(wrong):,} memories"


REPAIRS: dict[Remedy, Repair] = {"words": rebuild_words}


def _unindexed(driver: psycopg.Connection[Any], exact_up_to: int) -> Iterator[Finding]:
    usable = {name for name, valid in indexes(driver).items() if valid}
    slow = [giant for giant in giants(driver, exact_up_to) if giant.index not in usable] if exact_up_to else []
    if slow:
        yield warning(
            "index", f"{len(slow):,} users have more than {exact_up_to:,} vectors and no index of them; run `maas tune`"
        )


def _listed(number: int | None, terms: Sequence[str]) -> str:
    counted = Counter(f"{number}_{term}" for term in terms)
    return " ".join(f"{term}:{min(counted[term], MAX_POSITIONS)}" for term in sorted(counted))
