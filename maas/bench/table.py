"""A report's figures as rows, for a terminal and for Markdown."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from maas.bench.concurrency import CLIENTS
from maas.bench.embedded import WAYS
from maas.bench.peers.race import CALLS, OWN

HEADER = ["what", "calls", "p50 ms", "p95 ms", "p99 ms", "of it encoding", "overhead p50", "per second", "note"]
PEER_HEADER = ["library", "release", *(f"{call} ms" for call in CALLS), *(f"{call} ×" for call in CALLS), "overhead ×"]

STORES_HEADER = [
    "what",
    *("p50 ms", "p95 ms", "store p50", "store p95", "processor ms", "per second", "store per second"),
    "whole ×",
    "store ×",
    "processor ×",
]


def figure_rows(report: dict[str, Any]) -> list[list[str]]:
    """A row for each thing measured, peers apart."""
    return list(_rows(report))


def peer_rows(peers: dict[str, Any]) -> list[list[str]]:
    """A row for each library: medians, then how many times maas's median that is; the absent with their reason."""
    rows = []
    for name, result in peers["results"].items():
        ratios = peers["ratios"].get(name)
        medians = [f"{result[call]['latency_ms']['p50']:.2f}" for call in CALLS]
        if name == OWN or ratios is None:
            rows.append([name, result["version"], *medians, *("1.00" for _ in CALLS), "1.00"])
            continue
        overhead = " / ".join(f"{ratios[f'{call}_overhead']:.1f}" for call in CALLS)
        rows.append(
            [name, result["version"], *medians, *(f"{ratios[f'{call}_latency']:.2f}" for call in CALLS), overhead]
        )
    for name, reason in peers["not_measured"].items():
        rows.append([name, "not measured", reason, *("" for _ in range(len(PEER_HEADER) - 3))])
    return rows


def stores_rows(stores: dict[str, Any]) -> list[list[str]]:
    """A row for each call in each store; × is PostgreSQL's over SQLite's."""
    rows = []
    for name, calls in stores["results"].items():
        for call, figures in calls.items():
            times = (figures[part][point] for part in ("latency_ms", "store_ms") for point in ("p50", "p95"))
            rates = (f"{figures[rate]:,.0f}" for rate in ("per_second", "store_per_second"))
            ratios = stores["ratios"][call].values() if name == "postgresql" else (1.0, 1.0, 1.0)
            shown = [
                *(f"{ms:.2f}" for ms in (*times, figures["cpu_ms"])),
                *rates,
                *(f"{ratio:.2f}" for ratio in ratios),
            ]
            rows.append([f"{call.replace('_', ' ')}, {name}", *shown])
    return rows


def to_markdown(report: dict[str, Any]) -> str:
    """All tables of a report."""
    parts = []
    if rows := figure_rows(report):
        parts.append(_markdown(HEADER, rows))
    if stores := report.get("stores"):
        parts.append(_markdown(STORES_HEADER, stores_rows(stores)))
    if peers := report.get("peers"):
        parts.append(_markdown(PEER_HEADER, peer_rows(peers)))
    facts = ", ".join(f"{name} {value}" for name, value in report["machine"].items())
    return "\n\n".join([*parts, f"Measured on: {facts}. Encoder: {report['embedder']}."]) + "\n"


def _rows(report: dict[str, Any]) -> Iterator[list[str]]:
    if store := report.get("store"):
        yield _row("store", store, _use(store))
    if batch := report.get("batch_store"):
        yield _row("batch store of 100", batch, f"{100 * batch['share_of_encoder']:.0f} % of the encoder alone")
    for name in ("recall", *(f"recall_{way}" for way in WAYS)):
        if recall := report.get(name):
            yield _row(f"{name.replace('_', ' ')} among {recall['memories']:,}", recall, _use(recall))
    for call, result in report.get("concurrency", {}).items():
        for clients in CLIENTS:
            figures = result[f"clients_{clients}"]
            note = f"health p99 {figures['health_ms']['p99']:.1f} ms; {_use(figures)}"
            if clients > 1:
                alone = result["encoder"]["speed_up"]
                note = f"{result['speed_up']:.1f} × one client, the encoder alone {alone:.1f} ×; {note}"
            yield _row(f"{call}, {clients} client{'s' if clients > 1 else ''}", figures, note)
    if scale := report.get("scale"):
        for step in scale["growth"]:
            where = f"{step['users']:,} users, {step['memories']:,} memories"
            yield _row(f"first recall, {where}", step["recall_first"], scale["embedder"])
            yield _row(f"recall again, {where}", step["recall_again"], scale["embedder"])
        large = scale["large_user_recall"]
        nearest = f"recall@10 {scale['large_user_recall_at_10_questions']}"
        yield _row(
            f"recall, one user of {large['memories']:,}",
            large,
            f"{nearest}; disk {scale['disk_mb']:,.0f} MB; {_use(scale)}",
        )


def _row(name: str, figures: dict[str, Any], note: str) -> list[str]:
    latency = figures["latency_ms"]
    encode, overhead = figures.get("encode_ms"), figures.get("overhead_ms")
    return [
        name,
        str(figures["calls"]),
        *(f"{latency[point]:.2f}" for point in ("p50", "p95", "p99")),
        f"{encode['p50']:.2f}" if encode else "",
        f"{overhead['p50']:.2f}" if overhead else "",
        f"{figures['per_second']:.1f}",
        note,
    ]


def _use(figures: dict[str, Any]) -> str:
    return f"CPU {figures['cpu_percent']:.0f} %, {figures['rss_mb']:.0f} MB"


def _markdown(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
