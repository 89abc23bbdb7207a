"""One client against many, through a real server, while something asks the server whether it is alive."""

from __future__ import annotations

import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from maas.bench.corpus import questions, take_texts
from maas.bench.embedded import OnProgress, Sizes
from maas.bench.load import Load, connected
from maas.bench.measure import Usage, latency_ms
from maas.bench.server import RunningServer, running_server
from maas.errors import UnavailableError

if TYPE_CHECKING:
    from maas.embedders.protocol import Embedder
    from maas.settings import Settings

CLIENTS = (1, 32)
USERS = 32
MEMORIES_PER_USER = 20
PROBE_EVERY_SECONDS = 0.02


def bench_concurrency(
    settings: Settings, sizes: Sizes, config: Path | None, docs: Path | None, report: OnProgress
) -> dict[str, Any]:
    """Throughput of store and recall with 1 and with 32 clients, and the health check's latency meanwhile.

    The clients share the machine with the server, so both ends' work is in the figures. ``encoder`` is what the
    encoder alone gains on the same texts from having 32 at once, before any server is there.

    Raises:
        UnavailableError: calls failed; a throughput of failures would be no throughput.
    """
    user_ids = [f"client-{number}" for number in range(USERS)]
    texts = take_texts(USERS * MEMORIES_PER_USER, docs, seed=2)
    asked_by_call = {"store": texts, "recall": questions(len(texts), seed=max(CLIENTS))}
    results: dict[str, Any] = {
        call: {"encoder": alone} for call, alone in _encoder_alone(settings, asked_by_call, sizes.seconds / 4).items()
    }
    with (
        tempfile.TemporaryDirectory(prefix="maas-bench-") as folder,
        running_server(Path(folder), config) as server,
    ):
        _fill(server, user_ids, texts)
        stages = [(call, clients) for call in ("store", "recall") for clients in CLIENTS]
        for number, (call, clients) in enumerate(stages, 1):
            load = Load.model_validate(
                {"url": server.url, "key": server.key, "call": call, "clients": clients, "seconds": sizes.seconds}
                | {"user_ids": user_ids, "texts": asked_by_call[call]}
            )
            results[call][f"clients_{clients}"] = _measure(server, load)
            report("clients", number, len(stages))
    for result in results.values():
        one, many = (result[f"clients_{clients}"]["per_second"] for clients in CLIENTS)
        result["speed_up"] = round(many / one, 2) if one else 0.0
    return {"concurrency": results}


def _encoder_alone(settings: Settings, texts: dict[str, list[str]], seconds: float) -> dict[str, dict[str, float]]:
    """Texts a second one by one, and in batches as large as there are clients; the encoder is closed again."""
    from maas.embedders.factory import build_embedder

    encoder = build_embedder(settings)
    try:
        rates = {
            call: [_encoded_per_second(encoder.inner, own, size, seconds) for size in CLIENTS]
            for call, own in texts.items()
        }
    finally:
        encoder.close()
    return {
        call: {"batch_1": round(one, 2), "batch_32": round(many, 2), "speed_up": round(many / one, 2)}
        for call, (one, many) in rates.items()
    }


def _encoded_per_second(encoder: Embedder, texts: list[str], size: int, seconds: float) -> float:
    encoder.encode(texts[:size])
    done, started = 0, time.perf_counter()
    while done == 0 or time.perf_counter() < started + seconds:
        start = done % (len(texts) - size + 1)
        encoder.encode(texts[start : start + size])
        done += size
    return done / (time.perf_counter() - started)


def _measure(server: RunningServer, load: Load) -> dict[str, Any]:
    with connected(load) as begin, HealthProbe(server.url) as probe, Usage(server.pid) as usage:
        outcome = begin()
    if outcome.failed or not outcome.seconds:
        raise UnavailableError(
            f"{outcome.failed} of {outcome.failed + len(outcome.seconds)} {load.call} calls of {load.clients} clients "
            f"failed: {outcome.first_failure}"
        )
    return {
        "calls": len(outcome.seconds),
        "per_second": round(len(outcome.seconds) / outcome.wall_seconds, 2),
        "latency_ms": latency_ms(outcome.seconds),
        "health_ms": latency_ms(probe.seconds),
        "health_failed": probe.failed,
        **usage.report,
    }


def _fill(server: RunningServer, user_ids: list[str], texts: list[str]) -> None:
    from maas.client import MaasClient

    with MaasClient(server.url, api_key=server.key, timeout=120.0) as client:
        for number, user_id in enumerate(user_ids):
            own = texts[number :: len(user_ids)]
            client.store_batch([{"user_id": user_id, "text": text} for text in own])


class HealthProbe:
    """Asks ``/healthz`` fifty times a second on one connection; ``seconds`` are its answers' latencies."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._ask)
        self.seconds: list[float] = []
        self.failed = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _ask(self) -> None:
        import httpx2

        with httpx2.Client(base_url=self._url, timeout=10.0) as client:
            while not self._stop.wait(PROBE_EVERY_SECONDS):
                started = time.perf_counter()
                try:
                    client.get("/healthz").raise_for_status()
                    self.seconds.append(time.perf_counter() - started)
                except httpx2.HTTPError:
                    self.failed += 1
