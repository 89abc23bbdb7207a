"""``maas doctor``: look at everything, repair on request, look again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import Any

import numpy as np

from maas.doctor.proof import SAMPLED_USERS, prove
from maas.doctor.repairs import Repair, drop_vectors, rebuild_versions, recount, renew_caches, restore_texts
from maas.doctor.report import REMEDIES, DoctorReport, Finding, Remedy, fault, judged, ok, warning
from maas.embedders.protocol import Embedder
from maas.errors import EmbedderUnavailableError, MaasError
from maas.items import Vector, indexed_text
from maas.reindexing import Reindexer
from maas.settings import Settings
from maas.storage.opening import on_postgres, open_store
from maas.storage.protocol import ReadTransaction

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
    readable = yield from _database(settings).look(settings, on_progress)
    if readable:
        yield from _recall(settings, embedder, clock)
        on_progress("recall")


def _database(settings: Settings) -> Any:
    """The module that knows the kind of database."""
    if on_postgres(settings):
        from maas.doctor import on_postgres as postgres

        return postgres
    from maas.doctor import on_sqlite

    return on_sqlite


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
    """In this order: words and vectors follow from texts, counts from all."""
    database = _database(settings)
    repairs: dict[Remedy, Repair] = {
        **database.REPAIRS,
        "texts": restore_texts,
        "versions": rebuild_versions,
        "vectors": lambda driver: drop_vectors(driver, database.unsound_vectors(driver)),
        "counts": recount,
    }
    with database.repairing(settings) as driver:
        due = [each for each in REMEDIES if each in repairs and (each in wanted or each == "counts")]
        done = [repairs[remedy](driver) for remedy in due]
        renew_caches(driver)
    if "vectors" in wanted:
        store = open_store(settings)
        try:
            status = Reindexer(store, embedder, clock).run()
            done.append(f"vectors: {status.done:,} of {status.total:,} memories are embedded")
        finally:
            store.close()
    return done
