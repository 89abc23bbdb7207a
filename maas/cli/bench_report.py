"""A report of ``maas bench``: what every one begins with, and how it is shown and written."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from maas.cli.output import note, print_json, print_table, write_file


def head(embedder: str, quick: bool) -> dict[str, Any]:
    from maas.bench.measure import machine

    return {
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "embedder": embedder,
        "quick": quick,
    }


def show(name: str, report: dict[str, Any], out: Path | None, as_json: bool) -> None:
    from maas.bench.table import HEADER, PEER_HEADER, STORES_HEADER, figure_rows, peer_rows, stores_rows, to_markdown

    if out:
        from maas.bench.plot import draw

        write_file(out / f"{name}.json", json.dumps(report, indent=2) + "\n")
        write_file(out / f"{name}.md", to_markdown(report))
        draw(report, out / f"{name}.png")
    if as_json:
        print_json(report)
        return
    if rows := figure_rows(report):
        print_table(HEADER, rows)
    if "stores" in report:
        print_table(STORES_HEADER, stores_rows(report["stores"]))
    if "peers" in report:
        print_table(PEER_HEADER, peer_rows(report["peers"]))
        note("×: the library's median over maas's; above 1, maas is faster. overhead: without the encoder's time")
    if report["quick"]:
        note("a quick run: the figures mean nothing")
