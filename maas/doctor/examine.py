"""``maas doctor``: look at everything, repair on request, look again."""

from __future__ import annotations

import os
import shutil
import sqlite3
import stat
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from pathlib import Path

import numpy as np
from sqlalchemy import make_url

from maas.doctor.checks import CHECKS
from maas.doctor.proof import SAMPLED_USERS, prove
from maas.doctor.repairs import REPAIRS, renew_caches
from maas.doctor.report import DoctorReport, Finding, Remedy, fault, judged, ok, warning
from maas.embedders.protocol import Embedder
from maas.errors import ConfigError, EmbedderUnavailableError, MaasError, StorageError
from maas.items import Vector, indexed_text
from maas.reindexing import Reindexer
from maas.settings import Settings
from maas.storage.encryption import database_errors
from maas.storage.engine import make_engines, storage_errors, transaction
from maas.storage.migrate import schema_revision
from maas.storage.opening import on_postgres, open_store
from maas.storage.protocol import ReadTransaction
from maas.storage.tables import SCHEMA_REVISION

FREE_BYTES = 200_000_000
_SAME = 0.9  # cosine of a text's vector now and as stored: one may have been made by quantized weights

Clock = Callable[[], datetime]


def examine(
    settings: Settings,
    embedder: Embedder,
    clock: Clock,
    *,
    repair: bool = False,
    on_progress: Callable[[str], None] = lambda _check: None,
) -> DoctorReport:
    """Look at the data folder of ``settings``; with ``repair``, rebuild what can be and look again.

    Args:
        embedder: whose vectors recall answers from.
        clock: the time in UTC.
        on_progress: told the name of each check as it ends.
    """
    findings = list(_look(settings, embedder, clock, on_progress))
    remedies = {finding.remedy for finding in findings if finding.remedy is not None}
    repaired: list[str] = []
    if repair and remedies:
        repaired = _repair(settings, embedder, clock, remedies)
        findings = list(_look(settings, embedder, clock, on_progress))
    healthy = all(finding.severity != "fault" for finding in findings)
    return DoctorReport(healthy=healthy, repaired=repaired, findings=findings)


def _look(
    settings: Settings, embedder: Embedder, clock: Clock, on_progress: Callable[[str], None]
) -> Iterator[Finding]:
    if on_postgres(settings):
        yield from _recall(settings, embedder, clock)
        return
    path = Path(str(make_url(settings.database_url).database))
    yield from _files(path)
    if not path.exists():
        yield fault("database", f"there is no database at {path}; store something, or restore a backup")
        return
    try:
        reader, writer = make_engines(settings)
    except ConfigError as error:
        yield fault("files", error.detail)
        return
    try:
        with storage_errors(), transaction(writer, "BEGIN IMMEDIATE") as opened:
            current = schema_revision(opened.connection)
            if current != SCHEMA_REVISION:
                yield fault("schema", f"is {current!r}, this program's is {SCHEMA_REVISION!r}; run `maas migrate`")
                return
            yield ok("schema", f"revision {current}")
            for check in CHECKS:
                yield from _checked(check, opened.driver)
                on_progress(check.__name__)
            opened.driver.rollback()  # FTS5's own check is written as an insert
    except StorageError as error:
        yield fault("database", f"{error.detail}; restore a backup: maas restore FILE")
        return
    finally:
        reader.dispose()
        writer.dispose()
    yield from _recall(settings, embedder, clock)
    on_progress("recall")


def _checked(check: Callable[[sqlite3.Connection], Iterator[Finding]], driver: sqlite3.Connection) -> Iterator[Finding]:
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


def _recall(settings: Settings, embedder: Embedder, clock: Clock) -> Iterator[Finding]:
    """What recall answers from, built anew: each sampled vector is found, and each sampled text still gives it."""
    store = open_store(settings)
    try:
        try:
            fingerprint = embedder.fingerprint
        except EmbedderUnavailableError as error:
            yield fault("embedder", error.detail)
            return
        with store.read() as transaction:
            progress = transaction.progress(fingerprint)
            if not progress.complete:
                missing = progress.memories - progress.vectors
                yield warning("embedder", f"{missing:,} memories have no vector of {embedder.name}; run `maas reindex`")
            else:
                yield ok("embedder", f"all {progress.memories:,} memories have a vector of {embedder.name}")
            pairs = list(_pairs(transaction, fingerprint))
        proof = prove(store, clock())
        lost = proof.lost_vectors
        yield judged("recall", lost, proof.sampled, "sampled memories", "are not found by their vector", "vectors")
        lost = proof.lost_words
        yield judged("recall", lost, proof.sampled, "sampled memories", "are not found by their words", "words")
        yield from _same_vectors(embedder, pairs)
    except MaasError as error:
        yield fault("recall", error.detail)
    finally:
        store.close()


def _pairs(transaction: ReadTransaction, fingerprint: str) -> Iterator[tuple[str, Vector]]:
    """Some texts with their stored vectors. Turns of a session are left out: their vectors may have read the others."""
    for scope in list(transaction.users())[:SAMPLED_USERS]:
        for row in transaction.export(scope, limit=2):
            if fingerprint in row.vectors and row.memory.session_id is None:
                vector = row.vectors[fingerprint].astype(np.float32)
                yield indexed_text(row.memory.text, row.memory.name), vector


def _same_vectors(embedder: Embedder, pairs: Sequence[tuple[str, Vector]]) -> Iterator[Finding]:
    if not pairs:
        return
    encoded = embedder.encode([text for text, _ in pairs])
    wrong = sum(float(now @ kept) < _SAME for now, (_, kept) in zip(encoded, pairs, strict=True))
    problem = "have another vector than their text gives now; were the model's files changed?"
    yield judged("embedder", wrong, len(pairs), "sampled memories", problem, None)


def _repair(settings: Settings, embedder: Embedder, clock: Clock, wanted: set[Remedy]) -> list[str]:
    reader, writer = make_engines(settings)
    done = []
    try:
        with storage_errors(), transaction(writer, "BEGIN IMMEDIATE") as opened:
            for remedy, rebuild in REPAIRS.items():
                if remedy in wanted or remedy == "counts":
                    done.append(rebuild(opened.driver))
            renew_caches(opened.driver)
    finally:
        reader.dispose()
        writer.dispose()
    if "vectors" in wanted:
        store = open_store(settings)
        try:
            status = Reindexer(store, embedder, clock).run()
            done.append(f"vectors: {status.done:,} of {status.total:,} memories are embedded")
        finally:
            store.close()
    return done
