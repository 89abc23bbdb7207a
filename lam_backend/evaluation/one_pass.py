"""One pass over a long text in a process of its own, which prints its seconds and memory as JSON.

``python -m lam_backend.evaluation.one_pass`` is started by the scaling part, once for each length: memory that one
length left with the allocator is never counted for another.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil
import torch

from lam_backend.evaluation.long_texts import token_pieces
from lam_backend.model import DeltaNet6Layer
from lam_backend.packaging.lam_runtime import LAMEncoder
from lam_backend.tokenizer import Tokenizer

WARM_UP_TOKENS = 32
ALLOCATOR = {"MALLOC_ARENA_MAX": "1", "MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
"""glibc settings of a process whose memory is measured: freed memory goes back to the system at once, so that the
resident set is what is in use. It costs time, which is therefore measured in another process."""


def release_free_memory() -> None:
    """Give what the allocator holds free back to the system, where the C library can (glibc)."""
    gc.collect()
    if sys.platform == "linux" and hasattr(library := ctypes.CDLL(None), "malloc_trim"):
        library.malloc_trim(0)


class MemoryPeak:
    """Highest resident set while the block runs, in bytes above its start.

    Linux keeps the peak itself (VmHWM, set back to the present at the start); elsewhere it is sampled every two
    milliseconds, which can miss short peaks.
    """

    def __init__(self) -> None:
        self._process = psutil.Process()
        self._exact = False
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.start = self._peak = 0

    @property
    def above(self) -> int:
        return self._peak - self.start

    def __enter__(self) -> Self:
        release_free_memory()
        self.start = self._peak = self._resident()
        self._exact = _forget_peak()
        if not self._exact:
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._exact:
            self._peak = max(self._peak, _kept_peak())
            return
        self._done.set()
        self._thread.join()
        self._peak = max(self._peak, self._resident())

    def _watch(self) -> None:
        while not self._done.wait(0.002):
            self._peak = max(self._peak, self._resident())

    def _resident(self) -> int:
        return int(self._process.memory_info().rss)


def _forget_peak() -> bool:
    """Set the kernel's peak of this process back to its present resident set; False where it cannot be done."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
        return _kept_peak() > 0
    except OSError:
        return False


def _kept_peak() -> int:
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM:"):
            return 1024 * int(line.split()[1])
    return 0


def measure_memory(read: Callable[[], object]) -> dict[str, Any]:
    """Highest bytes above the loaded model during one call."""
    with MemoryPeak() as peak:
        read()
    return {"peak_bytes": peak.above, "resident_before": peak.start}


def measure_time(read: Callable[[], object], repeats: int) -> dict[str, Any]:
    """Wall-clock and processor seconds (all threads) of the fastest of ``repeats`` calls."""
    found = []
    for _ in range(repeats):
        wall, processor = time.perf_counter(), time.process_time()
        read()
        found.append((time.perf_counter() - wall, time.process_time() - processor))
    return {"seconds": min(wall for wall, _ in found), "cpu_seconds": min(processor for _, processor in found)}


def load_whole(module: torch.nn.Module) -> None:
    """Touch every weight: a safetensors file is mapped, and a word's page becomes resident when it is first read."""
    for tensor in (*module.parameters(), *module.buffers()):
        tensor.detach().double().sum()


def lam_pass(
    model: DeltaNet6Layer | LAMEncoder, tokenizer: Tokenizer, paths: list[Path], tokens: int
) -> Callable[[], object]:
    """Read ``tokens`` tokens through a stream and ask for the vector; [CLS] and [SEP] are among them."""

    def read() -> object:
        stream = model.stream()
        for ids in token_pieces(tokenizer, paths, tokens - 2):
            stream.append_ids(ids)
        return stream.vector

    return read


def teacher_pass(base: Path, tokenizer: Tokenizer, paths: list[Path], tokens: int) -> Callable[[], object]:
    """The base with its softmax attention over one text; it has no positions beyond 512."""
    from lam_backend.training.teacher import Teacher

    teacher = Teacher(base)
    load_whole(teacher.bert)

    def read() -> object:
        ids = [i for piece in token_pieces(tokenizer, paths, tokens - 2) for i in piece]
        row = torch.tensor([tokenizer.wrapped(ids)])
        return teacher.embed(row, torch.ones_like(row, dtype=torch.bool))

    return read


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m lam_backend.evaluation.one_pass", description=__doc__)
    parser.add_argument("--text", type=Path, nargs="+", required=True)
    parser.add_argument("--tokens", type=int, required=True)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--memory", action="store_true", help="measure memory instead of time")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--base", type=Path)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--teacher", action="store_true", help="measure the base itself instead of LAM")
    parser.add_argument("--bundle", type=Path, help="measure the packaged encoder of this folder")
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    if chosen.teacher:
        from lam_backend.base import packaged_base

        base = chosen.base or packaged_base()
        tokenizer = Tokenizer(base)
        teacher_pass(base, tokenizer, chosen.text, WARM_UP_TOKENS)()
        read = teacher_pass(base, tokenizer, chosen.text, chosen.tokens)
    else:
        model: DeltaNet6Layer | LAMEncoder
        if chosen.bundle:
            model, tokenizer = LAMEncoder(chosen.bundle, threads=chosen.threads), Tokenizer(chosen.bundle)
        else:
            model = DeltaNet6Layer(chosen.base, chosen.model)
            tokenizer = model.tokenizer
            load_whole(model)
        lam_pass(model, tokenizer, chosen.text, WARM_UP_TOKENS)()
        read = lam_pass(model, tokenizer, chosen.text, chosen.tokens)
    found = measure_memory(read) if chosen.memory else measure_time(read, chosen.repeats)
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
