"""The evaluation over long texts: reading the sets, ranks by overlap, and the command itself."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from maas.errors import InvalidInputError
from maas.evaluation.long_texts import BOOK_QUESTIONS, TextQuestion, read_books, read_meetings
from maas.evaluation.text_runner import first_rank
from maas.records import SearchHit
from tests.cli.conftest import Run, run  # noqa: F401 - fixtures

BOOK = "\n\n".join(f"Chapter {n}. Captain {n} hid the pearl under rock {n}. " + "Waves. " * 60 for n in range(30))


@pytest.fixture
def books(tmp_path: Path) -> Path:
    (tmp_path / "book.txt").write_text(BOOK, encoding="utf-8")
    lines = [
        {"document": "book.txt", "question": f"Where did captain {n} hide it?", "quote": f"under rock {n}. "}
        for n in (3, 21)
    ]
    (tmp_path / "questions.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return tmp_path


def test_quotes_become_places(books: Path) -> None:
    (book,) = read_books(books, books / "questions.jsonl")
    assert [book.text[slice(*question.spans[0])] for question in book.questions] == [
        "under rock 3. ",
        "under rock 21. ",
    ]
    (books / "questions.jsonl").write_text('{"document": "book.txt", "question": "?", "quote": "Waves"}')
    with pytest.raises(InvalidInputError, match="questions.jsonl:1.*expected once"):
        read_books(books, books / "questions.jsonl")


def test_spans_of_turns_become_places(tmp_path: Path) -> None:
    meeting = {"meeting": "m", "split": "test", "turns": ["A: one", "B: two", "A: three"]}
    queries = [
        {"meeting": "m", "split": "test", "query": "two?", "spans": [["1", "2"]]},
        {"meeting": "m", "split": "test", "query": "all?", "spans": None},
        {"meeting": "m", "split": "train", "query": "no?", "spans": [["0", "0"]]},
    ]
    for name, rows in (("meetings", [meeting]), ("queries", queries)):
        with gzip.open(tmp_path / f"{name}.jsonl.gz", "wt") as file:
            file.writelines(json.dumps(row) + "\n" for row in rows)
    (text,) = read_meetings(tmp_path)
    (question,) = text.questions
    assert text.text[slice(*question.spans[0])] == "B: two\nA: three\n"


def test_the_rank_is_that_of_the_first_overlap() -> None:
    fields = {"id": "i", "user_id": "u", "text": "t", "created_at": 0, "updated_at": 0, "score": 0.5}
    hits = [SearchHit(**fields, start=start, end=start + 10) for start in (0, 10, 20)]
    assert first_rank(hits, TextQuestion("?", ((19, 21),))) == 2
    assert first_rank(hits, TextQuestion("?", ((30, 40),))) is None


def test_the_shipped_questions_are_whole() -> None:
    rows = [json.loads(line) for line in BOOK_QUESTIONS.read_text(encoding="utf-8").splitlines()]
    assert len({row["document"] for row in rows}) == 2
    assert all(row["question"].endswith("?") and row["quote"].strip() for row in rows)


def test_the_command_reports_each_mode(run: Run, books: Path) -> None:  # noqa: F811
    done = run("eval", "documents", "--books", str(books), "--questions", str(books / "questions.jsonl"), "--json")
    assert done.code == 0, done.err
    assert set(done.json["modes"]) == {"hybrid", "dense", "lexical"}
    assert done.json["modes"]["lexical"]["any@5"] == 100
    assert done.json["questions"] == 2
    assert run("eval", "documents").code == 2
