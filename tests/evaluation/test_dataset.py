"""Reading both published shapes, and saying where a file is wrong."""

import gzip
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from maas.errors import InvalidInputError
from maas.evaluation.dataset import parse_date, read_dataset


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    text = "".join(json.dumps(row) + "\n" for row in rows)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


def test_locomo_shape(tmp_path: Path) -> None:
    docs = write(
        tmp_path / "docs.jsonl.gz",
        [
            {"conv_id": "c", "doc_id": "D1:1", "session": 1, "date": "1:56 pm on 8 May, 2023", "speaker": "Ann",
             "text": "Look!", "image_caption": "a red boat"},
            {"conv_id": "c", "doc_id": "D2:1", "session": 2, "date": "12:40 am on 27 March, 2024", "speaker": "Bo",
             "text": "Nice.", "image_caption": None},
        ],
    )  # fmt: skip
    queries = write(
        tmp_path / "q.jsonl",
        [
            {"conv_id": "c", "qid": "q0", "question": "What?", "category": 4, "category_name": "single_hop",
             "evidence": ["D1:1", "D9:9"]},
            {"conv_id": "c", "qid": "q1", "question": "Nothing?", "category": 5, "evidence": []},
        ],
    )  # fmt: skip
    dataset = read_dataset(docs, queries)
    (conversation,) = dataset.conversations
    first, second = conversation.turns
    assert first.text == "Look! [image: a red boat]"
    assert (first.speaker, first.role, first.session) == ("Ann", "user", "1")
    assert first.said_at == datetime(2023, 5, 8, 13, 56, tzinfo=UTC)
    assert second.said_at == datetime(2024, 3, 27, 0, 40, tzinfo=UTC)
    assert list(conversation.sessions()) == ["1", "2"]
    (question,) = conversation.questions
    assert (question.category, question.evidence) == ("single_hop", {"D1:1"})
    assert (dataset.without_evidence, dataset.unknown_evidence) == (1, 1)


def test_beam_shape_carries_the_time_anchor_on(tmp_path: Path) -> None:
    rows = [
        {"conv_id": "b", "doc_id": 0, "batch": 1, "role": "user", "time_anchor": "March-15-2024", "text": "Hello"},
        {"conv_id": "b", "doc_id": 1, "batch": 1, "role": "assistant", "time_anchor": None, "text": "Hi"},
    ]
    queries = [{"conv_id": "b", "qid": "q", "question": "Who?", "category": "temporal_reasoning", "evidence": [1]}]
    dataset = read_dataset(write(tmp_path / "d.jsonl", rows), write(tmp_path / "q.jsonl", queries))
    turns = dataset.conversations[0].turns
    assert [turn.role for turn in turns] == ["user", "assistant"]
    assert [turn.said_at for turn in turns] == [datetime(2024, 3, 15, tzinfo=UTC)] * 2
    assert dataset.conversations[0].questions[0].evidence == {"1"}


def test_limit_keeps_the_first_conversations(tmp_path: Path) -> None:
    docs = write(tmp_path / "d.jsonl", [{"conv_id": c, "doc_id": "1", "text": c} for c in ("x", "y", "z")])
    queries = write(tmp_path / "q.jsonl", [{"conv_id": c, "question": c, "evidence": ["1"]} for c in ("z", "y", "x")])
    dataset = read_dataset(docs, queries, limit=2)
    assert [conversation.conv_id for conversation in dataset.conversations] == ["x", "y"]
    assert [len(conversation.questions) for conversation in dataset.conversations] == [1, 1]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", r"d\.jsonl:2: no JSON"),
        ("[1]", r"d\.jsonl:2: holds a list; expected an object"),
        ('{"conv_id": "c", "doc_id": "1", "text": "again"}', r"d\.jsonl:2: doc_id '1' of 'c' was given before"),
        ('{"conv_id": "c", "doc_id": "2"}', r"d\.jsonl:2: has no 'text', only conv_id, doc_id"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, line: str, said: str) -> None:
    docs = tmp_path / "d.jsonl"
    docs.write_text('{"conv_id": "c", "doc_id": "1", "text": "t"}\n' + line + "\n")
    with pytest.raises(InvalidInputError, match=said):
        read_dataset(docs, write(tmp_path / "q.jsonl", []))


def test_a_question_about_nobody_is_refused(tmp_path: Path) -> None:
    docs = write(tmp_path / "d.jsonl", [{"conv_id": "c", "doc_id": "1", "text": "t"}])
    queries = write(tmp_path / "q.jsonl", [{"conv_id": "other", "question": "?", "evidence": ["1"]}])
    with pytest.raises(InvalidInputError, match="conversation 'other' is not in"):
        read_dataset(docs, queries)


def test_a_broken_archive_and_an_empty_file(tmp_path: Path) -> None:
    broken = tmp_path / "d.jsonl.gz"
    broken.write_bytes(b"not gzip at all")
    with pytest.raises(InvalidInputError, match="cannot be read"):
        read_dataset(broken, broken)
    with pytest.raises(InvalidInputError, match="holds no turn"):
        read_dataset(write(tmp_path / "e.jsonl", []), write(tmp_path / "q.jsonl", []))


@pytest.mark.parametrize("written", ["2024-05-01T12:00:00Z", "2024-05-01T14:00:00+02:00", "2024-05-01 12:00:00"])
def test_iso_dates_are_taken_as_utc(written: str) -> None:
    assert parse_date(written) == datetime(2024, 5, 1, 12, tzinfo=UTC)


def test_an_unknown_date_is_none() -> None:
    assert parse_date("the day before yesterday") is None
