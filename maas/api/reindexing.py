"""Re-embedding in the background of a running server."""

from __future__ import annotations

import threading

import structlog

from maas.brain import PersonalMemoryBrain
from maas.errors import ConflictError, MaasError
from maas.records import ReindexStatus

_log = structlog.get_logger("maas.api")


LOOK_SECONDS = 5.0


class _Stopped(BaseException):  # a signal between two batches, not an error
    """The server is shutting down; what is done is kept, and another server or the next start goes on from there."""


class Reindexing:
    """At most one run a process; the database keeps other processes from starting a second.

    A run that was cut off, in whichever process, is taken up by the first server that looks.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._progressed = threading.Event()
        self._stopping = threading.Event()
        self._watcher: threading.Thread | None = None

    def watch(self, brain: PersonalMemoryBrain) -> None:
        """From now on, look whether a run was cut off, and go on with it."""
        self._watcher = threading.Thread(target=self._watch, args=(brain,), name="maas-reindex-watch", daemon=True)
        self._watcher.start()

    def start(self, brain: PersonalMemoryBrain) -> ReindexStatus:
        """Start a run unless one is under way; return once its first progress is recorded."""
        with self._lock:
            if self._thread is None or not self._thread.is_alive():
                self._progressed.clear()
                self._thread = threading.Thread(target=self._run, args=(brain,), name="maas-reindex", daemon=True)
                self._thread.start()
        self._progressed.wait(timeout=5)
        return brain.reindex_status()

    def stop(self) -> None:
        """Let the batch at hand finish, then end the run; it can be resumed."""
        self._stopping.set()
        for thread in (self._watcher, self._thread):
            if thread is not None:
                thread.join()

    def _watch(self, brain: PersonalMemoryBrain) -> None:
        while not self._stopping.wait(LOOK_SECONDS):
            try:
                if brain.reindex_interrupted():
                    _log.info("reindex was cut off; this server goes on with it")
                    self.start(brain)
            except MaasError as error:  # the database is away; the next look comes
                _log.warning("no look for a reindex that was cut off", code=error.code, detail=error.detail)
            except Exception:  # noqa: BLE001 - a thread has nobody to raise to; the log is the place
                _log.exception("no look for a reindex that was cut off")

    def _run(self, brain: PersonalMemoryBrain) -> None:
        try:
            status = brain.reindex(on_progress=self._on_progress)
            _log.info("reindex finished", done=status.done, total=status.total)
        except _Stopped:
            _log.info("reindex stopped; another server, or the next start, goes on with it")
        except ConflictError as error:
            _log.info("reindex runs in another process", detail=error.detail)
        except MaasError as error:
            _log.error("reindex failed", code=error.code, detail=error.detail)
        except Exception:  # noqa: BLE001 - a thread has nobody to raise to; the log is the place
            _log.exception("reindex failed")
        finally:
            self._progressed.set()

    def _on_progress(self, status: ReindexStatus) -> None:
        self._progressed.set()
        if self._stopping.is_set():
            raise _Stopped
