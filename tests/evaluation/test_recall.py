"""The evaluation from the command line: every turn stored through the product, every question asked of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from maas.cli import main
from maas.evaluation.metrics import METRICS
from tests.fakes import FakeEmbedder

TURNS = [
    ("c1", "D1:1", 1, "Ann", "I adopted a greyhound called Spark in Seville.", None),
    ("c1", "D1:2", 1, "Bo", "My kettle broke on Tuesday.", None),
    ("c1", "D2:1", 2, "Ann", "Look at the lighthouse I painted!", "a lighthouse at dusk"),
    ("c1", "D2:2", 2, "Bo", "My kettle broke on Tuesday.", None),
    ("c2", "D1:1", 1, "Cy", "The violin lesson is at noon.", None),
]
QUESTIONS = [
    ("c1", "greyhound called Spark", "single_hop", ["D1:1"]),
    ("c1", "lighthouse at dusk", "single_hop", ["D2:1"]),
    ("c1", "kettle broke on Tuesday", "multi_hop", ["D1:2", "D2:2"]),
    ("c1", "what is not answered", "adversarial", []),
    ("c2", "when is the violin lesson", "temporal", ["D1:1"]),
]


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    docs, queries = tmp_path / "docs.jsonl", tmp_path / "queries.jsonl"
    with docs.open("w") as file:
        for conv_id, doc_id, session, speaker, text, caption in TURNS:
            row = {"conv_id": conv_id, "doc_id": doc_id, "session": session, "speaker": speaker, "text": text}
            row |= {"date": "1:56 pm on 8 May, 2023", "image_caption": caption}
            file.write(json.dumps(row) + "\n")
    with queries.open("w") as file:
        for conv_id, question, category, evidence in QUESTIONS:
            row = {"conv_id": conv_id, "question": question, "category": category, "evidence": evidence}
            file.write(json.dumps(row) + "\n")
    return ["eval", "recall", "--docs", str(docs), "--queries", str(queries)]


def evaluate(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    with pytest.raises(SystemExit) as exit_:
        main([*arguments, "--json"], embedder=FakeEmbedder())
    captured = capsys.readouterr()
    assert not exit_.value.code, captured.err
    assert "store: 5 of 5" in captured.err or "--limit" in arguments
    report: dict[str, Any] = json.loads(captured.out)
    return report


@pytest.mark.parametrize("mode", [None, "dense", "lexical", "hybrid"])
def test_every_turn_is_stored_and_found(files: list[str], capsys: pytest.CaptureFixture[str], mode: str | None) -> None:
    report = evaluate(capsys, *files, *(["--mode", mode] if mode else []))
    assert tuple(report["overall"]) == METRICS
    # Repeated word for word by a second turn, and still both are stored and found.
    assert report["by_category"]["multi_hop"]["all@10"] == 100
    assert report["overall"]["mean@10"] == 100
    assert report["overall"]["mrr"] == 100
    assert (report["questions"], report["skipped_without_evidence"], report["memories"]) == (4, 1, 5)
    assert set(report["by_category"]) == {"single_hop", "multi_hop", "temporal"}
    assert report["questions_by_group"] == {"1-5": 4}
    assert 0 < report["latency_ms"]["p50"] <= report["latency_ms"]["p95"]


def test_ablation_leaves_one_part_out_at_a_time(
    files: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    report = evaluate(capsys, *files, "--ablation", "--out", str(tmp_path / "out"))
    table = report["ablation"]
    parts = ("lexical", "neighbours", "session", "speaker", "role", "dense", "context")
    assert {"everything", "vectors only", "words only", *(f"without {part}" for part in parts)} <= set(table)
    assert table["everything"]["all"]["turn mean@10"] == report["overall"]["mean@10"]
    assert table["everything"]["all"]["session all@10"] == 100
    assert set(table["everything"]) == {"all", "1-5"}
    first, last = report["thresholds"][0], report["thresholds"][-1]
    assert first["min_score"] < last["min_score"]
    assert first["evidence_kept"] >= last["evidence_kept"]
    assert first["precision"] > 0
    assert first["unanswerable_answered"] is not None, "one question has no answer, and is asked all the same"
    written = (tmp_path / "out" / "recall.md").read_text()
    assert "| without neighbours |" in written
    assert "answered without an answer" in written
    assert (tmp_path / "out" / "recall.png").read_bytes().startswith(b"\x89PNG")


def test_session_level_ranks_sessions(files: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    report = evaluate(capsys, *files, "--level", "session")
    assert report["overall"]["all@10"] == 100
    assert report["level"] == "session"


def test_out_keeps_the_report_and_each_question(
    files: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    report = evaluate(capsys, *files, "--limit", "1", "--out", str(tmp_path / "out"))
    assert report["questions"] == 3
    assert json.loads((tmp_path / "out" / "recall.json").read_text()) == report
    assert len((tmp_path / "out" / "questions.jsonl").read_text().splitlines()) == 3
    assert "| overall | 3 |" in (tmp_path / "out" / "recall.md").read_text()


def test_groups_are_five_conversations_in_file_order(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    docs, queries = tmp_path / "d.jsonl", tmp_path / "q.jsonl"
    names = [f"conversation {number}" for number in range(7)]
    docs.write_text("".join(json.dumps({"conv_id": n, "doc_id": "1", "text": f"the {n}"}) + "\n" for n in names))
    queries.write_text(
        "".join(json.dumps({"conv_id": n, "question": n, "evidence": ["1"]}) + "\n" for n in reversed(names))
    )
    with pytest.raises(SystemExit):
        main(["eval", "recall", "--docs", str(docs), "--queries", str(queries), "--json"], embedder=FakeEmbedder())
    assert json.loads(capsys.readouterr().out)["questions_by_group"] == {"1-5": 5, "6-10": 2}
