"""``maas demo``: the shipped conversation, stored and asked."""

from __future__ import annotations

import tempfile
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from maas.cli.connect import open_brain, settings_from
from maas.cli.options import ConfigOption, DataDirOption, JsonOption, utc_text
from maas.cli.output import note, print_json, print_line, print_table
from maas.cli.progress import progress

if TYPE_CHECKING:
    from maas.demo.tour import DemoReport


def register(app: typer.Typer) -> None:
    app.command()(demo)


def demo(
    context: typer.Context,
    keep: Annotated[
        bool, typer.Option("--keep", help="Store into the data folder, not a throwaway one; user_id is demo.")
    ] = False,
    top_k: Annotated[int, typer.Option("--top-k", "-k", help="Memories shown for each question.")] = 3,
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Store a conversation of two friends and recall from it."""
    from maas.demo.tour import run_demo

    with (
        nullcontext(data_dir) if keep else tempfile.TemporaryDirectory(prefix="maas-demo-") as folder,
        open_brain(context, settings_from(config, Path(folder) if folder else None)) as brain,
    ):
        with progress() as on_progress:
            report = run_demo(brain, top_k=top_k, on_progress=on_progress)
        kept_in = brain.settings.data_dir if keep else None
    if as_json:
        print_json(report)
        return
    _print(report)
    if kept_in:
        note(f'kept in {kept_in}; ask it yourself: maas recall --data-dir {kept_in} --user-id demo "…"')


def _print(report: DemoReport) -> None:
    rows = []
    for answer in report.answers:
        for rank, hit in enumerate(answer.hits, 1):
            asked = answer.question if rank == 1 else ""
            rows.append([asked, f"{hit.score:.2f}", utc_text(hit.created_at)[:10], f"{hit.name}: {hit.text}"])
    print_table(["question", "score", "said", "memory"], rows)
    rate = report.memories / report.store_seconds if report.store_seconds else 0
    slowest = max(answer.recall_ms for answer in report.answers)
    found = sum(answer.found for answer in report.answers)
    print_line(
        f"{report.memories} memories of {report.sessions} sessions stored in {report.store_seconds:.2f} s "
        f"({rate:.0f}/s); {found} of {len(report.answers)} answers found; "
        f"slowest recall {slowest:.1f} ms; embedder {report.embedder}"
    )
