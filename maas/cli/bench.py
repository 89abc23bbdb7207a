"""``maas bench``: how fast it is, on this machine, in this run."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from maas.cli.bench_growth import capacity, replicas, stores
from maas.cli.bench_report import head, show
from maas.cli.connect import quiet_logs, settings_from
from maas.cli.options import ConfigOption, JsonOption
from maas.cli.output import note, print_json, print_table, write_file
from maas.cli.progress import OnProgress, progress

if TYPE_CHECKING:
    from maas.embedders.protocol import Embedder
    from maas.settings import Settings

DocsOption = Annotated[
    Path | None,
    typer.Option(exists=True, dir_okay=False, help="Take texts from this JSONL (field text) instead of making them."),
]
OutOption = Annotated[Path | None, typer.Option(help="Folder for NAME.json, NAME.md and NAME.png.")]
MUST_BE_ZERO = (
    "lost",
    "twice",
    "not_asked_for",
    "not_recalled",
    "unexpected_errors",
    "unhealthy_after_a_kill",
)
QuickOption = Annotated[bool, typer.Option("--quick", help="A tiny run, to see that it works; figures mean nothing.")]


def register(app: typer.Typer) -> None:
    bench = typer.Typer(help="Measure speed.", no_args_is_help=True)
    for command in (store, recall, concurrency, scale, peers, faults, capacity, replicas, stores, load):
        bench.command()(command)
    bench.command("all")(everything)
    app.add_typer(bench, name="bench")


def store(
    context: typer.Context,
    quick: QuickOption = False,
    docs: DocsOption = None,
    out: OutOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Store one by one and in batches; the encoder's time is shown apart."""
    _run("store", {"embedded": ("store",)}, context.obj, config, docs, out, quick, as_json)


