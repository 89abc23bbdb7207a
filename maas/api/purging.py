"""Purging in the background of a running server."""

from __future__ import annotations

import threading
from datetime import timedelta

import structlog

from maas.brain import PersonalMemoryBrain
from maas.errors import MaasError

ACTOR = "upkeep"
_FIRST_AFTER_SECONDS = 10.0

_log = structlog.get_logger("maas.api")


class Purging:
    """Looks, about as often as a purge is due, whether any process has purged; if none has, it does."""

    def __init__(self, brain: PersonalMemoryBrain, every: timedelta) -> None:
        self._brain = brain.acting_as(brain.tenant, ACTOR)
        self._every = every
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="maas-purge", daemon=True)

    def start(self) -> None:
        if self._every:
            self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        wait = min(_FIRST_AFTER_SECONDS, self._every.total_seconds())
        while not self._stopping.wait(wait):
            wait = self._every.total_seconds()
            try:
                report = self._brain.purge(unless_within=self._every * 0.9)
                if report is not None:
                    _log.info("purged", **report.model_dump())
            except MaasError as error:
                _log.warning("purge put off", code=error.code, detail=error.detail)
            except Exception:  # noqa: BLE001 - a thread has nobody to raise to; the log is the place
                _log.exception("purge failed")
