"""Part ``scaling``: seconds and memory of one pass, from 128 tokens to a million."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lam_backend.evaluation.bench import Bench
from lam_backend.evaluation.datasets import book_files
from lam_backend.evaluation.one_pass import ALLOCATOR
from lam_backend.evaluation.plots import Line, save_plot
from lam_backend.evaluation.report import Part, Table, number
from lam_backend.packaging.package_lam import DEFAULT_PRECISION, build_folder

LENGTHS = (128, 256, 512, 1024, 2048, 4096, 8192, 16_384, 32_768, 100_000, 262_144, 1_000_000)
QUICK_LENGTHS = (32, 128, 512)
LONGEST_BOOK = "anarchist_faq_long"
REPEATED_BELOW = 20_000


@dataclass(frozen=True, slots=True)
class Point:
    """One pass over ``tokens`` tokens; bytes are those above the loaded and warmed model."""

    tokens: int
    seconds: float
    cpu_seconds: float
    """Processor time of all threads; what else the machine does hardly moves it."""
    peak_bytes: int
    resident_before: int


@dataclass(frozen=True, slots=True)
class Fit:
    """Least squares of seconds over tokens: coefficients from the highest power down, and R²."""

    coefficients: list[float]
    r_squared: float

    def at(self, tokens: float) -> float:
        return float(np.polyval(self.coefficients, tokens))


def measure_scaling(bench: Bench, lengths: Sequence[int] | None = None, *, packaged: bool = False) -> Part:
    """Every length in a fresh process; linear and quadratic fits; the teacher up to its last position.

    Args:
        bench: the model and the data.
        lengths: tokens of each pass.
        packaged: measure the bundle made of the model, in onnxruntime, instead of the model in torch.
    """
    chosen = tuple(lengths) if lengths else (QUICK_LENGTHS if bench.quick else LENGTHS)
    texts = sorted(book_files(bench.data), key=lambda path: not path.name.startswith(LONGEST_BOOK))
    bundle = build_folder(bench.model, bench.out / "scaling-bundle") if packaged else None
    lam = [one_pass(bench, texts, tokens, bundle=bundle) for tokens in chosen]
    last = len(bench.model.embeddings.positions)
    teacher = [one_pass(bench, texts, tokens, teacher=True) for tokens in chosen if tokens <= last]
    part = Part("scaling", "Time and memory over length")
    _tabulate(part, lam, teacher, last)
    if packaged:
        part.notes.append(f"LAM is the bundle here: its {DEFAULT_PRECISION} graph in onnxruntime.")
    lines = [
        Line("LAM", [p.tokens for p in lam], [p.seconds for p in lam]),
        Line(f"its teacher, up to {last}", [p.tokens for p in teacher], [p.seconds for p in teacher]),
    ]
    memory = [Line("LAM", [p.tokens for p in lam], [p.peak_bytes / 1e6 for p in lam])]
    if len(lam) >= 3:
        linear = fit([p.tokens for p in lam], [p.seconds for p in lam], 1)
        drawn = [max(linear.at(p.tokens), 1e-6) for p in lam]
        lines.append(Line("linear fit", [p.tokens for p in lam], drawn, dashed=True))
    part.plots.append(
        save_plot(
            bench.out / "scaling.png",
            {"seconds of one pass": lines, "MB above the loaded model": memory},
            "tokens",
            log_y=(True, False),
        )
    )
    return part


def one_pass(
    bench: Bench, texts: Sequence[Path], tokens: int, *, teacher: bool = False, bundle: Path | None = None
) -> Point:
    """Measure the time and the memory of one length, each in a process of its own.

    Raises:
        RuntimeError: a process failed; holds what it wrote.
    """
    command = [sys.executable, "-m", "lam_backend.evaluation.one_pass", "--tokens", str(tokens)]
    command += ["--text", *map(str, texts), "--base", str(bench.model.base_path)]
    command += ["--threads", str(torch.get_num_threads())]
    command += ["--repeats", "3" if tokens < REPEATED_BELOW else "1"]
    if teacher:
        command.append("--teacher")
    elif bundle is not None:
        command += ["--bundle", str(bundle)]
    elif bench.checkpoint is not None:
        command += ["--model", str(bench.checkpoint)]
    return Point(tokens, **_run(command, {}), **_run([*command, "--memory"], ALLOCATOR))


def _run(command: list[str], environment: dict[str, str]) -> dict[str, Any]:
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, **environment})  # noqa: S603 — our own module
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}: {done.stderr[-2000:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def fit(tokens: Sequence[float], seconds: Sequence[float], degree: int) -> Fit:
    """Polynomial of ``degree`` in tokens; R² = 1 − residual / total variance."""
    x, y = np.asarray(tokens, dtype=np.float64), np.asarray(seconds, dtype=np.float64)
    if len(x) <= degree:
        raise ValueError(f"{len(x)} points cannot fix a polynomial of degree {degree}")
    fitted = np.polynomial.Polynomial.fit(x, y, degree)
    residual = float(((y - fitted(x)) ** 2).sum())
    total = float(((y - y.mean()) ** 2).sum())
    return Fit([float(c) for c in fitted.convert().coef[::-1]], 1.0 - residual / total if total else 1.0)


def exponent(tokens: Sequence[float], seconds: Sequence[float]) -> float:
    """Slope of log seconds over log tokens: 1 is linear, 2 quadratic."""
    return float(np.polyfit(np.log(tokens), np.log(seconds), 1)[0])


def _tabulate(part: Part, lam: list[Point], teacher: list[Point], last: int) -> None:
    theirs = {point.tokens: point for point in teacher}
    rows = []
    for point in lam:
        row = [f"{point.tokens:,}", _seconds(point.seconds), f"{point.tokens / point.seconds:,.0f}"]
        row.append(_seconds(point.cpu_seconds))
        row.append(number(point.peak_bytes / 1e6))
        peer = theirs.get(point.tokens)
        row += [_seconds(peer.seconds), number(peer.peak_bytes / 1e6)] if peer else ["cannot", "cannot"]
        rows.append(row)
    columns = ("tokens", "LAM, s", "tokens/s", "LAM, processor s", "MB above the model", "teacher, s", "teacher, MB")
    part.tables.append(Table("One pass, each length in a fresh process", columns, rows))
    part.figures |= {"lam": [asdict(p) for p in lam], "teacher": [asdict(p) for p in teacher]}
    if len(lam) >= 3:
        rows = [_fits(part, lam, name, last) for name in ("seconds", "cpu_seconds")]
        names = ("", "linear R²", "µs a token", "quadratic R²", "share of its n² term", "power from one segment on")
        part.tables.append(Table(f"Fits over tokens, to {lam[-1].tokens:,}", names, rows))
    part.notes += [
        f"The teacher has positions for {last} tokens and stops there.",
        "Memory is the highest resident set during the pass above that of the loaded model after a short warm-up.",
        "It is memory in use: that process's allocator gives freed memory back to the system at once.",
        "The text is read from its file as the pass goes. Below 20,000 tokens times are the best of three.",
        "Over lengths that double, even a parabola fits a line with R² .99: the n² share and the power tell more.",
        "Processor seconds sum over threads; unlike wall-clock seconds they hardly feel what else the machine does.",
    ]


def _fits(part: Part, lam: list[Point], name: str, last: int) -> list[str]:
    tokens, seconds = [p.tokens for p in lam], [getattr(p, name) for p in lam]
    linear, quadratic = fit(tokens, seconds, 1), fit(tokens, seconds, 2)
    longest = max(tokens)
    share = quadratic.coefficients[0] * longest**2 / quadratic.at(longest)
    beyond = [(n, s) for n, s in zip(tokens, seconds, strict=True) if n >= last]
    slope = exponent(*zip(*beyond, strict=True)) if len(beyond) >= 2 else float("nan")
    part.figures[f"fits_{name}"] = {"linear": asdict(linear), "quadratic": asdict(quadratic), "exponent": slope}
    label = {"seconds": "wall-clock", "cpu_seconds": "processor"}[name]
    slopes = [f"{1e6 * linear.coefficients[0]:.1f}", f"{quadratic.r_squared:.5f}", f"{100 * share:+.1f} %"]
    return [label, f"{linear.r_squared:.5f}", *slopes, number(slope, 3)]


def _seconds(value: float) -> str:
    return f"{value:.3f}" if value < 10 else f"{value:.1f}"
