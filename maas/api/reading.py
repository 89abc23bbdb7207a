"""Documents are read in the background of a running server, one after another."""

from __future__ import annotations

import threading
import time
from collections import deque

import structlog

from maas.brain import PersonalMemoryBrain
from maas.errors import MaasError
from maas.records import Document, DocumentPage

_log = structlog.get_logger("maas.api")


class _Stopped(Exception):  # noqa: N818 - a signal between two checkpoints, not an error
    """The server is shutting down; what is read is kept, and the next start reads on."""


class BackgroundReading:
    """A queue of documents and the thread that reads them.

    Args:
        look_every: seconds after which an idle thread looks for documents that a killed process left unread.
    """

    def __init__(self, look_every: float = 30.0) -> None:
        self._look_every = look_every
        self._next_look = 0.0
        self._brain: PersonalMemoryBrain | None = None
        self._wake = threading.Condition()
        self._queue: deque[tuple[PersonalMemoryBrain, str, str]] = deque()
        self._thread: threading.Thread | None = None
        self._stopping = False

    def add(self, brain: PersonalMemoryBrain, document: Document) -> None:
        """Read ``document`` once those before it are read."""
        with self._wake:
            if self._has(document.id):
                return
            self._queue.append((brain, document.user_id, document.id))
            self._start()
            self._wake.notify_all()

    def resume(self, brain: PersonalMemoryBrain) -> None:
        """From now on, take up what other runs of the server left unread."""
        with self._wake:
            self._brain = brain
            self._start()

    def wait(self, brain: PersonalMemoryBrain, document: Document, seconds: float) -> Document:
        """The document as it is when it has been read, or after so many seconds."""
        with self._wake:
            self._wake.wait_for(lambda: not self._has(document.id) or self._stopping, seconds)
        return self.shown(brain.get_document(document.id, user_id=document.user_id))

    def shown(self, document: Document) -> Document:
        """One that waits behind others is being read, though no reader has begun."""
        with self._wake:
            waits = document.state == "interrupted" and self._has(document.id) and not self._stopping
        return document.model_copy(update={"state": "reading"}) if waits else document

    def shown_page(self, page: DocumentPage) -> DocumentPage:
        return page.model_copy(update={"results": [self.shown(document) for document in page.results]})

    def stop(self) -> None:
        """Let the passages at hand be written, then stop; they are read on at the next start."""
        with self._wake:
            self._stopping = True
            self._wake.notify_all()
        if self._thread is not None:
            self._thread.join()

    def _has(self, document_id: str) -> bool:
        return any(waiting == document_id for _, _, waiting in self._queue)

    def _start(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="maas-reading", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        while True:
            self._look()
            with self._wake:
                self._wake.wait_for(lambda: self._queue or self._stopping, self._look_every)
                if self._stopping:
                    return
                if not self._queue:
                    continue
                brain, user_id, document_id = self._queue[0]
            try:
                document = brain.read_document(document_id, user_id=user_id, on_progress=self._on_progress)
                _log.info("document read", passages=document.passages)
            except _Stopped:
                _log.info("reading stopped; it goes on at the next start")
            except MaasError as error:
                _log.warning("document not read", code=error.code, detail=error.detail)
            except Exception:  # noqa: BLE001 - a thread has nobody to raise to; the log is the place
                _log.exception("document not read")
            with self._wake:
                self._queue.popleft()
                self._wake.notify_all()

    def _look(self) -> None:
        """Queue what nobody reads; a reader that is alive elsewhere keeps its document."""
        if self._brain is None or self._queue or time.monotonic() < self._next_look:
            return
        self._next_look = time.monotonic() + self._look_every
        try:
            unread = self._brain.unread_documents()
        except MaasError as error:  # the database is busy; the next look comes
            _log.warning("no look for unread documents", code=error.code, detail=error.detail)
            return
        with self._wake:
            for tenant, user_id, document_id in unread:
                self._queue.append((self._brain.acting_as(tenant, self._brain.actor), user_id, document_id))

    def _on_progress(self, _document: Document) -> None:
        if self._stopping:
            raise _Stopped
