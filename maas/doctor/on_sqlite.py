"""A data folder and the SQLite database in it: what must hold there alone, and how its own indexes are made anew."""

from __future__ import annotations

import os
import shutil
import sqlite3
import stat
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from sqlalchemy import make_url

from maas.doctor.asking import CHUNK, count
from maas.doctor.checks import Check, counts, texts, vectors, versions
from maas.doctor.repairs import Repair
from maas.doctor.report import Finding, Remedy, fault, judged, ok, schema_found, warning
from maas.errors import ConfigError, StorageError
from maas.items import indexed_text
from maas.recall.analysis import document_terms
from maas.settings import Settings
from maas.storage.encryption import database_errors
from maas.storage.engine import make_engines, storage_errors, transaction
from maas.storage.migrate import schema_revision
from maas.storage.rows import words_of

FREE_BYTES = 200_000_000
_SHOWN = 5
_TOLERANCE = 0.01


def look(settings: Settings, on_progress: Callable[[str], None]) -> Generator[Finding, None, bool]:
    """Returns whether everything could be looked at."""
    path = Path(str(make_url(settings.database_url).database))
    yield from _files(path)
    if not path.exists():
        yield fault("database", f"there is no database at {path}; store something, or restore a backup")
        return False
    try:
        reader, writer = make_engines(settings)
    except ConfigError as error:
        yield fault("files", error.detail)
        return False
    try:
        with storage_errors(), transaction(writer, "BEGIN IMMEDIATE") as opened:
            schema = schema_found(schema_revision(opened.connection))
            yield schema
            if schema.severity != "ok":
                return False
            for check in CHECKS:
                yield from _checked(check, opened.driver)
                on_progress(check.__name__)
            opened.driver.rollback()  # FTS5's own check is written as an insert
    except StorageError as error:
        yield fault("database", f"{error.detail}; restore a backup: maas restore FILE")
        return False
    finally:
        reader.dispose()
        writer.dispose()
    return True


@contextmanager
def repairing(settings: Settings) -> Iterator[sqlite3.Connection]:
    """The one writing transaction."""
    reader, writer = make_engines(settings)
    try:
        with storage_errors(), transaction(writer, "BEGIN IMMEDIATE") as opened:
            yield opened.driver
    finally:
        reader.dispose()
        writer.dispose()


def _checked(check: Check, driver: sqlite3.Connection) -> Iterator[Finding]:
    try:
        yield from check(driver)
    except database_errors() as error:
        yield fault(check.__name__, f"cannot be read: {error}; restore a backup: maas restore FILE")


def _files(path: Path) -> Iterator[Finding]:
    folder = path.parent
    if not folder.is_dir():
        yield fault("files", f"there is no folder {folder}; set data_dir (MAAS_DATA_DIR)")
        return
    if not os.access(folder, os.W_OK | os.X_OK):
        yield fault("files", f"{folder} cannot be written by this user")
    free = shutil.disk_usage(folder).free
    if free < FREE_BYTES:
        yield warning("files", f"{free / 1e6:,.0f} MB are free on the disk of {folder}; writes fail once it is full")
    open_to = [file.name for file in [folder, *folder.glob(f"{path.name}*")] if _open_to_others(file)]
    if open_to:
        yield warning("files", f"other users of this machine can read {', '.join(open_to)}; chmod go= them")
    else:
        yield ok("files", f"{folder} is writable, and private to its owner")


def _open_to_others(file: Path) -> bool:
    return bool(file.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO))


def integrity(driver: sqlite3.Connection) -> Iterator[Finding]:
    """SQLite's own check of pages, indexes and constraints."""
    found = [row[0] for row in driver.execute("PRAGMA integrity_check(100)")]
    if found == ["ok"]:
        yield ok("database", "pages, indexes and constraints are sound")
        return
    index_only = all("index" in line for line in found)
    shown = "; ".join(found[:_SHOWN])
    yield fault("database", f"{len(found)} faults: {shown}", "indexes" if index_only else None)


