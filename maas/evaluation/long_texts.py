"""Questions about long texts, each with the places in the text that answer it.

Books: a folder of texts and a file of questions (``document``, ``question``, ``quote``: words found once in the text).
QMSum as distributed: ``meetings.jsonl.gz`` and ``queries.jsonl.gz``, whose spans are turns.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from maas.errors import InvalidInputError
from maas.evaluation.dataset import json_lines

BOOK_QUESTIONS = Path(str(resources.files("maas.evaluation") / "book_questions.jsonl"))

Span = tuple[int, int]


@dataclass(frozen=True, slots=True)
class TextQuestion:
    text: str
    spans: tuple[Span, ...]


@dataclass(frozen=True, slots=True)
class LongText:
    name: str
    text: str
    questions: tuple[TextQuestion, ...]


def read_books(folder: Path, questions: Path = BOOK_QUESTIONS) -> list[LongText]:
    """The texts of ``folder`` that ``questions`` asks about.

    Raises:
        InvalidInputError: a text is missing, or does not hold a quote exactly once; names file and line.
    """
    texts: dict[str, str] = {}
    asked: dict[str, list[TextQuestion]] = {}
    for where, row in json_lines(questions):
        name = str(row["document"])
        if name not in texts:
            texts[name] = _read(folder / name)
        quote = str(row["quote"])
        if texts[name].count(quote) != 1:
            raise InvalidInputError(f"{where}: {name} holds {quote!r} {texts[name].count(quote)} times; expected once")
        start = texts[name].index(quote)
        asked.setdefault(name, []).append(TextQuestion(str(row["question"]), ((start, start + len(quote)),)))
    return [LongText(name, texts[name], tuple(questions)) for name, questions in asked.items()]


def read_meetings(folder: Path, split: str = "test") -> list[LongText]:
    """QMSum's meetings of one split that have questions with spans; a turn is a line."""
    asked: dict[str, list[tuple[str, list[Span]]]] = {}
    for _, row in json_lines(folder / "queries.jsonl.gz"):
        if row["split"] == split and row.get("spans"):
            turns = [(int(first), int(last)) for first, last in row["spans"]]
            asked.setdefault(str(row["meeting"]), []).append((str(row["query"]), turns))
    meetings = []
    for _, row in json_lines(folder / "meetings.jsonl.gz"):
        if row["split"] == split and row["meeting"] in asked:
            starts, text = _joined(row["turns"])
            meetings.append(LongText(row["meeting"], text, tuple(_questions(asked[row["meeting"]], starts))))
    return meetings


def _questions(asked: list[tuple[str, list[Span]]], starts: list[int]) -> Iterator[TextQuestion]:
    last_turn = len(starts) - 2
    for text, turns in asked:
        spans = [(starts[first], starts[min(last, last_turn) + 1]) for first, last in turns if first <= last_turn]
        if spans:
            yield TextQuestion(text, tuple(spans))


def _joined(turns: list[str]) -> tuple[list[int], str]:
    """Where each turn starts, with the end of the last behind them; and the text."""
    starts = [0]
    for turn in turns:
        starts.append(starts[-1] + len(turn) + 1)
    return starts, "".join(f"{turn}\n" for turn in turns)


def _read(path: Path) -> str:
    try:
        opener = gzip.open if path.suffix == ".gz" else open
        with opener(path, "rt", encoding="utf-8") as file:
            return file.read()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInputError(f"{path} cannot be read: {error}") from None
