"""One library's process, spoken to in JSON lines."""

from __future__ import annotations

import json
import os
import subprocess
import threading
from pathlib import Path
from typing import Any, Self

from maas.errors import UnavailableError

WORKER = Path(__file__).with_name("worker.py")
ANSWER_SECONDS = 900.0
STOP_SECONDS = 30.0
# Nothing is reported home, nothing is fetched, and all tokenizers run alike.
ENVIRONMENT = {
    "ANONYMIZED_TELEMETRY": "False",
    "MEM0_TELEMETRY": "False",
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "TOKENIZERS_PARALLELISM": "false",
}


class PeerProcess:
    """A running worker. Use as a context manager.

    Args:
        name: one of the worker's libraries.
        python: the interpreter whose environment holds it.
        folder: where it may keep its data, its settings and its log.

    Raises:
        UnavailableError: it ended, or took too long; the message carries its last words.
    """

    def __init__(self, name: str, python: Path, folder: Path) -> None:
        self.name = name
        self._log_path = folder / "worker.log"
        self._log = self._log_path.open("wb")
        home = {"HOME": str(folder), "MEM0_DIR": str(folder / "mem0"), "PYTHONPATH": ""}
        if name == "maas":
            home["PYTHONPATH"] = str(WORKER.parents[3])
        self._process = subprocess.Popen(  # noqa: S603 - our own worker
            [str(python), "-P", str(WORKER), name, str(folder / "data")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env={**os.environ, **ENVIRONMENT, **home},
            text=True,
        )
        (folder / "data").mkdir(exist_ok=True)
        try:
            self.about = self._answer()
        except UnavailableError:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def ask(self, do: str, texts: list[str]) -> dict[str, Any]:
        """One request and its answer, as the worker's documentation has them."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps({"do": do, "texts": texts}) + "\n")
            self._process.stdin.flush()
        except OSError:
            raise UnavailableError(f"{self.name} ended: {self._last_words()}") from None
        return self._answer()

    def close(self) -> None:
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._log.close()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        timer = threading.Timer(ANSWER_SECONDS, self._process.kill)
        timer.start()
        try:
            line = self._process.stdout.readline()
        finally:
            timer.cancel()
        if not line:
            self._process.wait(STOP_SECONDS)
            raise UnavailableError(f"{self.name} ended: {self._last_words()}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _last_words(self) -> str:
        lines = self._log_path.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return " | ".join(lines[-3:]) or "it said nothing"
