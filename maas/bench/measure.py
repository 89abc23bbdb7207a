"""Clocks and gauges: latencies, the encoder's share of them, processor and memory use."""

from __future__ import annotations

import os
import platform
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np

from maas.embedders.protocol import Embedder, Vectors

POINTS = (50, 95, 99)


def latency_ms(seconds: Sequence[float]) -> dict[str, float]:
    """``p50``, ``p95``, ``p99`` and ``mean`` in milliseconds."""
    if not len(seconds):
        return {**{f"p{point}": 0.0 for point in POINTS}, "mean": 0.0}
    values = np.percentile(seconds, POINTS) * 1000
    named = {f"p{point}": round(float(value), 3) for point, value in zip(POINTS, values, strict=True)}
    return {**named, "mean": round(float(np.mean(seconds)) * 1000, 3)}


class EncodeMeter:
    """Passes texts on to ``inner`` and adds up the time they take."""

    def __init__(self, inner: Embedder) -> None:
        self.inner = inner
        self.seconds = 0.0
        self._lock = threading.Lock()

    @property
    def name(self) -> str:
        return self.inner.name

    @property
    def dim(self) -> int:
        return self.inner.dim

    @property
    def fingerprint(self) -> str:
        return self.inner.fingerprint

    def encode(self, texts: Sequence[str]) -> Vectors:
        started = time.perf_counter()
        vectors = self.inner.encode(texts)
        with self._lock:
            self.seconds += time.perf_counter() - started
        return vectors

    def close(self) -> None:
        self.inner.close()


@dataclass(slots=True)
class Samples:
    """Calls of one kind: the whole time of each, and what the encoder took of it, in seconds."""

    meter: EncodeMeter
    total: list[float] = field(default_factory=list)
    encode: list[float] = field(default_factory=list)

    def time(self, call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Make one call, keep its times, return what it returned."""
        encoded = self.meter.seconds
        started = time.perf_counter()
        result = call(*args, **kwargs)
        self.total.append(time.perf_counter() - started)
        self.encode.append(self.meter.seconds - encoded)
        return result

    def report(self, items: int | None = None) -> dict[str, Any]:
        """Latencies of the calls, of the encoder in them, and of the rest; ``items`` over all gives the throughput."""
        overhead = [whole - part for whole, part in zip(self.total, self.encode, strict=True)]
        spent = sum(self.total)
        return {
            "calls": len(self.total),
            "items": items if items is not None else len(self.total),
            "latency_ms": latency_ms(self.total),
            "encode_ms": latency_ms(self.encode),
            "overhead_ms": latency_ms(overhead),
            "per_second": round((items if items is not None else len(self.total)) / spent, 2) if spent else 0.0,
        }


class Usage:
    """Processor time and memory of a process between entering and leaving.

    ``cpu_percent`` is of one core; ``rss_mb`` is what it held at the end, in MB of 10⁶ bytes.
    """

    def __init__(self, pid: int | None = None) -> None:
        import psutil

        self._process = psutil.Process(pid)
        self.report: dict[str, float] = {}

    def __enter__(self) -> Self:
        self._started = time.perf_counter()
        self._cpu = self._cpu_seconds()
        return self

    def __exit__(self, *_: object) -> None:
        wall = time.perf_counter() - self._started
        cpu = self._cpu_seconds() - self._cpu
        self.report = {
            "cpu_seconds": round(cpu, 3),
            "cpu_percent": round(100 * cpu / wall, 1) if wall else 0.0,
            "rss_mb": round(self._process.memory_info().rss / 1e6, 1),
        }

    def _cpu_seconds(self) -> float:
        times = self._process.cpu_times()
        return float(times.user + times.system)


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    import psutil

    model = platform.processor() or platform.machine()
    try:
        with Path("/proc/cpuinfo").open(encoding="utf-8") as file:
            model = next((line.split(":", 1)[1].strip() for line in file if line.startswith("model name")), model)
    except OSError:
        pass
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "threads": os.environ.get("OMP_NUM_THREADS", "default"),
        "load_before": round(os.getloadavg()[0], 2),
    }
