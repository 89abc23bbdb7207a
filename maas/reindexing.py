"""Re-embedding after a switch of the embedder, while store and recall go on.

Whatever lacks a vector of the current embedder is encoded outside the lock and written only if its text is still
the one that was encoded. So a run that was cut off is resumed by starting another.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial

from maas.contexts import Contexts, context_space
from maas.embedders.protocol import Embedder
from maas.errors import ConflictError
from maas.items import indexed_text
from maas.reading import read_again
from maas.records import ReindexStatus, Scope
from maas.storage.protocol import MemoryStore, ReadTransaction, ReindexRun

BATCH = 64
# A run beats after every batch; one that has been silent for this long has died.
STALE = timedelta(minutes=2)

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
            while not self._pass(number, on_progress):
                pass
        except BaseException as error:
            state = "failed" if isinstance(error, Exception) else "interrupted"
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
                with self._store.write() as transaction:
                    transaction.beat_reindex(number, "running", self._clock())
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
