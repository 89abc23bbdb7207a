"""``maas import``: what ``maas export`` wrote, and the exports of other services."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from maas.cli.connect import Where, with_where
from maas.cli.options import JsonOption
from maas.cli.output import print_json, print_line
from maas.cli.progress import OnProgress, progress
from maas.errors import InvalidInputError

if TYPE_CHECKING:
    from maas.brain import PersonalMemoryBrain
    from maas.client import MaasClient

SOURCES = ("chatgpt", "claude", "jsonl", "markdown", "mem0", "chroma", "zep")


def register(app: typer.Typer) -> None:
    app.command("import")(import_memories)


@with_where
def import_memories(
    where: Where,
    what: Annotated[
        list[str],
        typer.Argument(metavar=f"[{'|'.join(SOURCES)}] FILE", help="Whose format, if not our own, and the file."),
    ],
    user_id: Annotated[str | None, typer.Option("--user-id", "-u", help="Whose memories they become.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Read back what export wrote (- reads standard input), or a file of another service."""
    source, file = _source_and_file(what)
    with (
        where.open() as target,
        progress() as report,
    ):
        done = (
            _own(target, file, user_id, report) if source is None else _foreign(target, source, file, user_id, report)
        )
    if as_json:
        print_json(done)
    else:
        print_line(", ".join(f"{count:,} {what.replace('_', ' ')}" for what, count in done.items()))


def _source_and_file(what: list[str]) -> tuple[str | None, str]:
    if len(what) > 2 or (len(what) == 2 and what[0] not in SOURCES):
        raise typer.BadParameter(f"found {' '.join(what)!r}; expected one of {', '.join(SOURCES)}, and one file")
    source, file = (None, what[0]) if len(what) == 1 else (what[0], what[1])
    if source is None and file in SOURCES and not Path(file).exists():
        raise typer.BadParameter(f"is missing after {file!r}", param_hint="FILE")
    if not (file == "-" and source is None) and not Path(file).exists():
        raise typer.BadParameter(f"{file} is no file; give an export, such as `maas export` writes", param_hint="FILE")
    return source, file


def _own(
    target: PersonalMemoryBrain | MaasClient, file: str, user_id: str | None, report: OnProgress
) -> dict[str, int]:
    """All or nothing."""
    with Path(file).open(encoding="utf-8") if file != "-" else nullcontext(sys.stdin) as lines:
        done = target.import_memories(_parsed(lines, file, report), user_id=user_id)
    return {"imported": done.imported, "skipped": done.skipped, "reembedded": done.reembedded}


def _foreign(
    target: PersonalMemoryBrain | MaasClient, source: str, file: str, user_id: str | None, report: OnProgress
) -> dict[str, int]:
    """Batch by batch: what was stored before a fault stays, and is known again by its key the next time."""
    from maas.imports.sources import batches, read

    events: Counter[str] = Counter()
    for batch in batches(read(source, Path(file), user_id)):
        events.update(result.event for result in target.store_batch(batch).results)
        report("memories imported", events.total(), 0)
    return {"imported": events["ADD"], "changed": events["UPDATE"], "already_there": events["NONE"]}


def _parsed(lines: Iterable[str], name: str, report: OnProgress) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                value = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise InvalidInputError(f"{name}:{number}: no JSON ({error}); expected what export wrote") from None
            if not isinstance(value, dict):
                raise InvalidInputError(f"{name}:{number}: holds a {type(value).__name__}; expected an object")
            yield value
        if number % 100 == 0:
            report("lines read", number, 0)
