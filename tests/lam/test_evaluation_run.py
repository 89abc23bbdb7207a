"""The evaluation from its command line, on a tiny model and data of a few lines."""

from __future__ import annotations

import gzip
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lam_backend.checkpoint import save_checkpoint
from lam_backend.evaluation import one_pass
from lam_backend.evaluation.__main__ import main
from lam_backend.evaluation.ablation import read_run
from lam_backend.evaluation.datasets import Conversation, existing, read_collection, read_locomo, read_qmsum
from lam_backend.evaluation.encoders import Encoder, cached
from lam_backend.evaluation.long_texts import texts_of_length, token_pieces
from lam_backend.evaluation.queries import passage_queries, thinned
from lam_backend.evaluation.report import Part, Table, number
from lam_backend.evaluation.scaling import exponent, fit
from lam_backend.model import DeltaNet6Layer
from tests.lam.conftest import TINY, WORDS

REPOSITORY = Path(__file__).parents[2]


def sentence(generator: random.Random, count: int) -> str:
    return " ".join(generator.choices(WORDS, k=count)) + "."


def write_jsonl(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(row) + "\n" for row in rows)
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text, encoding="utf-8")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every set the evaluation reads, of a few lines each."""
    root = tmp_path_factory.mktemp("data")
    generator = random.Random(0)
    evaluation = root / "eval"
    (evaluation / "stsb").mkdir(parents=True)
    (evaluation / "sts12-15").mkdir()
    pairs = [(n % 6, sentence(generator, 5), sentence(generator, 6)) for n in range(30)]
    for split in ("dev", "test"):
        rows = "".join(f"{score}.0\t{a}\t{b}\n" for score, a, b in pairs)
        (evaluation / "stsb" / f"en_{split}.tsv").write_text("score\tsentence1\tsentence2\n" + rows, encoding="utf-8")
    for year in (12, 13, 14, 15):
        rows = "".join(f"set\t{score}\t{a}\t{b}\n" for score, a, b in pairs)
        held = ("subset\tscore\tsentence1\tsentence2\n" + rows).encode()
        (evaluation / "sts12-15" / f"sts{year}.tsv.gz").write_bytes(gzip.compress(held))
    for name, judgements in (("scifact", "qrels_test.tsv"), ("cranfield", "qrels.tsv")):
        documents = [{"_id": f"d{n}", "title": "the cat", "text": sentence(generator, 20)} for n in range(12)]
        write_jsonl(evaluation / name / "corpus.jsonl.gz", documents)
        queries = [{"_id": f"q{n}", "text": sentence(generator, 4)} for n in range(4)]
        write_jsonl(evaluation / name / "queries.jsonl", queries)
        rows = "query-id\tcorpus-id\tscore\nq0\td1\t1\nq0\td2\t3\nq1\td3\t1\nq2\td4\t0\n"
        (evaluation / name / judgements).write_text(rows, encoding="utf-8")
    turns = [
        {"conv_id": f"c{c}", "doc_id": f"D{s}:{t}", "session": s, "speaker": "Ann", "text": sentence(generator, 7)}
        for c in range(2)
        for s in range(2)
        for t in range(8)
    ]
    turns[0]["image_caption"] = "a bird"
    write_jsonl(evaluation / "locomo" / "docs.jsonl.gz", turns)
    asked: list[dict[str, Any]] = [
        {"conv_id": f"c{c}", "question": sentence(generator, 5), "evidence": [f"D1:{n}", "D9:9"]}
        for c in range(2)
        for n in range(3)
    ]
    asked.append({"conv_id": "c1", "question": "unanswered", "evidence": []})
    write_jsonl(evaluation / "locomo" / "queries.jsonl.gz", asked)
    meeting = {"meeting": "m", "split": "test", "turns": [f"A: {sentence(generator, 9)}" for _ in range(60)]}
    write_jsonl(evaluation / "qmsum" / "meetings.jsonl.gz", [meeting, {**meeting, "meeting": "n", "split": "train"}])
    spans = [
        {"meeting": "m", "split": "test", "query": "the cat sat", "spans": [["3", "9"]]},
        {"meeting": "m", "split": "test", "query": "in general", "kind": "general"},
    ]
    write_jsonl(evaluation / "qmsum" / "queries.jsonl.gz", spans)
    (evaluation / "long_books").mkdir()
    (evaluation / "long_books" / "SOURCE.txt").write_text("where it is from", encoding="utf-8")
    for name in ("anarchist_faq_long", "zoo"):
        book = "\n".join(" ".join(sentence(generator, 10).capitalize() for _ in range(6)) for _ in range(60))
        (evaluation / "long_books" / f"{name}.txt.gz").write_bytes(gzip.compress(book.encode()))
    return root


@pytest.fixture(scope="module")
def checkpoint(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny-lam")
    model = DeltaNet6Layer.untrained(base, TINY)
    save_checkpoint(folder / "model.safetensors", model.trained_state(), TINY, "tiny-lam")
    return folder


def arguments(part: str, data: Path, out: Path, base: Path, checkpoint: Path, *more: str) -> list[str]:
    places = ["--data", data, "--out", out, "--base", base, "--model", checkpoint]
    return [part, *map(str, places), "--no-peers", "--quick", "--threads", "1", *more]


@pytest.mark.timeout(400)  # eight processes that each import torch
def test_all_parts_are_written_and_assembled(data: Path, base: Path, checkpoint: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    write_run(run, checkpoint, budget=100)
    main(arguments("all", data, tmp_path / "out", base, checkpoint, "--runs", str(run)))
    report = (tmp_path / "out" / "REPORT.md").read_text(encoding="utf-8")
    headings = [line for line in report.splitlines() if line.startswith("## ")]
    assert headings == [
        "## Semantic textual similarity",
        "## Retrieval",
        "## Long context",
        "## Time and memory over length",
        "## Speed",
        "## Forms at one budget",
    ]
    assert "A quick run" in report
    assert "nan" not in report
    for plot in ("scaling.png", "ablation.png"):
        assert (tmp_path / "out" / plot).read_bytes().startswith(b"\x89PNG")
        assert f"![{plot}]({plot})" in report
    figures = json.loads((tmp_path / "out" / "scaling.json").read_text(encoding="utf-8"))["part"]["figures"]
    assert [point["tokens"] for point in figures["lam"]] == [32, 128, 512]
    assert [point["tokens"] for point in figures["teacher"]] == [32]
    assert all(point["seconds"] > 0 and point["peak_bytes"] >= 0 for point in figures["lam"])
    rates, *_ = json.loads((tmp_path / "out" / "speed.json").read_text(encoding="utf-8"))["part"]["tables"]
    assert rates["columns"][3:] == ["16 tokens, tokens/s", "128 tokens, tokens/s"]
    assert all(int(rate.replace(",", "")) > 0 for row in rates["rows"] for rate in row[3:])


def test_parts_of_another_model_are_left_out(data: Path, base: Path, checkpoint: Path, tmp_path: Path) -> None:
    main(arguments("sts", data, tmp_path, base, checkpoint, "--dev-only"))
    report = (tmp_path / "REPORT.md").read_text(encoding="utf-8")
    assert "STS-B dev, 30 pairs" in report
    assert "STS-B test" not in report
    other = tmp_path / "other"
    save_checkpoint(other / "model.safetensors", DeltaNet6Layer.untrained(base, TINY).trained_state(), TINY, "other")
    main(arguments("retrieval", data, tmp_path, base, other, "--sets", "cranfield"))
    report = (tmp_path / "REPORT.md").read_text(encoding="utf-8")
    assert "STS-B dev, 30 pairs" not in report
    assert "Left out: sts, measured on another model (`tiny-lam:32:mean:" in report


def test_the_command_line_runs_as_a_module_and_names_what_is_missing(
    base: Path, checkpoint: Path, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "lam_backend.evaluation"]
    command += arguments("sts", tmp_path / "nowhere", tmp_path / "out", base, checkpoint)
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, env={**os.environ})
    assert done.returncode != 0
    assert "en_dev.tsv is missing" in done.stderr


def test_collections_keep_judged_queries_and_do_not_repeat_titles(data: Path, tmp_path: Path) -> None:
    collection = read_collection(data / "eval" / "scifact", "qrels_test.tsv")
    assert collection.relevant == [{1: 1.0, 2: 3.0}, {3: 1.0}]
    assert len(collection.queries) == 2
    assert collection.documents[0].startswith("the cat ")
    write_jsonl(tmp_path / "corpus.jsonl", [{"_id": "a", "title": "A wing .", "text": "A wing . in a stream"}])
    write_jsonl(tmp_path / "queries.jsonl", [{"_id": "1", "text": "wing"}])
    (tmp_path / "qrels.tsv").write_text("1\ta\t2\n", encoding="utf-8")
    assert read_collection(tmp_path, "qrels.tsv").documents == ["A wing . in a stream"]
    (tmp_path / "qrels.tsv").write_text("1\tb\t2\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"qrels\.tsv:1 is .*known corpus-id"):
        read_collection(tmp_path, "qrels.tsv")
    with pytest.raises(FileNotFoundError, match="with or without .gz"):
        existing(tmp_path / "absent.tsv")


def test_conversations_hold_spoken_turns_and_answerable_questions(data: Path) -> None:
    first, second = read_locomo(data)
    assert isinstance(first, Conversation)
    assert [len(session) for session in first.sessions] == [8, 8]
    assert first.turns[0].startswith("Ann: ")
    assert first.turns[0].endswith(" [image: a bird]")
    assert first.relevant == [{8: 1.0}, {9: 1.0}, {10: 1.0}]
    assert len(second.questions) == 3


def test_meetings_have_the_spans_of_their_specific_queries(data: Path) -> None:
    (meeting,) = read_qmsum(data)
    assert meeting.queries == [("the cat sat", [(3, 9)])]
    assert len(meeting.turns) == 60


def test_what_is_encoded_once_is_kept(tmp_path: Path) -> None:
    calls = []

    def encode(texts: Any) -> Any:
        calls.append(list(texts))
        return np.full((len(texts), 2), len(calls), dtype=np.float32)

    kept = cached(Encoder("e", "space", encode), tmp_path)
    np.testing.assert_array_equal(kept.encode(["a", "b"]), kept.encode(["a", "b"]))
    kept.encode(["ab"])
    cached(Encoder("e", "other space", encode), tmp_path).encode(["ab"])
    assert calls == [["a", "b"], ["ab"], ["ab"]]


def test_tokens_come_exactly_and_texts_at_their_length(data: Path, tiny: DeltaNet6Layer) -> None:
    books = sorted((data / "eval" / "long_books").glob("*.gz"))
    for count in (-1, 0):
        assert not any(token_pieces(tiny.tokenizer, books, count))
    for count in (1, 777, 20_000):  # the last is more than the books hold: they are read again
        assert sum(len(ids) for ids in token_pieces(tiny.tokenizer, books, count)) == count
    texts = texts_of_length(tiny.tokenizer, books, 30, 5)
    assert [len(ids) + 2 for ids in tiny.tokenizer.ids(texts)] == [30] * 5
    assert len(set(texts)) == 5


def test_queries_lose_a_third_of_their_content_words() -> None:
    generator = np.random.default_rng(0)
    text = "The old sailor of the northern harbour told nine strangers a story about whales"
    left = thinned(text, 1 / 3, generator).split()
    assert len(left) == len(text.split()) - 3  # nine content words, a third of them gone
    assert [word for word in text.split() if word in left] == left
    assert {"The", "of", "the", "a"} <= set(left)
    assert thinned("it is the", 1 / 3, generator) == "it is the"
    passages = [
        "Short. " + " ".join(f"Word{n}{i} goes on and on with number {i} until it stops." for i in range(5))
        for n in range(9)
    ]
    queries, relevant = passage_queries(passages, 4, seed=1)
    assert len(queries) == len(relevant) == 4
    assert all(f"number {query.split('number ')[1][0]}" in passages[next(iter(gold))]
               for query, gold in zip(queries, relevant, strict=True) if "number " in query)  # fmt: skip
    assert passage_queries(passages, 4, seed=1) == (queries, relevant)


def test_fits_tell_a_line_from_a_parabola() -> None:
    tokens = [128.0, 1024.0, 8192.0, 65536.0]
    line = [0.01 + 2e-4 * n for n in tokens]
    parabola = [0.01 + 1e-6 * n**2 for n in tokens]
    assert fit(tokens, line, 1).r_squared == pytest.approx(1)
    assert fit(tokens, line, 1).coefficients[0] == pytest.approx(2e-4)
    assert fit(tokens, line, 2).coefficients[0] * 65536**2 == pytest.approx(0, abs=1e-6)
    assert fit(tokens, parabola, 1).r_squared < fit(tokens, line, 1).r_squared
    assert fit(tokens, parabola, 2).r_squared == pytest.approx(1)
    assert fit(tokens, parabola, 2).at(1e6) == pytest.approx(1e6, rel=1e-3)
    assert exponent(tokens[1:], parabola[1:]) == pytest.approx(2, abs=0.02)
    with pytest.raises(ValueError, match="2 points cannot fix a polynomial of degree 2"):
        fit([1, 2], [1, 2], 2)


@pytest.mark.parametrize("exact", [True, False])
def test_the_memory_of_a_block_is_what_it_held_at_its_height(monkeypatch: pytest.MonkeyPatch, exact: bool) -> None:
    if not exact:
        monkeypatch.setattr(one_pass, "_forget_peak", lambda: False)
    held = 64 * 2**20

    def read() -> None:
        block = np.ones(held, dtype=np.uint8)
        time.sleep(0.05)
        assert block[-1] == 1

    np.ones(held, dtype=np.uint8).sum()  # a greater height before the block does not count
    found = one_pass.measure_memory(read)
    slack = 4 * 2**20  # the kernel counts pages in batches
    assert held - slack <= found["peak_bytes"] < held + 2 * slack


def write_run(folder: Path, checkpoint: Path, *, budget: int) -> None:
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes((checkpoint / "model.safetensors").read_bytes())
    (folder / "run.json").write_text(json.dumps({"tokens": budget, "config": TINY.to_dict()}), encoding="utf-8")
    records = [{"step": 1, "tokens": 50, "dev_pearson": 0.1}, {"step": 2, "tokens": 100, "dev_pearson": 0.2}]
    (folder / "log.jsonl").write_text("".join(json.dumps(r) + "\n" for r in records), encoding="utf-8")


def test_runs_say_their_form_and_must_share_a_budget(data: Path, base: Path, checkpoint: Path, tmp_path: Path) -> None:
    write_run(tmp_path / "a", checkpoint, budget=100)
    write_run(tmp_path / "b", checkpoint, budget=200)
    run = read_run(tmp_path / "a")
    assert run.curve == [(50, 0.1), (100, 0.2)]
    assert "d_model 32" in run.form
    both = ["--runs", str(tmp_path / "a"), str(tmp_path / "b")]
    with pytest.raises(ValueError, match=r"budgets of \[100, 200\] tokens"):
        main(arguments("ablation", data, tmp_path / "out", base, checkpoint, *both))
    (tmp_path / "b" / "log.jsonl").write_text('{"step": 1, "tokens": 5}\n', encoding="utf-8")
    with pytest.raises(ValueError, match="holds 1 records and no dev_pearson"):
        read_run(tmp_path / "b")
    with pytest.raises(FileNotFoundError, match=r"run\.json is missing"):
        read_run(tmp_path / "c")
    (tmp_path / "a" / "run.json").write_text('{"stage": "long", "tokens": 5}', encoding="utf-8")
    with pytest.raises(ValueError, match="is a run of the stage 'long'"):
        read_run(tmp_path / "a")


def test_numbers_that_measure_nothing_are_refused(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["scaling", "--data", str(data), "--out", str(tmp_path), "--lengths", "1"])
    assert "'1' is no whole number of at least 2" in capsys.readouterr().err


def test_tables_are_markdown() -> None:
    part = Part("p", "A part", [Table("T", ("", "x"), [["a", number(1.25)], ["b", number(float("nan"))]])], ["Note."])
    assert part.markdown() == "## A part\n\n### T\n\n|  | x |\n|---|---|\n| a | 1.2 |\n| b | — |\n\n- Note.\n"


@pytest.mark.model
def test_the_peer_is_the_packaged_minilm_and_mpnet_is_said_to_be_absent(base: Path) -> None:
    from lam_backend.evaluation.peers import load_peer, load_peers

    peers, absent = load_peers(None)
    assert [peer.name for peer in peers] == ["all-MiniLM-L6-v2"]
    assert absent == ["all-mpnet-base-v2 was not measured: no folder was given (--mpnet FOLDER)"]
    near, far, other = peers[0].encode(["A man plays a guitar.", "Somebody plays guitar.", "Stocks fell on Monday."])
    assert near @ far > 0.7 > 0.3 > near @ other
    assert near.dtype == np.float32
    assert np.linalg.norm(near) == pytest.approx(1, abs=1e-5)
    with pytest.raises(FileNotFoundError, match=r"modules\.json is missing"):
        load_peer(base, "no sentence-transformers model")
