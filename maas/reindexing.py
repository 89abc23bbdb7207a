"""Re-embedding after a switch of the embedder, while store and recall go on.

Whatever lacks a vector of the current embedder is encoded outside the lock and written only if its text is still
the one that was encoded. So a run that was cut off is resumed by starting another, which servers do by themselves.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from functools import partial

import structlog

from maas.contexts import Contexts, context_space
from maas.embedders.protocol import Embedder
from maas.errors import ConflictError, MaasError, UnavailableError
from maas.items import indexed_text
from maas.reading import read_again
from maas.records import ReindexStatus, Scope
from maas.storage.protocol import MemoryStore, ReadTransaction
from maas.storage.values import ReindexRun

BATCH = 64
# A run beats so often, whatever it waits for; one that has been silent for STALE has died with its process.
BEAT_SECONDS = 3.0
STALE = timedelta(seconds=15)

log = structlog.get_logger(__name__)

Progress = Callable[[ReindexStatus], None]


class Reindexer:
    """Brings every memory of every tenant into the embedder's space."""

    def __init__(self, store: MemoryStore, embedder: Embedder, clock: Callable[[], datetime]) -> None:
        self._store = store
        self._embedder = embedder
        self._fingerprint = embedder.fingerprint
        self._clock = clock
        self._contexts = Contexts(store, embedder)

    def run(self, on_progress: Progress | None = None) -> ReindexStatus:
        """Raises ConflictError while another run is alive."""
        number = self._start()
        try:
            with self._beating(number):
                while not self._pass(number, on_progress):
                    pass
        except BaseException as error:
            passing = not isinstance(error, Exception) or isinstance(error, UnavailableError)
            state = "interrupted" if passing else "failed"
            with self._store.write() as transaction:
                transaction.beat_reindex(number, state, self._clock(), f"{type(error).__name__}: {error}")
            raise
        with self._store.write() as transaction:
            transaction.beat_reindex(number, "done", self._clock())
        return self.status()

    def status(self) -> ReindexStatus:
        with self._store.read() as transaction:
            progress = transaction.progress(self._fingerprint)
            run = transaction.last_reindex()
        counts = {"fingerprint": self._fingerprint, "done": progress.vectors, "total": progress.memories}
        if run is None or run.fingerprint != self._fingerprint:
            return ReindexStatus(state="idle", **counts)
        state = "interrupted" if run.state == "running" and not self._alive(run) else run.state
        return ReindexStatus.model_validate(
            {
                "state": state,
                "started_at": run.started_at,
                "finished_at": run.finished_at,
                "error": run.error,
                **counts,
            }
        )

    def interrupted(self) -> bool:
        """Whether the last run, to this embedder's space, was cut off."""
        with self._store.read() as transaction:
            run = transaction.last_reindex()
        if run is None or run.fingerprint != self._fingerprint:
            return False
        return run.state == "interrupted" or (run.state == "running" and not self._alive(run))

    def running(self, transaction: ReadTransaction) -> bool:
        """Whether a run towards this embedder's space is alive."""
        run = transaction.last_reindex()
        return run is not None and run.fingerprint == self._fingerprint and self._alive(run)

    def _start(self) -> int:
        with self._store.write() as transaction:
            run = transaction.last_reindex()
            if run is not None and self._alive(run):
                raise ConflictError(
                    f"a reindex has been running since {run.started_at:%Y-%m-%d %H:%M:%S} UTC; wait for it to end"
                )
            return transaction.start_reindex(self._fingerprint, self._clock())

    @contextmanager
    def _beating(self, number: int) -> Iterator[None]:
        """Tell other processes that this one is alive."""
        ended = threading.Event()

        def beat() -> None:
            while not ended.wait(BEAT_SECONDS):
                try:
                    self._beat(number)
                except MaasError as error:
                    log.warning("no sign of life from the reindex", code=error.code, detail=error.detail)

        thread = threading.Thread(target=beat, name="maas-reindex-beat", daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    def _pass(self, number: int, on_progress: Progress | None) -> bool:
        """Once over all users. Returns whether every memory is embedded now: others write meanwhile."""
        with self._store.read() as transaction:
            scopes = list(transaction.users())
        for scope in scopes:
            self._documents(scope, number)
            while self._batch(scope, number):
                if on_progress is not None:
                    on_progress(self.status())
            for _ in self._contexts.settle_user(scope):
                if on_progress is not None:
                    on_progress(self.status())
            with self._store.write() as transaction:
                transaction.drop_other_spaces(scope, self._fingerprint, *filter(None, [context_space(self._embedder)]))
        if on_progress is not None:
            on_progress(self.status())
        with self._store.read() as transaction:
            return transaction.progress(self._fingerprint).complete

    def _documents(self, scope: Scope, number: int) -> None:
        """Read again, each in one pass, what another embedder has read."""
        after = ""
        while True:
            with self._store.read() as transaction:
                rows = transaction.documents(scope, BATCH, after)
            if not rows:
                return
            after = rows[-1].id
            for row in rows:
                if row.state == "done" and row.fingerprint != self._fingerprint:
                    read_again(self._store, self._embedder, scope, row, partial(self._beat, number))

    def _beat(self, number: int) -> None:
        with self._store.write() as transaction:
            transaction.beat_reindex(number, "running", self._clock())

    def _batch(self, scope: Scope, number: int) -> bool:
        """Embed some memories of a user; returns whether there were any."""
        with self._store.read() as transaction:
            rows = transaction.unembedded(scope, self._fingerprint, BATCH)
        if not rows:
            return False
        vectors = self._embedder.encode([indexed_text(row.memory.text, row.memory.name) for row in rows])
        with self._store.write() as transaction:
            transaction.add_vectors(scope, self._fingerprint, list(zip(rows, vectors, strict=True)))
            transaction.beat_reindex(number, "running", self._clock())
        return True

    def _alive(self, run: ReindexRun) -> bool:
        return run.state == "running" and self._clock() - run.beat_at < STALE
