"""Kills a real server at random moments while clients write, and looks whether anything acknowledged was lost.

Each round starts two server processes on one data folder, lets clients write through both under Idempotency-Keys,
and kills them with SIGKILL at a random moment. Requests without an answer are sent again in the next round under the
same key. After every kill the database is looked over by the doctor's checks, and after the last one every
acknowledged write must be there exactly once and be recalled in every mode.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from maas.bench.embedder import WordSumEmbedder
from maas.client import MaasClient
from maas.doctor.examine import examine
from maas.errors import MaasError, StorageError
from maas.settings import Settings

KEY = "maas_faults_0123456789abcdef0123456789abcdef"
SERVERS = 2
_START_SECONDS = 120.0
_WORDS = ("amber", "birch", "cedar", "delta", "ember", "fjord", "grove", "heron", "inlet", "jetty", "knoll", "lagoon")


class FaultSizes(BaseModel):
    """``kills`` of both servers, each after 0 to ``seconds`` of ``writers`` writing."""

    model_config = ConfigDict(extra="forbid")

    kills: int = 200
    writers: int = 6
    seconds: float = 1.0
    seed: int = 0

    @classmethod
    def quick(cls) -> FaultSizes:
        return cls(kills=10, writers=4, seconds=0.4)


@dataclass
class _Write:
    """One request and what became of it."""

    idempotency_key: str
    user_id: str
    texts: list[str]
    ids: list[str] | None = None


@dataclass
class _Writer:
    """One client's writes: what was acknowledged, and the one that may or may not have happened."""

    number: int
    done: list[_Write] = field(default_factory=list)
    open: _Write | None = None
    retried: int = 0
    unexpected: list[str] = field(default_factory=list)

    def work(self, url: str, stop: threading.Event, heard: threading.Barrier) -> None:
        """Write until ``stop``; the first answer is waited for by all, so that a kill always meets writing clients."""
        waiting = True
        with MaasClient(url, api_key=KEY, retries=0) as client:
            while not stop.is_set():
                write = self.open or self._next()
                self.retried += write is self.open
                self.open = write
                try:
                    write.ids = self.send(client, write)
                except MaasError as error:
                    if error.code not in ("transport", "unavailable", "overloaded", "not_ready"):
                        self.unexpected.append(f"{error.code}: {error.detail}")
                    if waiting:
                        heard.abort()
                    return
                self.done.append(write)
                self.open = None
                if waiting:
                    heard.wait(_START_SECONDS)
                    waiting = False

    def _next(self) -> _Write:
        turn = len(self.done)
        count = 5 if turn % 4 == 3 else 1
        mark = f"{self.number}n{turn}"
        texts = [f"{_WORDS[(turn + i) % len(_WORDS)]} note w{mark}i{i}" for i in range(count)]
        return _Write(f"w{mark}", f"user-{self.number % 3}", texts)

    def send(self, client: MaasClient, write: _Write) -> list[str]:
        items = [{"user_id": write.user_id, "text": text, "dedupe": "off"} for text in write.texts]
        if len(items) == 1:
            answer = client.store(**items[0], idempotency_key=write.idempotency_key)  # type: ignore[arg-type]
        else:
            answer = client.store_batch(items, idempotency_key=write.idempotency_key)
        return [result.id for result in answer.results]


def bench_faults(
    settings: Settings, folder: Path, sizes: FaultSizes, on_progress: Callable[[str, int, int], None]
) -> dict[str, Any]:
    """Kill ``sizes.kills`` times on a fresh ``folder``.

    Returns:
        ``{"faults": {…}}``: counts of kills, writes, retries, and of everything that must be 0.

    Raises:
        StorageError: a server did not start again, or did not answer.
    """
    here = settings.model_copy(update={"data_dir": folder, "bootstrap_key": KEY})
    chance = random.Random(sizes.seed)  # noqa: S311 - when to kill, nothing secret
    writers = [_Writer(number) for number in range(sizes.writers)]
    unhealthy: list[str] = []
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["maas.bench.faults", "maas.api.server", "faiss"])
    started = time.perf_counter()
    for kill in range(sizes.kills):
        with _servers(context, here) as (urls, processes):
            _write_until(writers, urls, chance.uniform(0, sizes.seconds), processes)
        report = examine(here, WordSumEmbedder(), lambda: datetime.now(UTC))
        unhealthy += [f"kill {kill}: {f.check}: {f.detail}" for f in report.findings if f.severity == "fault"]
        on_progress("kills", kill + 1, sizes.kills)
    with _servers(context, here) as (urls, _):
        for writer in writers:  # what was cut off is sent once more, and must act once
            if writer.open is not None:
                with MaasClient(urls[0], api_key=KEY) as client:
                    writer.open.ids = writer.send(client, writer.open)
                writer.retried += 1
                writer.done.append(writer.open)
        counts = _compare(urls, [write for writer in writers for write in writer.done])
    unexpected = [text for writer in writers for text in writer.unexpected]
    return {
        "faults": {
            "kills": sizes.kills,
            "durability": settings.storage.durability,
            "seconds": round(time.perf_counter() - started, 1),
            "retried": sum(writer.retried for writer in writers),
            **counts,
            "unexpected_errors": len(unexpected),
            "unhealthy_after_a_kill": len(unhealthy),
            "first_fault": next(iter(unhealthy + unexpected), None),
        }
    }


