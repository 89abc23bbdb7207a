"""A real server in a process of its own, on a free loopback port, for as long as a measurement takes."""

from __future__ import annotations

import os
import re
import secrets
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from maas.errors import NotReadyError

START_SECONDS = 120.0
STOP_SECONDS = 30.0
_LISTENING = re.compile(r"listening on (http://\S+)")


@dataclass(frozen=True, slots=True)
class RunningServer:
    url: str
    key: str
    pid: int


@contextmanager
def running_server(
    data_dir: Path,
    config: Path | None = None,
    *,
    core: int | None = None,
    log: str = "server.log",
    more: Mapping[str, str] | None = None,
) -> Iterator[RunningServer]:
    """Start ``maas serve`` on ``data_dir``, give its address and an admin key, stop it at the end.

    Args:
        core: the only one it may use, with one thread of the encoder's.
        log: name of its log in ``data_dir``.

    Raises:
        NotReadyError: it ended or stayed silent; the message carries the last lines it wrote.
    """
    key = f"maas_bench_{secrets.token_hex(20)}"
    command = [sys.executable, "-m", "maas", "serve", "--port", "0", "--data-dir", str(data_dir)]
    if config is not None:
        command += ["--config", str(config)]
    environment = {**os.environ, "MAAS_BOOTSTRAP_KEY": key, "MAAS_LOG__LEVEL": "warning", **(more or {})}
    if core is not None:
        environment["OMP_NUM_THREADS"] = "1"
    log_path = data_dir / log
    with log_path.open("wb") as log_file:
        process = subprocess.Popen(  # noqa: S603 - our own program
            command, stdout=subprocess.PIPE, stderr=log_file, stdin=subprocess.DEVNULL, env=environment, text=True
        )
        try:
            if core is not None:
                os.sched_setaffinity(process.pid, {core})  # before it has threads, which inherit it
            assert process.stdout is not None
            url = _wait_for_address(process.stdout, process)
            if url is None:
                raise NotReadyError(f"the server did not start: {_last_lines(log_path)}")
            yield RunningServer(url, key, process.pid)
        finally:
            process.terminate()
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            if process.stdout is not None:
                process.stdout.close()


def _wait_for_address(output: IO[str], process: subprocess.Popen[str]) -> str | None:
    # Reading blocks; the timer ends the process, and with it the reading.
    timer = threading.Timer(START_SECONDS, process.kill)
    timer.start()
    try:
        for line in output:
            if found := _LISTENING.search(line):
                return found[1]
        return None
    finally:
        timer.cancel()


def _last_lines(path: Path) -> str:
    lines = path.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return " | ".join(lines[-3:]) or "it said nothing"
