"""A report as a picture: what each category finds, what each part is worth, what a score means."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from maas.errors import ConfigError

_DARK, _LIGHT = "#1f6f8b", "#b8c4d6"


def draw(report: dict[str, Any], path: Path) -> None:
    """Write a PNG.

    Raises:
        ConfigError: matplotlib is not installed.
    """
    try:
        figures: Any = importlib.import_module("matplotlib.figure")
    except ModuleNotFoundError:
        raise ConfigError('a plot needs matplotlib; install it with: pip install "maas[bench]"') from None
    panels = [_draw_categories, *([_draw_parts, _draw_scores] if "ablation" in report else [])]
    figure = figures.Figure(figsize=(5.5 * len(panels), 4.2), layout="constrained")
    for axes, draw_panel in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        draw_panel(axes, report)
        axes.spines[["top", "right"]].set_visible(False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)


def _draw_categories(axes: Any, report: dict[str, Any]) -> None:
    groups = {f"conversations {name}": scores for name, scores in report["by_group"].items()}
    bars = {"overall": report["overall"]} | groups | report["by_category"]
    axes.barh(list(bars), [scores["mean@10"] for scores in bars.values()], color=_DARK)
    axes.set(title="Evidence among the ten best", xlabel="mean@10, %", xlim=(0, 100))
    axes.invert_yaxis()


def _draw_parts(axes: Any, report: dict[str, Any]) -> None:
    rankings = {name: of["all"]["turn mean@10"] for name, of in report["ablation"].items()}
    axes.barh(list(rankings), list(rankings.values()), color=[_DARK, *[_LIGHT] * (len(rankings) - 1)])
    axes.set(title="What each part is worth", xlabel="turn mean@10, %", xlim=(0, 100))
    axes.invert_yaxis()


def _draw_scores(axes: Any, report: dict[str, Any]) -> None:
    rows = report["thresholds"]
    labels = {"precision": "precision", "evidence_kept": "evidence kept", "answered": "questions answered"}
    for name, label in (labels | {"unanswerable_answered": "answered without an answer"}).items():
        points = [(row["min_score"], row[name]) for row in rows if row[name] is not None]
        if points:
            axes.plot(*zip(*points, strict=True), "-o", label=label)
    axes.set(title="What min_score does", xlabel="min_score", ylabel="%", ylim=(0, 100))
    axes.legend(frameon=False)
