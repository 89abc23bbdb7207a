"""Kill the primary of a Patroni cluster while clients write through two API servers: ``make test-cluster``."""

from __future__ import annotations

import argparse
import json
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2

from maas.bench.measure import machine
from maas.bench.replicas import KEY, process_context, replicas
from maas.bench.writers import Writer, compare
from maas.client import MaasClient
from maas.errors import MaasError
from maas.settings import Settings, StorageSettings
from tests.cluster.nodes import LOOP_WAIT, RETRY_TIMEOUT, TTL, Cluster, Loss, running_cluster, wait_for

WRITERS = 6
FIRST_WRITE_SECONDS = 120.0
MUST_BE_ZERO = ("lost", "twice", "not_asked_for", "not_recalled", "sdk_errors", "other_answers", "no_retry_after")


@dataclass
class Client:
    """Writes by the SDK as it comes, which sends again by itself; knows when each write was begun and acknowledged."""

    writer: Writer
    url: str
    began: list[float] = field(default_factory=list)
    ended: list[float] = field(default_factory=list)

    def work(self, stop: threading.Event) -> None:
        with MaasClient(self.url, api_key=KEY) as client:
            while not stop.is_set():
                began = time.monotonic()
                try:
                    self.writer.step(client)
                except MaasError as error:
                    self.writer.unexpected.append(f"{error.code}: {error.detail}")
                    continue
                self.began.append(began)
                self.ended.append(time.monotonic())

    def first_after(self, moment: float) -> float | None:
        """When the first write that was begun after ``moment`` was acknowledged."""
        return min((end for begin, end in zip(self.began, self.ended, strict=False) if begin > moment), default=None)


@dataclass
class Probe:
    """Asks without ever sending again: what a bare client sees."""

    url: str
    statuses: Counter[int] = field(default_factory=Counter)
    no_retry_after: int = 0
    others: list[str] = field(default_factory=list)

    def work(self, stop: threading.Event) -> None:
        with httpx2.Client(base_url=self.url, headers={"Authorization": f"Bearer {KEY}"}, timeout=60) as http:
            while not stop.wait(0.05):
                answer = http.post("/v1/recall", json={"user_id": "user-0", "query": "amber note", "top_k": 1})
                self.statuses[answer.status_code] += 1
                if answer.status_code == 503:
                    self.no_retry_after += "retry-after" not in answer.headers
                elif answer.status_code != 200:
                    self.others.append(answer.text[:300])


@contextmanager
def working(clients: list[Client], probes: list[Probe]) -> Iterator[None]:
    stop = threading.Event()
    threads = [threading.Thread(target=each.work, args=(stop,)) for each in [*clients, *probes]]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def kill_primary(cluster: Cluster, loss: Loss, clients: list[Client]) -> dict[str, Any]:
    """Lose the primary while all write; back to three nodes at the end."""
    say(f"killing the primary ({loss})")
    written = [len(client.ended) for client in clients]
    grown = lambda: all(len(c.ended) > n for c, n in zip(clients, written, strict=True))  # noqa: E731
    wait_for(grown, FIRST_WRITE_SECONDS, lambda: "the clients do not write")
    lost = cluster.leader()
    moment = time.monotonic()
    lost.kill(loss)
    first = lambda: all(client.first_after(moment) is not None for client in clients)  # noqa: E731
    wait_for(first, FIRST_WRITE_SECONDS, lambda: f"no write in {FIRST_WRITE_SECONDS} s after {lost.name} was killed")
    waits = [end - moment for client in clients if (end := client.first_after(moment)) is not None]
    if loss == "node":
        cluster.start_node(lost)
    whole = cluster.wait_until_whole()
    found = {
        "killed": loss,
        "first_write_seconds": round(min(waits), 2),
        "every_client_writes_seconds": round(max(waits), 2),
        "three_nodes_again_seconds": round(whole, 1),
    }
    say(json.dumps(found))
    return found


def run(folder: Path, cache: Path, kills: int) -> dict[str, Any]:
    (folder / "cluster").mkdir()
    say("starting etcd and three nodes of PostgreSQL under Patroni")
    with running_cluster(folder / "cluster", cache) as cluster:
        storage = StorageSettings(url=cluster.url)
        settings = Settings(data_dir=folder / "data", storage=storage)
        with replicas(process_context(), settings) as (urls, _):
            clients = [Client(Writer(number), urls[number % len(urls)]) for number in range(WRITERS)]
            probes = [Probe(url) for url in urls]
            with working(clients, probes):
                rounds = [kill_primary(cluster, ("postgres", "node")[n % 2], clients) for n in range(kills)]
            counts = compare(urls[0], KEY, [write for client in clients for write in client.writer.done])
    errors = [text for client in clients for text in client.writer.unexpected]
    others = [text for probe in probes for text in probe.others]
    statuses = sum((probe.statuses for probe in probes), Counter())
    return {
        "machine": machine(),
        "patroni": {"ttl": TTL, "loop_wait": LOOP_WAIT, "retry_timeout": RETRY_TIMEOUT, "synchronous_mode": True},
        "kills": rounds,
        **counts,
        "sdk_errors": len(errors),
        "answers_to_a_bare_client": {str(status): number for status, number in sorted(statuses.items())},
        "other_answers": len(others),
        "no_retry_after": sum(probe.no_retry_after for probe in probes),
        "first_fault": next(iter(errors + others), None),
    }


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.cluster", description=__doc__)
    parser.add_argument("--kills", type=int, default=4, help="by turns of PostgreSQL alone and of the whole node")
    parser.add_argument("--out", type=Path, default=Path("build/cluster.json"), help="where the figures go, as JSON")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))  # and everything it has started with it
    cache = arguments.out.parent.absolute()
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="maas-cluster-") as folder:
        Path(folder).chmod(0o755)
        report = run(Path(folder), cache, arguments.kills)
    arguments.out.write_text(json.dumps(report, indent=2) + "\n")
    print(json.dumps(report, indent=2))
    wrong = [name for name in MUST_BE_ZERO if report[name]]
    if wrong or not report["acknowledged"]:
        sys.exit(f"not as promised: {', '.join(wrong) or 'nothing was acknowledged'}")


if __name__ == "__main__":
    main()
