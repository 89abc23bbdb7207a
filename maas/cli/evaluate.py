"""``maas eval recall``: how well questions find the turns that answer them."""

from __future__ import annotations

import json
import uuid
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from maas.cli.connect import throwaway_or_api
from maas.cli.evaluate_documents import documents
from maas.cli.options import ApiKeyOption, ApiOption, ConfigOption, JsonOption, RecallMode
from maas.cli.output import note, print_json, print_line, print_table, write_file
from maas.cli.progress import progress
from maas.errors import ConfigError, MaasError

if TYPE_CHECKING:
    from maas.evaluation.dataset import Dataset
    from maas.evaluation.runner import Evaluator


class LevelChoice(StrEnum):
    turn = "turn"
    session = "session"


def register(app: typer.Typer) -> None:
    evaluation = typer.Typer(help="Measure quality.", no_args_is_help=True)

    @evaluation.callback()
    def _group() -> None:
        """Measure quality."""

    evaluation.command()(recall)
    evaluation.command()(documents)
    app.add_typer(evaluation, name="eval")


def recall(
    context: typer.Context,
    docs: Annotated[Path, typer.Option(exists=True, dir_okay=False, help="Turns, JSONL or JSONL.gz.")],
    queries: Annotated[Path, typer.Option(exists=True, dir_okay=False, help="Questions with their evidence.")],
    level: Annotated[LevelChoice, typer.Option(help="Rank turns, or sessions by their best turn.")] = LevelChoice.turn,
    mode: Annotated[RecallMode | None, typer.Option(help="How to search; default: as recall does.")] = None,
    rerank: Annotated[bool, typer.Option("--rerank", help="Recall with rerank.")] = False,
    ablation: Annotated[
        bool, typer.Option("--ablation", help="Ask again with explanations: sessions, each part's worth, thresholds.")
    ] = False,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first conversations.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for recall.json, .md and .png, and each question's line.")
    ] = None,
    keep: Annotated[bool, typer.Option("--keep", help="With --api: leave the stored turns on the server.")] = False,
    api: ApiOption = None,
    key: ApiKeyOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Store every turn, ask every question, report how much of the evidence is found.

    Turns go into a throwaway store, or with --api under fresh user ids that are erased afterwards.
    """
    from maas.evaluation.ablation import ablate, ablation_rows, threshold_rows
    from maas.evaluation.dataset import read_dataset
    from maas.evaluation.metrics import METRICS
    from maas.evaluation.plot import draw
    from maas.evaluation.report import build_report, summary, table_rows, to_markdown
    from maas.evaluation.runner import Evaluator

    dataset = read_dataset(docs, queries, limit=limit)
    _warn(dataset)
    prefix = f"eval-{uuid.uuid4().hex[:8]}-" if api else ""
    with throwaway_or_api(context, api, key, config) as target, progress() as on_progress:
        evaluator = Evaluator(target, level.value, mode.value if mode else None, prefix, rerank)
        try:
            outcome = evaluator.run(dataset, on_progress)
            deeper = ablate(evaluator, dataset, outcome, on_progress) if ablation else {}
        finally:
            if api and not keep:
                _erase(evaluator, dataset)
        embedder = None if api else target.embedder.name  # type: ignore[union-attr]
    about: dict[str, Any] = {
        "level": level.value,
        "mode": mode.value if mode else "default",
        "embedder": embedder,
        "rerank": rerank,
    }
    report = build_report(outcome, dataset, **about, docs=docs.name, api=api) | deeper
    if out:
        write_file(out / "recall.json", json.dumps(report, indent=2) + "\n")
        write_file(out / "recall.md", to_markdown(report))
        try:
            draw(report, out / "recall.png")
        except ConfigError as error:  # hours of measuring are not lost to a missing library
            note(f"warning: no picture was drawn: {error}")
        lines = [
            {"qid": answer.question.qid, "category": answer.question.category, "ms": round(answer.seconds * 1000, 2)}
            | dict(zip(METRICS, answer.scores.round(4).tolist(), strict=True))
            for answer in outcome.answered
        ]
        write_file(out / "questions.jsonl", "".join(json.dumps(line) + "\n" for line in lines))
    if as_json:
        print_json(report)
        return
    print_table(*table_rows(report))
    if ablation:
        print_table(*ablation_rows(report))
        print_table(*threshold_rows(report))
    print_line(summary(report))


def _warn(dataset: Dataset) -> None:
    if dataset.unread_dates:
        note(f"warning: {dataset.unread_dates} turns carry a date in no known form; they keep the date before them")
    if dataset.unknown_evidence:
        note(
            f"warning: {dataset.unknown_evidence} evidence ids are no turn of their conversation; left out of the gold"
        )


def _erase(evaluator: Evaluator, dataset: Dataset) -> None:
    try:
        evaluator.erase(dataset)
    except MaasError as error:
        note(f"warning: the turns stored for this evaluation are still on the server: {error}")
