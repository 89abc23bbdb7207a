"""Clients of a server, all at once, in a process apart from whoever watches the server's health.

Run as ``python -m maas.bench.load``: reads a :class:`Load` as a line of JSON, answers ``ready`` once its clients are
connected, begins at the next line it reads, and answers with a :class:`LoadOutcome` as a line of JSON.
"""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict

from maas.errors import MaasError, UnavailableError

if TYPE_CHECKING:
    from maas.client import MaasClient

SLACK_SECONDS = 120.0
FAILED = "failed: "
FLOOD = 200  # texts a request


class Load(BaseModel):
    """``clients`` threads, each with a connection of its own, repeat one call for ``seconds``.

    ``mixed`` is three recalls after each store; ``flood`` stores batches that are more than the server can queue. With
    these two a refusal that says when to come back is counted as ``shed``, and waited for, rather than as a failure.
    """

    model_config = ConfigDict(extra="forbid")

    url: str
    key: str
    call: Literal["store", "recall", "mixed", "flood"]
    clients: int
    seconds: float
    user_ids: list[str]
    texts: list[str]


class LoadOutcome(BaseModel):
    """``seconds`` of each call that was answered, and how many were not."""

    wall_seconds: float
    seconds: list[float]
    failed: int
    shed: int = 0
    first_failure: str | None = None


@contextmanager
def connected(load: Load) -> Iterator[Callable[[], LoadOutcome]]:
    """Clients in a process of their own, connected and waiting; call what is given to let them begin.

    Raises:
        UnavailableError: the clients' process failed.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", "maas.bench.load"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin is not None
    assert process.stdout is not None
    timer = threading.Timer(load.seconds + SLACK_SECONDS, process.kill)
    timer.start()
    try:
        _line(process, load.model_dump_json())
        yield lambda: LoadOutcome.model_validate_json(_line(process, "go"))
    finally:
        timer.cancel()
        process.stdin.close()
        process.stdout.close()
        process.terminate()
        process.wait()


def _line(process: subprocess.Popen[str], said: str) -> str:
    """Say a line to the clients' process, and give the one it answers with."""
    assert process.stdin is not None
    assert process.stdout is not None
    with suppress(BrokenPipeError):
        process.stdin.write(said + "\n")
        process.stdin.flush()
    answer = process.stdout.readline()
    if not answer:
        raise UnavailableError(f"the load's clients ended with exit code {process.wait()}; their words are above")
    if answer.startswith(FAILED):
        raise UnavailableError(answer.removeprefix(FAILED).strip())
    return answer


class _Clients:
    def __init__(self, load: Load) -> None:
        self._load = load
        self._start = threading.Barrier(load.clients + 1, action=self._begin)
        self._connected = threading.Semaphore(0)
        self._lock = threading.Lock()
        self._seconds: list[float] = []
        self._failures: list[str] = []
        self._shed = 0
        self._unconnected: list[str] = []
        self._started = self._deadline = 0.0

    def run(self) -> LoadOutcome:
        """Connect, say so, wait for a line, work."""
        threads = [threading.Thread(target=self._work, args=(number,)) for number in range(self._load.clients)]
        for thread in threads:
            thread.start()
        for _ in threads:
            self._connected.acquire()
        if self._unconnected:
            self._start.abort()
            raise UnavailableError(f"{len(self._unconnected)} clients could not connect: {self._unconnected[0]}")
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        sys.stdin.readline()
        self._start.wait()
        for thread in threads:
            thread.join()
        return LoadOutcome(
            wall_seconds=time.perf_counter() - self._started,
            seconds=self._seconds,
            failed=len(self._failures),
            shed=self._shed,
            first_failure=next(iter(self._failures), None),
        )

    def _begin(self) -> None:
        """Runs once all clients are connected and waiting."""
        self._started = time.perf_counter()
        self._deadline = self._started + self._load.seconds

    def _work(self, number: int) -> None:
        from maas.client import MaasClient
        from maas.client._base import DEFAULT_RETRIES, DEFAULT_TIMEOUT

        load, took, failures, shed = self._load, [], [], 0
        bounded = load.call in ("mixed", "flood")
        texts = load.texts[number :: load.clients]
        user_id = load.user_ids[number % len(load.user_ids)]
        with MaasClient(
            load.url,
            api_key=load.key,
            timeout=120.0 if bounded else DEFAULT_TIMEOUT,
            retries=0 if bounded else DEFAULT_RETRIES,
        ) as client:
            try:
                client.ready()
            except MaasError as error:
                self._unconnected.append(error.detail)
            self._connected.release()
            try:
                self._start.wait()
            except threading.BrokenBarrierError:
                return
            turn = 0
            while turn == 0 or time.perf_counter() < self._deadline:
                started = time.perf_counter()
                try:
                    _ask(client, load.call, texts[turn % len(texts)], user_id, f"({number}.{turn})", turn)
                    took.append(time.perf_counter() - started)
                except MaasError as error:
                    if bounded and error.status in (429, 503) and error.retry_after:
                        shed += 1
                        time.sleep(min(error.retry_after, 1.0))
                    else:
                        failures.append(f"{error.code}: {error.detail}")
                turn += 1
        with self._lock:
            self._seconds += took
            self._failures += failures
            self._shed += shed


def _ask(client: MaasClient, call: str, text: str, user_id: str, mark: str, turn: int) -> None:
    """``mark`` tells texts apart, so that one met again is not recognised as already stored."""
    if call == "recall" or (call == "mixed" and turn % 4):
        client.recall(text, user_id=user_id)
    elif call == "flood":
        client.store_batch([{"user_id": user_id, "text": f"{text} {mark} {n}"} for n in range(FLOOD)])
    else:
        client.store(f"{text} {mark}", user_id=user_id)


def _serve_pipe() -> None:
    try:
        outcome = _Clients(Load.model_validate_json(sys.stdin.readline())).run()
    except MaasError as error:
        sys.stdout.write(f"{FAILED}{error.detail}\n")
        return
    sys.stdout.write(outcome.model_dump_json() + "\n")


if __name__ == "__main__":
    _serve_pipe()
