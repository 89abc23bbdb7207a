"""A measured part as JSON and Markdown, and the report that holds all parts of one model."""

from __future__ import annotations

import json
import math
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

ORDER = ("sts", "retrieval", "long-context", "scaling", "speed", "ablation")


@dataclass(frozen=True, slots=True)
class Table:
    """A heading, column names and rows of finished text."""

    heading: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]

    def markdown(self) -> str:
        lines = [f"| {' | '.join(self.columns)} |", "|" + "---|" * len(self.columns)]
        lines += [f"| {' | '.join(row)} |" for row in self.rows]
        return "\n".join([*([f"### {self.heading}", ""] if self.heading else []), *lines, ""])


@dataclass(slots=True)
class Part:
    """One part of the evaluation: what was found, ready to be written."""

    name: str
    title: str
    tables: list[Table] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    plots: list[str] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=dict)
    """Every figure, unrounded, for machines."""

    def markdown(self) -> str:
        parts = [f"## {self.title}", ""]
        for table in self.tables:
            parts += [table.markdown()]
        parts += [f"![{plot}]({plot})\n" for plot in self.plots]
        parts += [f"- {note}" for note in self.notes]
        return "\n".join(parts).rstrip() + "\n"


@dataclass(frozen=True, slots=True)
class About:
    """What was measured and where."""

    model: str
    """Fingerprint of the vector space."""
    command: str
    threads: int
    quick: bool
    machine: str = field(default_factory=lambda: f"{os.cpu_count()} CPUs, {platform.machine()}, {platform.system()}")


def write_part(out: Path, part: Part, about: About) -> Path:
    """Write ``part.name``.json and .md into ``out``, then REPORT.md from all parts of the same model there."""
    out.mkdir(parents=True, exist_ok=True)
    held = {"about": asdict(about), "part": asdict(part)}
    _write(out / f"{part.name}.json", json.dumps(held, indent=2) + "\n")
    _write(out / f"{part.name}.md", part.markdown())
    return write_report(out, about.model)


def write_report(out: Path, model: str) -> Path:
    """Assemble REPORT.md from the parts in ``out`` that were measured on ``model``; others are named as left out."""
    found: list[tuple[str, dict[str, Any]]] = []
    left_out: list[tuple[str, dict[str, Any]]] = []
    for name in ORDER:
        file = out / f"{name}.json"
        if file.is_file():
            about = json.loads(file.read_text(encoding="utf-8"))["about"]
            (found if about["model"] == model else left_out).append((name, about))
    texts = [f"# Evaluation of {model.partition(':')[0]}", "", f"Model `{model}`.", ""]
    for name, about in found:
        quick = " A quick run: figures of small samples, not to be quoted." if about["quick"] else ""
        texts += [
            (out / f"{name}.md").read_text(encoding="utf-8"),
            f"`{about['command']}` — {about['threads']} threads, {about['machine']}.{quick}\n",
        ]
    texts += [f"Left out: {name}, measured on another model (`{about['model']}`).\n" for name, about in left_out]
    report = out / "REPORT.md"
    _write(report, "\n".join(texts))
    return report


def number(value: float, digits: int = 1) -> str:
    """A figure for a table; nan reads as a dash."""
    return "—" if math.isnan(value) else f"{value:.{digits}f}"


def correlation(value: float) -> str:
    """.8674, as correlations are written."""
    return f"{value:.4f}".replace("0.", ".", 1)


def _write(path: Path, text: str) -> None:
    partial = path.with_name(path.name + ".partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)
