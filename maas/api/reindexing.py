"""Re-embedding in the background of a running server."""

from __future__ import annotations

import threading

import structlog

from maas.brain import PersonalMemoryBrain
from maas.errors import ConflictError, MaasError
from maas.records import ReindexStatus

_log = structlog.get_logger("maas.api")


class _Stopped(Exception):  # noqa: N818 - a signal between two batches, not an error
    """The server is shutting down; what is done is kept and the next run goes on from there."""


class Reindexing:
    """At most one run a process; the database keeps other processes from starting a second."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._progressed = threading.Event()
        self._stopping = threading.Event()

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
        if self._thread is not None:
            self._thread.join()

    def _run(self, brain: PersonalMemoryBrain) -> None:
        try:
            status = brain.reindex(on_progress=self._on_progress)
            _log.info("reindex finished", done=status.done, total=status.total)
        except _Stopped:
            _log.info("reindex stopped; it resumes when started again")
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
