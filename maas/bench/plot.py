"""A report as a picture: where each call's time goes, and how recall grows with the store."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from maas.bench.peers.race import CALLS, OWN
from maas.errors import ConfigError


def draw(report: dict[str, Any], path: Path) -> None:
    """Write a PNG.

    Raises:
        ConfigError: matplotlib is not installed.
    """
    try:
        figures: Any = importlib.import_module("matplotlib.figure")
    except ModuleNotFoundError:
        raise ConfigError('a plot needs matplotlib; install it with: pip install "maas[bench]"') from None
    panels = [draw_panel for present, draw_panel in _PANELS if present(report)]
    if not panels:
        return
    figure = figures.Figure(figsize=(6.0 * len(panels), 4.2), layout="constrained")
    for axes, draw_panel in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        draw_panel(axes, report)
        axes.spines[["top", "right"]].set_visible(False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)


def _draw_calls(axes: Any, report: dict[str, Any]) -> None:
    names = [name for name in ("store", "recall") if name in report]
    encode = [report[name]["encode_ms"]["p50"] for name in names]
    overhead = [report[name]["overhead_ms"]["p50"] for name in names]
    axes.bar(names, encode, label="encoder", color="#b8c4d6")
    axes.bar(names, overhead, bottom=encode, label="everything else", color="#1f6f8b")
    axes.set(title="One call, embedded", ylabel="median, ms")
    axes.legend(frameon=False)


def _draw_clients(axes: Any, report: dict[str, Any]) -> None:
    results = report["concurrency"]
    for offset, (label, colour) in enumerate((("clients_1", "#b8c4d6"), ("clients_32", "#1f6f8b"))):
        positions = [place + 0.38 * offset for place in range(len(results))]
        heights = [result[label]["per_second"] for result in results.values()]
        axes.bar(positions, heights, width=0.36, label=label.replace("clients_", "") + " clients", color=colour)
    axes.set_xticks([place + 0.19 for place in range(len(results))], list(results))
    axes.set(title="Through the server", ylabel="calls a second")
    axes.legend(frameon=False)


def _draw_scale(axes: Any, report: dict[str, Any]) -> None:
    growth = report["scale"]["growth"]
    memories = [step["memories"] for step in growth]
    for key, label in (("recall_first", "user's first recall"), ("recall_again", "again")):
        for point, style in (("p50", "-o"), ("p99", ":o")):
            axes.plot(memories, [step[key]["overhead_ms"][point] for step in growth], style, label=f"{label}, {point}")
    large = report["scale"]["large_user_recall"]
    for point, marker in (("p50", "*"), ("p99", "x")):
        label = f"one user of {large['memories']:,}, {point}"
        axes.plot(large["memories"], large["overhead_ms"][point], marker, markersize=9, color="black", label=label)
    axes.set(title="Recall as the store grows", xlabel="memories", ylabel="on top of encoding, ms")
    axes.set(xscale="log", yscale="log")
    axes.legend(frameon=False, fontsize="small")


def _draw_stores(axes: Any, report: dict[str, Any]) -> None:
    results = report["stores"]["results"]
    for offset, (name, colour) in enumerate(zip(results, ("#b8c4d6", "#1f6f8b"), strict=True)):
        recalls = {call: figures for call, figures in results[name].items() if call.startswith("recall")}
        places = [place + 0.38 * offset for place in range(len(recalls))]
        heights = [figures["store_ms"]["p50"] for figures in recalls.values()]
        axes.bar(places, heights, width=0.36, label=name, color=colour)
        axes.set_xticks([place + 0.19 for place in range(len(recalls))], [call.replace("_", " ") for call in recalls])
    axes.set(title="A recall, within the store", ylabel="median, ms")
    axes.legend(frameon=False)


def _draw_peers(axes: Any, report: dict[str, Any]) -> None:
    ratios = report["peers"]["ratios"]
    width = 0.8 / len(CALLS)
    for offset, call in enumerate(CALLS):
        positions = [place + width * offset for place in range(len(ratios))]
        axes.bar(positions, [values[f"{call}_latency"] for values in ratios.values()], width=width * 0.92, label=call)
    axes.axhline(1.0, color="black", linewidth=0.8)
    axes.set_xticks([place + width for place in range(len(ratios))], list(ratios))
    axes.set(title=f"Time taken, as a multiple of {OWN}'s", ylabel="ratio of medians")
    axes.legend(frameon=False)


_Report = dict[str, Any]
_PANELS: tuple[tuple[Callable[[_Report], bool], Callable[[Any, _Report], None]], ...] = (
    (lambda report: "store" in report or "recall" in report, _draw_calls),
    (lambda report: "concurrency" in report, _draw_clients),
    (lambda report: "scale" in report, _draw_scale),
    (lambda report: "stores" in report, _draw_stores),
    (lambda report: bool(report.get("peers", {}).get("ratios")), _draw_peers),
)
