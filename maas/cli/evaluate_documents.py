"""``maas eval documents``: how well questions find the passages of long texts that answer them."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from maas.cli.connect import throwaway_or_api
from maas.cli.options import ApiKeyOption, ApiOption, ConfigOption, JsonOption, RecallMode
from maas.cli.output import print_json, print_line, print_table, write_file
from maas.cli.progress import progress

if TYPE_CHECKING:
    from maas.records import Mode


def documents(
    context: typer.Context,
    books: Annotated[
        Path | None, typer.Option(exists=True, file_okay=False, help="Folder of the books that --questions names.")
    ] = None,
    questions: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="JSONL; default: those shipped, about two books.")
    ] = None,
    qmsum: Annotated[
        Path | None, typer.Option(exists=True, file_okay=False, help="Folder of QMSum, instead of books.")
    ] = None,
    mode: Annotated[list[RecallMode] | None, typer.Option(help="How to search; default: all three modes.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first texts.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for documents.json.")] = None,
    api: ApiOption = None,
    key: ApiKeyOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Store long texts as documents, ask every question of its text, report how often the answer is found.

    Lexical mode is BM25; with another embedder.backend, the same command compares encoders. Texts go into a throwaway
    store, or with --api under a fresh user id that is erased afterwards.
    """
    from maas.evaluation.long_texts import BOOK_QUESTIONS, read_books, read_meetings
    from maas.evaluation.text_runner import run_long_texts

    if (books is None) == (qmsum is None):
        raise typer.BadParameter("give one of --books and --qmsum", param_hint="--books")
    texts = read_meetings(qmsum) if qmsum is not None else read_books(books or Path(), questions or BOOK_QUESTIONS)
    modes: list[Mode] = [chosen.value for chosen in mode or list(RecallMode)]
    user_id = f"eval-{uuid.uuid4().hex[:8]}"
    with throwaway_or_api(context, api, key, config) as target, progress() as on_progress:
        try:
            report: dict[str, Any] = run_long_texts(target, texts[:limit], modes, user_id, on_progress)
        finally:
            if api:
                target.erase_user(user_id)
        report["embedder"] = None if api else target.embedder.name  # type: ignore[union-attr]
    if out:
        write_file(out / "documents.json", json.dumps(report, indent=2) + "\n")
    if as_json:
        print_json(report)
        return
    header = ["mode", "any@1", "any@5", "any@10", "MRR", "p50 ms"]
    names = ("any@1", "any@5", "any@10", "mrr")
    print_table(
        header,
        [
            [name, *(f"{found[measure]:.1f}" for measure in names), f"{found['latency_ms']['p50']:.1f}"]
            for name, found in report["modes"].items()
        ],
    )
    print_line(
        f"{report['questions']} questions about {report['texts']} texts, {report['characters']:,} characters in "
        f"{report['passages']:,} passages, read in {report['read_seconds']:.1f} s"
    )
