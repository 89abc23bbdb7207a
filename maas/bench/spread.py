"""Whether two servers encode more than one: each on a core of its own, all on one store."""

from __future__ import annotations

import itertools
import os
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from maas.bench.corpus import generated_texts
from maas.bench.embedded import OnProgress
from maas.bench.measure import Usage
from maas.bench.server import RunningServer, running_server
from maas.client import MaasClient
from maas.errors import ConfigError

CLIENTS_OF_A_SERVER = 2


class SpreadSizes(BaseModel):
    """Clients store batches of ``batch`` for ``seconds``, after one each that nobody times; ``rounds`` times over."""

    model_config = ConfigDict(frozen=True)

    seconds: float = 20.0
    batch: int = 100
    rounds: int = 3

    @classmethod
    def quick(cls) -> SpreadSizes:
        """Just enough to see that it works; the figures mean nothing."""
        return cls(seconds=1.0, batch=20, rounds=1)


def bench_spread(
    folder: Path, config: Path | None, cores: list[int], sizes: SpreadSizes, report: OnProgress
) -> dict[str, Any]:
    """Store through one server, then through as many as there are ``cores``, by turns; the store is one throughout.

    Raises:
        ConfigError: cores that this machine does not have.
    """
    allowed = os.sched_getaffinity(0)
    if len(cores) < 2 or not set(cores) <= allowed:
        raise ConfigError(f"found cores {cores}; expected two or more of {sorted(allowed)}")
    with ExitStack() as stack:
        servers = [
            stack.enter_context(running_server(folder, config, core=core, log=f"server-{number}.log"))
            for number, core in enumerate(cores)
        ]
        return {"replicas": {"cores": cores, **one_beside_all(servers, sizes, report)}}


def one_beside_all(servers: list[RunningServer], sizes: SpreadSizes, report: OnProgress) -> dict[str, Any]:
    """Store through the first of the servers and through all of them by turns; ``ratio`` is that of the medians."""
    one: list[float] = []
    all_: list[float] = []
    shares: list[float] = []
    key = servers[0].key  # the store's first key, whichever server made it
    texts = generated_texts()
    for number in range(sizes.rounds):
        rate, share = _rate(servers[:1], key, texts, sizes)
        one.append(rate)
        shares.append(share)
        report("rounds", 2 * number + 1, 2 * sizes.rounds)
        all_.append(_rate(servers, key, texts, sizes)[0])
        report("rounds", 2 * number + 2, 2 * sizes.rounds)
    single, together = sorted(one)[len(one) // 2], sorted(all_)[len(all_) // 2]
    return {
        "batch": sizes.batch,
        "one_per_second": round(single, 1),
        "all_per_second": round(together, 1),
        "ratio": round(together / single, 2),
        "rounds": [round(second / first, 2) for first, second in zip(one, all_, strict=True)],
        "busy_share_of_one": round(sorted(shares)[len(shares) // 2], 2),
    }


def _rate(servers: list[RunningServer], key: str, texts: Any, sizes: SpreadSizes) -> tuple[float, float]:
    """Memories stored in a second, and what the first server used of its core."""
    lock, started = threading.Lock(), threading.Event()
    rates: list[float] = []
    clients = CLIENTS_OF_A_SERVER * len(servers)
    warm = threading.Barrier(clients + 1)
    deadline = 0.0
    failures: list[Exception] = []

    def batch(user_id: str) -> list[dict[str, str]]:
        with lock:
            return [{"user_id": user_id, "text": text} for text in itertools.islice(texts, sizes.batch)]

    def work(number: int) -> None:
        user_id = f"client-{number}"
        try:
            with MaasClient(servers[number % len(servers)].url, api_key=key, timeout=120) as client:
                client.store_batch(batch(user_id))
                warm.wait()
                started.wait()
                began, stored = time.perf_counter(), 0
                while not stored or time.perf_counter() < deadline:
                    client.store_batch(batch(user_id))
                    stored += sizes.batch
                rates.append(stored / (time.perf_counter() - began))
        except Exception as error:  # noqa: BLE001 - told by the thread that waits
            failures.append(error)
            warm.abort()

    threads = [threading.Thread(target=work, args=(number,), daemon=True) for number in range(clients)]
    for thread in threads:
        thread.start()
    try:
        warm.wait()
        with Usage(servers[0].pid) as usage:
            deadline = time.perf_counter() + sizes.seconds
            started.set()
            time.sleep(sizes.seconds)
    except threading.BrokenBarrierError:
        pass
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    return sum(rates), usage.report["cpu_percent"] / 100