def _compare(urls: list[str], writes: list[_Write]) -> dict[str, int]:
    """Everything acknowledged against everything there."""
    expected = {i: (w.user_id, t) for w in writes for i, t in zip(w.ids or (), w.texts, strict=True)}
    there: dict[str, tuple[str, str]] = {}
    listed = unrecalled = 0
    with MaasClient(urls[-1], api_key=KEY) as client:
        for user_id in sorted({write.user_id for write in writes}):
            cursor = None
            while True:
                page = client.list(user_id=user_id, limit=1000, cursor=cursor)
                there |= {memory.id: (user_id, memory.text) for memory in page.results}
                listed += len(page.results)
                cursor = page.next_cursor
                if cursor is None:
                    break
        sampled = list(expected.items())[-200:]
        for memory_id, (user_id, text) in sampled:
            for mode in ("hybrid", "dense", "lexical"):
                hits = client.recall(text, user_id=user_id, mode=mode, top_k=5).results
                unrecalled += memory_id not in {hit.id for hit in hits}
    return {
        "acknowledged": len(expected),
        "lost": sum(there.get(memory_id) != kept for memory_id, kept in expected.items()),
        "twice": listed - len({text for _, text in there.values()}),
        "not_asked_for": len(there.keys() - expected.keys()),
        "recalls": 3 * len(sampled),
        "not_recalled": unrecalled,
    }


def _write_until(writers: list[_Writer], urls: list[str], seconds: float, processes: list[BaseProcess]) -> None:
    """Let all write for ``seconds``, then kill the servers in the middle of it."""
    stop, heard = threading.Event(), threading.Barrier(len(writers) + 1)
    threads = [
        threading.Thread(target=writer.work, args=(urls[writer.number % len(urls)], stop, heard)) for writer in writers
    ]
    for thread in threads:
        thread.start()
    try:
        heard.wait(_START_SECONDS)
    except threading.BrokenBarrierError:
        stop.set()
        raise StorageError("a server answered no first write; its log on stderr says why") from None
    time.sleep(seconds)
    for process in processes:
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
    stop.set()
    for thread in threads:
        thread.join()


@contextmanager
def _servers(
    context: multiprocessing.context.ForkServerContext, settings: Settings
) -> Iterator[tuple[list[str], list[BaseProcess]]]:
    """Servers on one folder, ready to answer. At the end they are killed, if they are not yet."""
    processes: list[BaseProcess] = []
    urls = []
    try:
        for _ in range(SERVERS):
            with socket.create_server(("127.0.0.1", 0)) as listener:
                urls.append(f"http://127.0.0.1:{listener.getsockname()[1]}")
                processes.append(context.Process(target=_serve, args=(settings, listener), daemon=True))
                processes[-1].start()
        for url in urls:
            _wait_until_ready(url)
        yield urls, processes
    finally:
        for process in processes:
            process.kill()
            process.join()


def _wait_until_ready(url: str) -> None:
    deadline = time.monotonic() + _START_SECONDS
    with MaasClient(url, api_key=KEY, retries=0) as client:
        while True:
            try:
                client.ready()
            except MaasError as error:
                if time.monotonic() > deadline:
                    raise StorageError(f"a server did not start again: {error.detail}") from error
                time.sleep(0.02)
            else:
                return


def _serve(settings: Settings, listener: socket.socket) -> None:
    """A server process: all of maas but the model, whose loading would take longer than all the rest."""
    import uvicorn

    from maas.api.app import create_app
    from maas.api.logs import configure_logs
    from maas.brain import PersonalMemoryBrain

    configure_logs(settings.log.model_copy(update={"level": "error"}))
    with PersonalMemoryBrain(settings, embedder=WordSumEmbedder()) as brain:
        brain.ensure_bootstrap_key()
        app = create_app(settings, brain=brain)
        uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False)).run(sockets=[listener])
