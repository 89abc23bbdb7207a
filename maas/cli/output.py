"""What goes where: results on stdout, everything else on stderr."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TextIO

import typer

if TYPE_CHECKING:
    from pydantic import BaseModel

PIPED_WIDTH = 140
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def print_json(value: BaseModel | Mapping[str, Any]) -> None:
    """One JSON object, on stdout."""
    data = dict(value) if isinstance(value, Mapping) else value.model_dump(mode="json")
    typer.echo(json.dumps(data, ensure_ascii=False, indent=2))


def print_line(text: str) -> None:
    """One line of a result, on stdout."""
    typer.echo(printable(text))


def note(text: str) -> None:
    """A remark beside the result, on stderr."""
    typer.echo(printable(text), err=True)


def print_table(header: Sequence[str], rows: Iterable[Sequence[Any]], *, title: str | None = None) -> None:
    """A table on stdout; numbers are right-aligned, stored text cannot style or steer the terminal."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    cells = [[str(cell) for cell in row] for row in rows]
    table = Table(title=title, title_justify="left", header_style="bold")
    for column, name in enumerate(header):
        numeric = bool(cells) and all(_is_number(row[column]) for row in cells)
        table.add_column(Text(name), justify="right" if numeric else "left", overflow="fold")
    for row in cells:
        table.add_row(*(Text(printable(cell)) for cell in row))
    console = Console(file=sys.stdout)
    if not console.is_terminal:
        console = Console(file=sys.stdout, width=PIPED_WIDTH)
    console.print(table)


def printable(text: str) -> str:
    """Stored text may hold escape sequences; a terminal must not obey them."""
    return _CONTROL.sub("�", text)


def write_file(path: Path, text: str) -> None:
    """Write a report, making its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


@contextmanager
def whole(path: Path) -> Iterator[TextIO]:
    """A text file that is there once it is written to its end; until then, what was there stays."""
    if path.exists() and not path.is_file():  # a pipe, a terminal
        with path.open("w", encoding="utf-8") as file:
            yield file
        return
    path = path.resolve()
    partial = path.with_name(path.name + ".partial")
    try:
        with partial.open("w", encoding="utf-8") as file:
            yield file
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def fail(error: Exception) -> NoReturn:
    """One line on stderr, exit 1."""
    note(f"error: {' '.join(str(error).split()) or type(error).__name__}")
    raise SystemExit(1)


def _is_number(cell: str) -> bool:
    return bool(re.fullmatch(r"-?[\d,]*\.?\d+ ?(%|ms|s|MB|×|/s)?|", cell))
