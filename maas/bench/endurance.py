"""Many clients for a long time, and then more than can be served: does it hold, stay small, and shed the rest."""

from __future__ import annotations

import statistics
import tempfile
import threading
import time
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Self

import psutil
from pydantic import BaseModel, ConfigDict

from maas.bench.concurrency import HealthProbe
from maas.bench.corpus import generated_texts
from maas.bench.embedded import OnProgress
from maas.bench.load import Load, LoadOutcome, connected
from maas.bench.measure import latency_ms
from maas.bench.server import RunningServer, running_server

USERS = 100
QUEUE_TEXTS = 512  # so that what was taken in before shedding is soon done
TEXTS = 4_000
SAMPLE_SECONDS = 1.0
WARM_UP = 0.2  # of the time: caches fill, and the encoder's workspace takes its size


class EnduranceSizes(BaseModel):
    """``clients`` for ``seconds``, then ``flooders`` with batches of 200 for ``flood_seconds``."""

    model_config = ConfigDict(frozen=True)

    clients: int = 200
    seconds: float = 600.0
    flooders: int = 32
    flood_seconds: float = 20.0

    @classmethod
    def quick(cls) -> EnduranceSizes:
        return cls(clients=8, seconds=3.0, flooders=8, flood_seconds=2.0)


def bench_endurance(config: Path | None, sizes: EnduranceSizes, report: OnProgress) -> dict[str, Any]:
    """Mixed stores and recalls on a real server on loopback; its resident memory is sampled every second.

    Returns:
        ``{"load": {…}}``: ``rss_drift_percent`` compares the mean of the last fifth of the time with that of the
        fifth after the warm-up; ``failed`` are answers other than 429 and 503 with Retry-After.
    """
    texts = [text for text, _ in zip(generated_texts(seed=7), range(TEXTS), strict=False)]
    with tempfile.TemporaryDirectory(prefix="maas-bench-") as folder, _server(folder, config) as server:
        mixed = _load(server, "mixed", sizes.clients, sizes.seconds, texts)
        with connected(mixed) as begin, _Memory(server.pid) as memory, HealthProbe(server.url) as probe:
            outcome = begin()
        report("load", 1, 3)
        flood = _load(server, "flood", sizes.flooders, sizes.flood_seconds, texts)
        with connected(flood) as begin, HealthProbe(server.url) as flood_probe:
            flooded = begin()
        report("load", 2, 3)
        after = _load(server, "mixed", 4, min(5.0, sizes.seconds), texts)
        with connected(after) as begin:
            recovered = begin()
        report("load", 3, 3)
    return {
        "load": {
            **sizes.model_dump(),
            **_figures(outcome),
            **memory.report(),
            "health_ms": latency_ms(probe.seconds),
            "overload": {**_figures(flooded), "health_ms": latency_ms(flood_probe.seconds)},
            "failed_after_overload": recovered.failed,
        }
    }


def _server(folder: str, config: Path | None) -> AbstractContextManager[RunningServer]:
    return running_server(Path(folder), config, more={"MAAS_EMBEDDER__QUEUE_TEXTS": str(QUEUE_TEXTS)})


def _load(server: RunningServer, call: str, clients: int, seconds: float, texts: list[str]) -> Load:
    users = [f"load-{number}" for number in range(USERS)]
    given = {"url": server.url, "key": server.key, "call": call, "clients": clients, "seconds": seconds}
    return Load.model_validate(given | {"user_ids": users, "texts": texts})


def _figures(outcome: LoadOutcome) -> dict[str, Any]:
    return {
        "answered": len(outcome.seconds),
        "per_second": round(len(outcome.seconds) / outcome.wall_seconds, 2),
        "latency_ms": latency_ms(outcome.seconds),
        "shed": outcome.shed,
        "failed": outcome.failed,
        "first_failure": outcome.first_failure,
    }


class _Memory:
    """Samples what a process holds in memory, in MB of 10⁶ bytes."""

    def __init__(self, pid: int) -> None:
        self._process = psutil.Process(pid)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample)
        self.samples: list[float] = []

    def __enter__(self) -> Self:
        self._started = time.monotonic()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def report(self) -> dict[str, float]:
        fifth = max(1, len(self.samples) // 5)
        warm = self.samples[int(WARM_UP * len(self.samples)) :]
        first, last = statistics.mean(warm[:fifth]), statistics.mean(warm[-fifth:])
        return {
            "rss_mb_first": round(first, 1),
            "rss_mb_last": round(last, 1),
            "rss_mb_most": round(max(self.samples), 1),
            "rss_drift_percent": round(100 * (last / first - 1), 2),
        }

    def _sample(self) -> None:
        while True:
            self.samples.append(self._process.memory_info().rss / 1e6)
            if self._stop.wait(SAMPLE_SECONDS):
                return