def references(driver: sqlite3.Connection) -> Iterator[Finding]:
    found = driver.execute("PRAGMA foreign_key_check").fetchall()
    if found:
        tables = ", ".join(sorted({row[0] for row in found}))
        yield fault("references", f"{len(found):,} rows of {tables} point at nothing")
    else:
        yield ok("references", "every reference is kept")


def words(driver: sqlite3.Connection) -> Iterator[Finding]:
    """The index of words is sound, and holds for every memory the terms of its text."""
    try:
        driver.execute("INSERT INTO memory_terms (memory_terms) VALUES ('integrity-check')")
    except database_errors() as error:
        yield fault("words", f"the index of words is damaged: {error}", "words")
        return
    rows = driver.execute(
        "SELECT m.text, m.name, m.term_count, u.number, t.terms FROM memories m"
        " LEFT JOIN users u ON u.tenant_id = m.tenant_id AND u.user_id = m.user_id"
        " LEFT JOIN memory_terms t ON t.rowid = m.seq"
    )
    total = wrong = 0
    for text, name, term_count, number, indexed in rows:
        total += 1
        terms = document_terms(indexed_text(text, name))
        wrong += term_count != len(terms) or indexed != words_of(number, terms)
    yield judged("words", wrong, total, "memories", "are indexed under other words than theirs", "words")
    extra = "SELECT count(*) FROM memory_terms WHERE rowid NOT IN (SELECT seq FROM memories)"
    yield judged("words", count(driver, extra), total, "entries", "belong to no memory", "words")


def lengths(driver: sqlite3.Connection) -> Iterator[Finding]:
    total = count(driver, "SELECT count(*) FROM vectors")
    yield judged("vectors", len(unsound_vectors(driver)), total, "vectors", "are not of unit length", "vectors")


CHECKS: tuple[Check, ...] = (integrity, references, texts, versions, words, vectors, lengths, counts)


def unsound_vectors(driver: sqlite3.Connection) -> list[tuple[str, str, int, int]]:
    """(tenant, user, space, seq) of vectors of a wrong size, not finite, or not of unit length."""
    found = []
    for space, dim in driver.execute("SELECT space, dim FROM spaces").fetchall():
        rows = driver.execute("SELECT tenant_id, user_id, space, seq, vector FROM vectors WHERE space = ?", (space,))
        while chunk := rows.fetchmany(CHUNK):
            whole = [row for row in chunk if len(row[4]) == 2 * dim]
            found += [row[:4] for row in chunk if len(row[4]) != 2 * dim]
            if whole:
                values = np.frombuffer(b"".join(row[4] for row in whole), "<f2").reshape(-1, dim)
                with np.errstate(all="ignore"):
                    sound = np.abs(np.linalg.norm(values.astype(np.float32), axis=1) - 1) < _TOLERANCE
                found += [whole[i][:4] for i in np.flatnonzero(~sound)]
    return found


def rebuild_indexes(driver: sqlite3.Connection) -> str:
    driver.execute("REINDEX")
    return "the indexes of all tables"


def rebuild_words(driver: sqlite3.Connection) -> str:
    """Make the index of words anew from the texts; its definition is the one in the database."""
    definitions = driver.execute(
        "SELECT name, sql FROM sqlite_master WHERE name IN ('memory_terms', 'memory_vocabulary')"
    ).fetchall()
    for name, _ in sorted(definitions, reverse=True):
        driver.execute(f"DROP TABLE {name}")
    for _, sql in sorted(definitions):
        driver.execute(sql)
    rows = driver.execute(
        "SELECT m.seq, m.text, m.name, m.term_count, u.number FROM memories m"
        " JOIN users u ON u.tenant_id = m.tenant_id AND u.user_id = m.user_id"
    )
    total = 0
    for seq, text, name, term_count, number in rows:
        terms = document_terms(indexed_text(text, name))
        indexed = words_of(number, terms)
        driver.execute("INSERT INTO memory_terms (rowid, terms) VALUES (?, ?)", (seq, indexed))
        if term_count != len(terms):
            driver.execute("UPDATE memories SET term_count = ? WHERE seq = ?", (len(terms), seq))
        total += 1
    return f"the words of {total:,} memories"


REPAIRS: dict[Remedy, Repair] = {"indexes": rebuild_indexes, "words": rebuild_words}
