"""``maas bench capacity`` and ``maas bench replicas``: what growth costs, and what it brings."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer

from maas.cli.bench_report import head, show
from maas.cli.connect import quiet_logs, settings_from
from maas.cli.options import ConfigOption, JsonOption
from maas.cli.output import print_json, print_table
from maas.cli.progress import progress

QuickOption = Annotated[bool, typer.Option("--quick", help="A tiny run, to see that it works; figures mean nothing.")]


def capacity(
    context: typer.Context, quick: QuickOption = False, config: ConfigOption = None, as_json: JsonOption = False
) -> None:
    """Bytes and processor time of a memory, on SQLite or, with storage.url, on an empty PostgreSQL database."""
    from maas.bench.capacity import CapacitySizes, bench_capacity
    from maas.embedders.factory import build_embedder

    settings = settings_from(config, None)
    quiet_logs(settings)
    embedder = context.obj or build_embedder(settings)
    try:
        with tempfile.TemporaryDirectory(prefix="maas-bench-") as folder, progress() as on_progress:
            here = settings.model_copy(update={"data_dir": Path(folder)})
            report = bench_capacity(here, embedder, CapacitySizes.quick() if quick else CapacitySizes(), on_progress)
    finally:
        if context.obj is None:
            embedder.close()
    _show(report, "capacity", as_json)


def replicas(
    quick: QuickOption = False,
    cores: Annotated[str, typer.Option(help="Cores to give to one server each, such as 0,1.")] = "0,1",
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """One server beside several on one store, each pinned to a core: how many times as much they encode and store."""
    from maas.bench.spread import SpreadSizes, bench_spread

    try:
        chosen = [int(core) for core in cores.split(",")]
    except ValueError:
        raise typer.BadParameter(f"found {cores!r}; expected numbers with commas, such as 0,1") from None
    with tempfile.TemporaryDirectory(prefix="maas-bench-") as folder, progress() as on_progress:
        sizes = SpreadSizes.quick() if quick else SpreadSizes()
        report = bench_spread(Path(folder), config, chosen, sizes, on_progress)
    _show(report, "replicas", as_json)


def stores(
    quick: QuickOption = False,
    url: Annotated[str | None, typer.Option(help="An empty PostgreSQL database; unset, a server from PyPI.")] = None,
    users: Annotated[int | None, typer.Option(min=1, help="Users; default 10,000.")] = None,
    memories_per_user: Annotated[int | None, typer.Option(min=1, help="Memories of each; default 100.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for stores.json, stores.md and stores.png.")] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """PostgreSQL beside SQLite: the same batches and questions to both by turns, with a cheap encoder."""
    from maas.bench.stores import StoresSizes, bench_stores

    settings = settings_from(config, None)
    quiet_logs(settings)
    given = {"users": users, "memories_per_user": memories_per_user}
    sizes = StoresSizes.quick() if quick else StoresSizes()
    sizes = sizes.model_copy(update={name: value for name, value in given.items() if value is not None})
    with progress() as on_progress:
        report = head("bench-word-sum", quick) | bench_stores(settings, url, sizes, on_progress)
    show("stores", report, out, as_json)


def _show(report: dict[str, Any], name: str, as_json: bool) -> None:
    from maas.bench.measure import machine

    if as_json:
        print_json({"machine": machine(), **report})
    else:
        print_table(["", ""], [[label.replace("_", " "), str(value)] for label, value in report[name].items()])
