"""Kills a real server at random moments while clients write, and looks whether anything acknowledged was lost.

Each round starts two server processes on one data folder, lets clients write through both under Idempotency-Keys,
and kills them with SIGKILL at a random moment. Requests without an answer are sent again in the next round under the
same key. After every kill the database is looked over by the doctor's checks, and after the last one every
acknowledged write must be there exactly once and be recalled in every mode.
"""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from maas.bench.embedder import WordSumEmbedder
from maas.bench.replicas import KEY, START_SECONDS, process_context, replicas
from maas.bench.writers import Writer, compare
from maas.client import MaasClient
from maas.doctor.examine import examine
from maas.errors import MaasError, StorageError
from maas.settings import Settings


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


def bench_faults(
    settings: Settings, folder: Path, sizes: FaultSizes, on_progress: Callable[[str, int, int], None]
) -> dict[str, Any]:
    """Kill ``sizes.kills`` times on a fresh ``folder``.

    Returns:
        ``{"faults": {…}}``: counts of kills, writes, retries, and of everything that must be 0.

    Raises:
        StorageError: a server did not start again, or did not answer.
    """
    here = settings.model_copy(update={"data_dir": folder})
    chance = random.Random(sizes.seed)  # noqa: S311 - when to kill, nothing secret
    writers = [Writer(number) for number in range(sizes.writers)]
    unhealthy: list[str] = []
    context = process_context()
    started = time.perf_counter()
    for kill in range(sizes.kills):
        with replicas(context, here) as (urls, processes):
            _write_until(writers, urls, chance.uniform(0, sizes.seconds), processes)
        report = examine(here, WordSumEmbedder(), lambda: datetime.now(UTC))
        unhealthy += [f"kill {kill}: {f.check}: {f.detail}" for f in report.findings if f.severity == "fault"]
        on_progress("kills", kill + 1, sizes.kills)
    with replicas(context, here) as (urls, _):
        for writer in writers:  # what was cut off is sent once more, and must act once
            if writer.open is not None:
                with MaasClient(urls[0], api_key=KEY) as client:
                    writer.step(client)
        counts = compare(urls[-1], KEY, [write for writer in writers for write in writer.done])
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


def _write_until(writers: list[Writer], urls: list[str], seconds: float, processes: list[BaseProcess]) -> None:
    """Let all write for ``seconds``, then kill the servers in the middle of it."""
    stop, heard = threading.Event(), threading.Barrier(len(writers) + 1)
    threads = [
        threading.Thread(target=_work, args=(writer, urls[writer.number % len(urls)], stop, heard))
        for writer in writers
    ]
    for thread in threads:
        thread.start()
    try:
        heard.wait(START_SECONDS)
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


def _work(writer: Writer, url: str, stop: threading.Event, heard: threading.Barrier) -> None:
    """Write until ``stop``; the first answer is waited for by all, so that a kill always meets writing clients."""
    waiting = True
    with MaasClient(url, api_key=KEY, retries=0) as client:
        while not stop.is_set():
            try:
                writer.step(client)
            except MaasError as error:
                if error.code not in ("transport", "unavailable", "overloaded", "not_ready"):
                    writer.unexpected.append(f"{error.code}: {error.detail}")
                if waiting:
                    heard.abort()
                return
            if waiting:
                heard.wait(START_SECONDS)
                waiting = False