def recall(
    context: typer.Context,
    quick: QuickOption = False,
    docs: DocsOption = None,
    out: OutOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Recall among 6,000 memories of one user."""
    _run("recall", {"embedded": ("recall",)}, context.obj, config, docs, out, quick, as_json)


def concurrency(
    context: typer.Context,
    quick: QuickOption = False,
    docs: DocsOption = None,
    out: OutOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """1 and 32 clients of a real server, whose health check is timed meanwhile."""
    _run("concurrency", {"concurrency": ()}, context.obj, config, docs, out, quick, as_json)


def scale(
    context: typer.Context,
    quick: QuickOption = False,
    out: OutOption = None,
    config: ConfigOption = None,
    users: Annotated[int | None, typer.Option(min=1, help="Users; default 10,000.")] = None,
    memories_per_user: Annotated[int | None, typer.Option(min=1, help="Memories of each; default 100.")] = None,
    large_user: Annotated[int | None, typer.Option(min=1, help="Memories of one more user; default 6,000.")] = None,
    as_json: JsonOption = False,
) -> None:
    """10,000 users of 100 memories and one of 6,000, with a cheap encoder of the bench's own."""
    sizes = {"users": users, "memories_per_user": memories_per_user, "large_user": large_user}
    _run("scale", {"scale": ()}, context.obj, config, None, out, quick, as_json, scale_sizes=sizes)


def everything(
    context: typer.Context,
    quick: QuickOption = False,
    docs: DocsOption = None,
    out: OutOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """store, recall, concurrency and scale."""
    parts: dict[str, tuple[str, ...]] = {"embedded": ("store", "recall"), "concurrency": (), "scale": ()}
    _run("all", parts, context.obj, config, docs, out, quick, as_json)


def peers(
    quick: QuickOption = False,
    docs: DocsOption = None,
    out: OutOption = None,
    environment: Annotated[Path, typer.Option(help="Their virtual environment; made if missing.")] = Path(
        ".venv-peers"
    ),
    as_json: JsonOption = False,
) -> None:
    """Chroma, mem0 and txtai beside maas: same turns, same encoder weights, same run."""
    from maas.bench.peers.race import RaceSizes, bench_peers

    report = head("all-MiniLM-L6-v2, the packaged weights", quick)
    with progress() as on_progress:
        sizes = RaceSizes.quick() if quick else RaceSizes()
        report |= bench_peers(environment.absolute(), sizes, docs, note, on_progress)
    show("peers", report, out, as_json)


def faults(
    quick: Annotated[bool, typer.Option("--quick", help="10 kills, in seconds.")] = False,
    kills: Annotated[int | None, typer.Option(min=1, help="How often to kill; default 200.")] = None,
    seed: Annotated[int, typer.Option(help="Decides when each kill comes.")] = 0,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Kill two servers on one folder with SIGKILL at random moments while clients write; exit 1 if anything is lost."""
    from maas.bench.faults import FaultSizes, bench_faults

    settings = settings_from(config, None)
    quiet_logs(settings)
    wanted = (FaultSizes.quick() if quick else FaultSizes()).model_copy(
        update={"seed": seed, **({"kills": kills} if kills else {})}
    )
    with tempfile.TemporaryDirectory(prefix="maas-bench-") as folder, progress() as on_progress:
        report = bench_faults(settings, Path(folder), wanted, on_progress)
    found = report["faults"]
    if as_json:
        print_json(report)
    else:
        print_table(["", ""], [[name.replace("_", " "), value] for name, value in found.items()])
    if not found["acknowledged"] or any(found[name] for name in MUST_BE_ZERO):
        raise typer.Exit(1)


def load(
    quick: Annotated[bool, typer.Option("--quick", help="8 clients, in seconds.")] = False,
    seconds: Annotated[float | None, typer.Option(min=1, help="How long; default 600.")] = None,
    clients: Annotated[int | None, typer.Option(min=1, help="How many at once; default 200.")] = None,
    out: OutOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """200 clients store and recall for ten minutes, then 32 send more than can be queued; exit 1 on a failure."""
    from maas.bench.endurance import EnduranceSizes, bench_endurance

    settings = settings_from(config, None)
    quiet_logs(settings)
    given = {name: value for name, value in (("seconds", seconds), ("clients", clients)) if value is not None}
    sizes = (EnduranceSizes.quick() if quick else EnduranceSizes()).model_copy(update=given)
    with progress() as on_progress:
        report = head(settings.embedder.backend, quick) | bench_endurance(config, sizes, on_progress)
    found = report["load"]
    if out:
        write_file(out / "load.json", json.dumps(report, indent=2) + "\n")
    if as_json:
        print_json(report)
    else:
        print_table(["", ""], [[name.replace("_", " "), str(value)] for name, value in found.items()])
    if found["failed"] or found["overload"]["failed"] or found["failed_after_overload"] or not found["answered"]:
        raise typer.Exit(1)


def _run(
    name: str,
    parts: dict[str, tuple[str, ...]],
    embedder: Embedder | None,
    config: Path | None,
    docs: Path | None,
    out: Path | None,
    quick: bool,
    as_json: bool,
    *,
    scale_sizes: dict[str, int | None] | None = None,
) -> None:
    from maas.bench.embedded import Sizes

    settings = settings_from(config, None)
    quiet_logs(settings)
    sizes = Sizes.quick() if quick else Sizes()
    report = head(settings.embedder.backend if "embedded" not in parts else "", quick)
    with progress() as on_progress:
        if calls := parts.get("embedded"):
            report |= _embedded(settings, embedder, calls, sizes, docs, on_progress)
        if "concurrency" in parts:
            from maas.bench.concurrency import bench_concurrency

            report |= bench_concurrency(settings, sizes, config, docs, on_progress)
        if "scale" in parts:
            from maas.bench.scale import ScaleSizes, bench_scale

            given = {key: value for key, value in (scale_sizes or {}).items() if value is not None}
            wanted = (ScaleSizes.quick() if quick else ScaleSizes()).model_copy(update=given)
            report |= bench_scale(settings, wanted, on_progress)
    show(name, report, out, as_json)


def _embedded(
    settings: Settings,
    embedder: Embedder | None,
    calls: tuple[str, ...],
    sizes: Any,
    docs: Path | None,
    on_progress: OnProgress,
) -> dict[str, Any]:
    from maas.bench.embedded import bench_recall, bench_store, metered_brain
    from maas.embedders.factory import build_embedder

    measure: dict[str, Callable[..., dict[str, Any]]] = {"store": bench_store, "recall": bench_recall}
    inner = embedder or build_embedder(settings).inner
    results: dict[str, Any] = {"embedder": inner.name}
    with tempfile.TemporaryDirectory(prefix="maas-bench-") as folder:
        here = settings.model_copy(update={"data_dir": Path(folder)})
        with metered_brain(here, inner) as (brain, meter):
            for call in calls:
                results |= measure[call](brain, meter, sizes, docs, on_progress)
    return results
