"""Plots as PNG; matplotlib is imported when one is drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Line:
    """A named line of points."""

    label: str
    x: Sequence[float]
    y: Sequence[float]
    dashed: bool = False


def save_plot(
    path: Path,
    panels: Mapping[str, Sequence[Line]],
    x_label: str,
    *,
    log_x: bool = True,
    log_y: Sequence[bool] = (),
    from_zero: bool = True,
) -> str:
    """Draw one panel for each entry (its key names the y axis), side by side; returns the file's name."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.0 * len(panels), 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, len(panels), squeeze=False)[0]
    for index, (axis, (y_label, lines)) in enumerate(zip(axes, panels.items(), strict=True)):
        for line in lines:
            style = "--" if line.dashed else "o-"
            axis.plot(line.x, line.y, style, label=line.label, markersize=4)
        if log_x:
            axis.set_xscale("log")
        if index < len(log_y) and log_y[index]:
            axis.set_yscale("log")
        elif from_zero:
            axis.set_ylim(bottom=0)
        axis.set_xlabel(x_label)
        axis.set_ylabel(y_label)
        axis.grid(visible=True, alpha=0.3)
        if len(lines) > 1:
            axis.legend()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    return path.name
