"""Progress of long work: a bar on a terminal, a line now and then when piped. Always on stderr."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import typer

OnProgress = Callable[[str, int, int], None]
LINE_EVERY_SECONDS = 5.0


@contextmanager
def progress() -> Iterator[OnProgress]:
    """Gives ``report(stage, done, total)``; a total of 0 means it is not known."""
    if sys.stderr.isatty():
        with _bars() as report:
            yield report
    else:
        yield _Lines()


@contextmanager
def _bars() -> Iterator[OnProgress]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    tasks: dict[str, TaskID] = {}
    with Progress(*columns, console=Console(stderr=True)) as bar:

        def report(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = bar.add_task(stage)
            bar.update(tasks[stage], completed=done, total=total or None)

        yield report


class _Lines:
    """Says when a stage begins and is done, and in between how far it is, every few seconds."""

    def __init__(self) -> None:
        self._stage = ""
        self._said_at = 0.0

    def __call__(self, stage: str, done: int, total: int) -> None:
        now = time.monotonic()
        if stage == self._stage and done != total and now - self._said_at < LINE_EVERY_SECONDS:
            return
        self._stage, self._said_at = stage, now
        typer.echo(f"{stage}: {done:,} of {total:,}" if total else f"{stage}: {done:,}", err=True)
