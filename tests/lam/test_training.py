"""Training through its public doors, on a miniature of the data folder."""

from __future__ import annotations

import gzip
import hashlib
import json
import multiprocessing
import os
import random
import signal
import time
from itertools import islice, pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from lam_backend.checkpoint import load_checkpoint, save_checkpoint
from lam_backend.config import LAMConfig
from lam_backend.model import DeltaNet6Layer
from lam_backend.tokenizer import Tokenizer
from lam_backend.training import sources
from lam_backend.training.__main__ import main
from lam_backend.training.blocklist import Blocklist, normal_form
from lam_backend.training.curves import plot_curves
from lam_backend.training.distill import DistillPlan, distill
from lam_backend.training.finetune import FinetunePlan, finetune
from lam_backend.training.long import LongPlan, train_long
from lam_backend.training.loop import Pace
from lam_backend.training.losses import cosent, cosine_distance, similarity_mse
from lam_backend.training.passages import Document, asked, load_documents
from lam_backend.training.pool import batches, load_pool
from lam_backend.training.questions import content_words, load_windows, question
from lam_backend.training.relations import Relations
from lam_backend.training.tasks import RUN, SimilarityOf, segments
from lam_backend.training.teacher import Teacher
from tests.lam.conftest import TINY, WORDS, write_base

BLOCKED = "The cat sat on the mat."
PLAN = DistillPlan(tokens=6_000, pool_tokens=4_000, batch_tokens=256)


def sentence(rng: random.Random) -> str:
    return " ".join(rng.choices(WORDS, k=rng.randint(6, 14))) + "."


def write_lines(path: Path, rows: list[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    content = "\n".join(rows) + "\n"
    if path.suffix == ".gz":
        with gzip.open(path, "wt", encoding="utf-8") as file:
            file.write(content)
    else:
        path.write_text(content, encoding="utf-8")


def write_data(root: Path) -> Path:
    """Every source in miniature, each with the blocked sentence in it."""
    rng = random.Random(0)
    train, evaluation = root / "train", root / "eval"

    def some(count: int) -> list[str]:
        return [BLOCKED, *(sentence(rng) for _ in range(count))]

    def paragraph() -> str:
        return " ".join(some(3)) + "\n" + " ".join(some(3))

    def tsv(heading: str, *columns: list[str]) -> list[str]:
        return [heading, *("\t".join(row) for row in zip(*columns, strict=True))]

    articles = [json.dumps({"title": "T", "text": paragraph(), "gap_ratio": 0.0}) for _ in range(20)]
    for _ in range(20):
        clean = "\n".join(" ".join(sentence(rng) for _ in range(8)) for _ in range(3))
        articles.append(json.dumps({"title": sentence(rng), "text": f"{BLOCKED}\n{clean}", "gap_ratio": 0.0}))
    write_lines(train / "wikipedia_en_sample" / "articles.jsonl.gz", articles)
    write_lines(train / "wikinews_en" / "articles.jsonl.gz", articles)
    write_lines(train / "books_sample" / "paragraphs.jsonl.gz", [json.dumps({"text": t}) for t in some(60)])
    jargon = [json.dumps({"src": "foldoc", "text": t}) for t in some(20)]
    write_lines(train / "foldoc_jargon" / "paragraphs.jsonl.gz", jargon)
    for part in ("train", "dev", "test"):
        dialogues = [json.dumps({"turns": [f"U: {t}" for t in some(6)]}) for _ in range(5)]
        write_lines(train / "sgd_dialogues" / f"{part}.jsonl.gz", dialogues)
    talks = [json.dumps({"turns": some(12)}) for _ in range(20)]
    write_lines(train / "topical_chat" / "conversations.jsonl.gz", talks)
    write_lines(train / "medquad" / "qa.tsv.gz", tsv("question\tanswer", some(20), some(20)))
    write_lines(train / "open_trivia_qa" / "qa.tsv.gz", tsv("question\tanswer", some(20), some(20)))
    glosses = tsv("pos\twords\tdefinition\texamples", ["n"] * 21, some(20), some(20), some(20))
    write_lines(train / "wordnet31" / "glosses.tsv.gz", glosses)
    for part in ("dev", "test"):
        rows = tsv("label\tpremise\thypothesis", ["entailment"] * 21, some(20), some(20))
        write_lines(train / "snli_devtest" / f"{part}.tsv.gz", rows)
    for name in ("clinc150/train.tsv.gz", "clinc150/val.tsv", "clinc150/test.tsv", "banking77/train.tsv.gz"):
        write_lines(train / name, tsv("text\tintent", some(20), ["i"] * 21))
    write_lines(train / "banking77" / "test.tsv", tsv("text\tintent", some(20), ["i"] * 21))
    claims = [json.dumps({"claim": t, "evidences": [{"evidence": sentence(rng)}]}) for t in some(10)]
    write_lines(train / "climate_fever" / "claims.jsonl.gz", claims)
    write_lines(train / "wikisplit_ppdb" / "wikisplit.tsv.gz", tsv("orig\tsplit", some(20), some(20)))
    synonyms = [f"{WORDS[i]}\t{WORDS[i + 1]}" for i in range(0, len(WORDS) - 1, 2)]
    write_lines(train / "wikisplit_ppdb" / "ppdb_lexical_synonyms.txt.gz", synonyms)
    digest = hashlib.sha1(normal_form(BLOCKED).encode(), usedforsecurity=False).hexdigest()
    write_lines(evaluation / "blocklist_sha1.txt.gz", [digest])
    scored = tsv("score\tsentence1\tsentence2", [f"{i % 6}.0" for i in range(41)], some(40), some(40))
    write_lines(evaluation / "stsb" / "en_dev.tsv", scored)
    write_lines(evaluation / "stsb" / "en_train.tsv.gz", scored)
    return root


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("data"))


def test_nothing_blocked_is_trained_on(data: Path, base: Path, tmp_path: Path) -> None:
    tokenizer = Tokenizer(base)
    pool = load_pool(data, tmp_path, tokenizer, tokens=8_000, longest=32, seed=0)
    blocked = str(tokenizer.ids([BLOCKED])[0]).strip("[]")
    assert len(pool) > 50
    assert not any(blocked in str(pool[index].tolist()) for index in range(len(pool)))
    again = load_pool(data, tmp_path / "elsewhere", tokenizer, tokens=8_000, longest=32, seed=0)
    np.testing.assert_array_equal(pool.ids, again.ids)


def test_a_kept_pool_is_not_taken_past_another_blocklist(base: Path, tmp_path: Path) -> None:
    data, cache, tokenizer = write_data(tmp_path / "data"), tmp_path / "cache", Tokenizer(base)
    before = load_pool(data, cache, tokenizer, tokens=8_000, longest=32, seed=0)
    blocklist = data / "eval" / "blocklist_sha1.txt.gz"
    more = hashlib.sha1(normal_form(next(iter(sources.read(data, "banking77")))).encode(), usedforsecurity=False)
    held = gzip.decompress(blocklist.read_bytes()).decode().split()
    write_lines(blocklist, [*held, *(hashlib.sha1(str(n).encode()).hexdigest() for n in range(3)), more.hexdigest()])
    again = load_pool(data, cache, tokenizer, tokens=8_000, longest=32, seed=0)
    assert len(list(cache.glob("pool-*.npz"))) == 2
    assert len(before) > 50 < len(again)
    blocklist.unlink()
    with pytest.raises(FileNotFoundError, match="could be trained on"):
        load_pool(data, cache, tokenizer, tokens=8_000, longest=32, seed=0)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "holds nothing; expected a SHA-1"),
        (gzip.compress(b""), "holds nothing; expected a SHA-1"),
        (gzip.compress(b"The cat sat.\n"), "holds 'The cat sat.'; expected a SHA-1"),
        (gzip.compress(b"0" * 40 + b"\n")[:-9], "is damaged"),
        (b"0" * 40, "is damaged"),
    ],
)
def test_a_blocklist_that_lists_nothing_is_refused(tmp_path: Path, content: bytes, says: str) -> None:
    file = tmp_path / "blocklist_sha1.txt.gz"
    file.write_bytes(content)
    with pytest.raises(ValueError, match=says):
        Blocklist.read(file)


def test_texts_that_follow_each_other_are_read_as_one(data: Path, base: Path, tmp_path: Path) -> None:
    pool = load_pool(data, tmp_path, Tokenizer(base), tokens=30_000, longest=512, seed=0)
    one_text = max(len(ids) for ids in Tokenizer(base).ids(list(sources.read(data, "topical_chat"))))
    assert max(pool.lengths) > 4 * one_text
    assert pool.lengths[pool.lengths > 100].sum() > 0.1 * pool.lengths.sum()


def test_a_blocked_sentence_is_found_inside_a_paragraph_and_in_another_spelling() -> None:
    blocklist = Blocklist([hashlib.sha1(b"the cat sat on the mat", usedforsecurity=False).hexdigest()])
    assert blocklist.blocks("THE cat sat -- on the mat!")
    assert blocklist.blocks("A dog ran. The cat sat on the mat. It slept.")
    assert not blocklist.blocks("The cat sat on the rug.")
    assert list(blocklist.allowed(["the cat sat on the mat", "a dog"])) == ["a dog"]
    assert blocklist.dropped == 1


def test_only_listed_sources_are_read(data: Path) -> None:
    with pytest.raises(KeyError):
        sources.read(data, "locomo")
    with pytest.raises(FileNotFoundError, match="--data names the folder"):
        sources.read(data / "nowhere", "medquad")
    with pytest.raises(FileNotFoundError, match="evaluation sentences could be trained on"):
        Blocklist.read(data / "nowhere.gz")


def test_batches_are_a_pure_function_of_seed_and_number(data: Path, base: Path, tmp_path: Path) -> None:
    pool = load_pool(data, tmp_path, Tokenizer(base), tokens=8_000, longest=32, seed=0)
    whole = list(islice(batches(pool, batch_tokens=256, seed=3), 40))
    assert list(islice(batches(pool, batch_tokens=256, seed=3, first=17), 23)) == whole[17:]
    lengths = pool.lengths
    for batch in whole:
        assert len(batch) == 1 or len(batch) * max(lengths[batch]) <= 256


def run_distillation(data: Path, out: Path, base: Path) -> None:
    torch.set_num_threads(1)
    distill(data, out, PLAN, TINY, base=base, pace=Pace(save_every=0.0, dev_every=5))


@pytest.mark.timeout(400)
def test_a_killed_run_continues_identically(data: Path, base: Path, tmp_path: Path) -> None:
    run_distillation(data, tmp_path / "whole", base)
    killed = tmp_path / "killed"
    context = multiprocessing.get_context("spawn")
    process = context.Process(target=run_distillation, args=(data, killed, base))
    process.start()
    deadline = time.monotonic() + 300
    while not (killed / "optimizer.safetensors").is_file() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert (killed / "optimizer.safetensors").is_file()
    done_before = len((killed / "log.jsonl").read_text().splitlines())
    run_distillation(data, killed, base)
    whole, resumed = (load_checkpoint(tmp_path / name).tensors for name in ("whole", "killed"))
    for name, tensor in whole.items():
        assert torch.equal(tensor, resumed[name]), name
    logs = [
        [{k: v for k, v in json.loads(line).items() if k != "time"} for line in path.read_text().splitlines()]
        for path in (tmp_path / "whole" / "log.jsonl", killed / "log.jsonl")
    ]
    assert logs[0] == logs[1]
    assert 0 < done_before < len(logs[0])


def test_distillation_comes_nearer_to_the_teacher_and_draws_its_curves(data: Path, base: Path, tmp_path: Path) -> None:
    run_distillation(data, tmp_path / "run", base)
    records = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert np.mean([r["cosine"] for r in records[-4:]]) < 0.8 * records[0]["cosine"]
    assert records[-1]["tokens"] >= PLAN.tokens
    assert any("dev_pearson" in record for record in records)
    assert plot_curves(tmp_path / "run").stat().st_size > 5_000


def test_a_run_that_was_killed_while_writing_goes_on(data: Path, base: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run_distillation(data, run, base)
    log, weights = (run / "log.jsonl").read_text(), (run / "model.safetensors").read_bytes()
    (run / "model.safetensors").unlink()  # killed after the state was saved, before the copy of its weights
    with (run / "log.jsonl").open("a") as file:
        file.write('{"time": 1.0, "ste')
    run_distillation(data, run, base)
    assert (run / "model.safetensors").read_bytes() == weights
    assert (run / "log.jsonl").read_text() == log
    (run / "log.jsonl").write_text("")
    with pytest.raises(ValueError, match="lacks step"):
        run_distillation(data, run, base)
    (run / "run.json").write_text("{")
    with pytest.raises(ValueError, match=r"run\.json is damaged"):
        run_distillation(data, run, base)


def test_a_start_that_is_missing_leaves_no_run_behind(data: Path, base: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no checkpoint at"):
        train_long(data, tmp_path / "run", LongPlan(), tmp_path / "nowhere", base=base)
    assert not (tmp_path / "run").exists()


def test_other_arguments_are_refused_for_a_run_that_exists(data: Path, base: Path, tmp_path: Path) -> None:
    run_distillation(data, tmp_path / "run", base)
    with pytest.raises(ValueError, match="seed=0, asked for 1"):
        distill(data, tmp_path / "run", DistillPlan(**{**PLAN_FIELDS, "seed": 1}), TINY, base=base)


PLAN_FIELDS = {name: getattr(PLAN, name) for name in PLAN.__dataclass_fields__}


@pytest.fixture(scope="module")
def start(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    model = DeltaNet6Layer.untrained(base, TINY)
    file = tmp_path_factory.mktemp("start") / "model.safetensors"
    save_checkpoint(file, model.trained_state(), TINY, "start")
    return file


def test_the_long_stage_reads_several_segments(data: Path, base: Path, start: Path, tmp_path: Path) -> None:
    plan = LongPlan(tokens=3_000, longest=128, texts=10, foreign_memory=0.5)
    train_long(data, tmp_path / "long", plan, start, base=base, pace=Pace(dev_every=5))
    before, after = load_checkpoint(start).tensors, load_checkpoint(tmp_path / "long").tensors
    assert any(not torch.equal(before[name], after[name]) for name in before)
    records = [json.loads(line) for line in (tmp_path / "long" / "log.jsonl").read_text().splitlines()]
    assert max(b["tokens"] - a["tokens"] for a, b in pairwise(records)) > 2 * TINY.segment_length


def test_fine_tuning_learns_the_order_of_sts(data: Path, base: Path, start: Path, tmp_path: Path) -> None:
    plan = FinetunePlan(
        tokens=12_000, sts_share=0.8, peak_lr=1e-3, anchor_weight=0.1, pair_count=200, question_share=0.0,
        passage_share=0.0, teacher_share=0.0,
    )  # fmt: skip
    finetune(data, tmp_path / "fine", plan, start, base=base, pace=Pace(dev_every=10))
    records = [json.loads(line) for line in (tmp_path / "fine" / "log.jsonl").read_text().splitlines()]
    sts = [record["sts"] for record in records if "sts" in record]
    assert np.mean(sts[-5:]) < np.mean(sts[:5])
    assert any("pair" in record for record in records)


def test_fine_tuning_learns_to_find_the_turn_a_question_was_made_from(
    data: Path, base: Path, start: Path, tmp_path: Path
) -> None:
    plan = FinetunePlan(
        tokens=20_000, sts_share=0.0, pair_share=0.0, question_share=1.0, question_weight=1.0, peak_lr=1e-3,
        anchor_weight=0.0, window_count=20, window_characters=200, passage_share=0.0, teacher_share=0.0,
    )  # fmt: skip
    finetune(data, tmp_path / "fine", plan, start, base=base, pace=Pace(dev_every=1000))
    losses = [json.loads(line)["question"] for line in (tmp_path / "fine" / "log.jsonl").read_text().splitlines()]
    assert np.mean(losses[-5:]) < 0.9 * np.mean(losses[:5])


def test_fine_tuning_learns_to_find_the_passage_that_is_asked_for(
    data: Path, base: Path, start: Path, tmp_path: Path
) -> None:
    plan = FinetunePlan(
        tokens=20_000, sts_share=0.0, pair_share=0.0, question_share=0.0, passage_share=1.0, passage_weight=1.0,
        peak_lr=1e-3, anchor_weight=0.0, document_count=40, passage_characters=700, batch_documents=4,
        teacher_share=0.0,
    )  # fmt: skip
    finetune(data, tmp_path / "fine", plan, start, base=base, pace=Pace(dev_every=1000))
    losses = [json.loads(line)["passage"] for line in (tmp_path / "fine" / "log.jsonl").read_text().splitlines()]
    assert np.mean(losses[-8:]) < 0.9 * np.mean(losses[:8])


def test_fine_tuning_is_held_to_the_first_teachers_vectors(data: Path, base: Path, start: Path, tmp_path: Path) -> None:
    plan = FinetunePlan(
        tokens=20_000, sts_share=0.0, pair_share=0.0, question_share=0.0, passage_share=0.0, teacher_share=1.0,
        peak_lr=1e-3, anchor_weight=0.0, document_count=40, passage_characters=700, batch_documents=4,
    )  # fmt: skip
    finetune(data, tmp_path / "fine", plan, start, base=base, pace=Pace(dev_every=1000))
    passages = [
        text for document in load_documents(data, count=20, characters=700, seed=9) for text in document.passages
    ]

    def distance(model: DeltaNet6Layer) -> float:
        ids, mask = segments(model, passages)
        return cosine_distance(model.embed(ids, mask)[0], Teacher(base).embed(ids, mask)[0]).item()

    with torch.inference_mode():
        assert distance(DeltaNet6Layer(base, tmp_path / "fine")) < 0.7 * distance(DeltaNet6Layer(base, start))


def test_a_passage_is_asked_for_by_its_title_or_a_sentence_of_its_own(data: Path) -> None:
    documents = load_documents(data, count=40, characters=900, seed=0)
    assert len(documents) > 10
    assert not any(BLOCKED in passage for document in documents for passage in document.passages)
    assert all(300 <= len(passage) <= 900 for document in documents for passage in document.passages)
    told = "A tall ship lies at anchor here. It came from Genoa in May."
    titled = Document("Which ships lie in the harbour?", (told,))
    seen = [asked(titled, {}, np.random.default_rng(seed)) for seed in range(60)]
    assert {query for query, _, _ in seen} > {titled.title, "A tall ship lies at anchor here."}
    gone = [passages[0] for query, _, passages in seen if query == "A tall ship lies at anchor here."]
    assert "It came from Genoa in May." in gone
    second = Document("", ("One word.", "Anchors were weighed before the morning came. Then we sailed off at once."))
    places = {place for _, place, _ in (asked(second, {}, np.random.default_rng(seed)) for seed in range(30))}
    assert places == {0, 1}


def test_likeness_is_learnt_from_texts_that_follow_each_other(base: Path, start: Path) -> None:
    model = DeltaNet6Layer(base, start)
    rng = random.Random(1)
    texts = [sentence(rng) for _ in range(40)]
    vectors = torch.nn.functional.normalize(torch.randn(40, 16), dim=-1)
    task = SimilarityOf(Relations(texts, vectors.numpy().astype(np.float16)), batch=2 * RUN)
    found = task.run(model, None, np.array([7, 30, 0, 0, 0, 0, 0, 0]), np.random.default_rng(0))
    runs = [*range(7, 7 + RUN), *range(30, 30 + RUN)]
    assert found.tokens == sum(len(ids) + 2 for ids in model.tokenizer.ids([texts[row] for row in runs]))
    mine, goal = torch.from_numpy(model.encode([texts[row] for row in runs])), vectors.half().float()[runs]
    near = torch.block_diag(torch.ones(RUN, RUN), torch.ones(RUN, RUN)).bool()
    expected = similarity_mse(mine, goal) + similarity_mse(mine, goal, near)
    torch.testing.assert_close(found.learnt, expected, atol=1e-4, rtol=1e-3)


def test_two_encoders_similarities_are_mixed() -> None:
    one, other = np.random.default_rng(3).standard_normal((2, 5, 8)).astype(np.float32)
    one, other = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True) for vectors in (one, other))
    mixed = Relations([""] * 5, one.astype(np.float16)).joined(other, 0.25).vectors.astype(np.float32)
    np.testing.assert_allclose(mixed @ mixed.T, 0.75 * one @ one.T + 0.25 * other @ other.T, atol=2e-3)


def test_similarities_are_compared_where_they_are_asked_for() -> None:
    mine, goal = torch.eye(3), torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]])
    errors = torch.tensor([0.6, 0.8, 0.0]) ** 2  # of the pairs 01, 12 and 02
    torch.testing.assert_close(similarity_mse(mine, goal), errors.mean())
    pairs = torch.tensor([[1, 1, 0], [1, 1, 0], [0, 0, 1]]).bool()
    torch.testing.assert_close(similarity_mse(mine, goal, pairs), errors[0])
    assert similarity_mse(mine, goal, torch.eye(3).bool()) == 0


def test_windows_hold_no_blocked_turn_and_questions_ask_for_what_was_said(data: Path) -> None:
    windows = load_windows(data, count=30, characters=300, seed=0)
    assert len(windows) > 10
    assert not any(BLOCKED in turn for window in windows for turn in window.turns)
    assert all(sum(map(len, window.turns[:-1])) <= 300 for window in windows)
    said = "Nora: We visited the railway museum with grandfather yesterday!"
    questions = {question(said, "Nora", {}, np.random.default_rng(seed)) for seed in range(30)}
    assert len(questions) > 10
    for text in questions:
        assert text is not None
        assert set(content_words(text)) & {"visited", "railway", "museum", "grandfather", "yesterday"}
    assert question("Ben: Oh, I see!", "Ben", {}, np.random.default_rng(0)) is None
    others = {question(said, "Nora", {"museum": ["gallery"]}, np.random.default_rng(seed)) for seed in range(60)}
    assert any("gallery" in str(text) for text in others)


def test_the_mean_of_runs_is_a_model_of_their_form(base: Path, start: Path, tmp_path: Path) -> None:
    first = load_checkpoint(start)
    moved = {name: tensor + 1.0 for name, tensor in first.tensors.items()}
    save_checkpoint(tmp_path / "moved.safetensors", moved, TINY, "moved")
    given = ["average", str(start), str(tmp_path / "moved.safetensors"), "--base", str(base), "--name", "mean"]
    main([*given, "--out", str(tmp_path / "mean")])
    for name, tensor in load_checkpoint(tmp_path / "mean").tensors.items():
        torch.testing.assert_close(tensor, first.tensors[name] + 0.5, rtol=0.01, atol=0.01)
    assert DeltaNet6Layer(base, tmp_path / "mean").name == "mean"
    assert json.loads((tmp_path / "mean" / "config.json").read_text())["num_heads"] == TINY.num_heads
    other = LAMConfig.from_dict({**TINY.to_dict(), "flux": False})
    save_checkpoint(tmp_path / "other.safetensors", DeltaNet6Layer.untrained(base, other).trained_state(), other, "o")
    with pytest.raises(SystemExit, match="1"):
        main(
            [
                "average",
                str(start),
                str(tmp_path / "other.safetensors"),
                "--base",
                str(base),
                "--out",
                str(tmp_path / "n"),
            ]
        )


def test_cosent_is_zero_only_for_the_right_order() -> None:
    score = torch.tensor([0.0, 0.5, 1.0])
    right, wrong = torch.tensor([-0.9, 0.0, 0.9]), torch.tensor([0.9, 0.0, -0.9])
    assert cosent(right, score) < 1e-6 < cosent(wrong, score)
    assert cosent(right, torch.ones(3)) == 0


def test_the_command_says_what_is_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base = write_base(tmp_path / "base")
    arguments = ["long", "--data", str(tmp_path), "--out", str(tmp_path / "o"), "--start", str(tmp_path / "none")]
    with pytest.raises(SystemExit) as stopped:
        main([*arguments, "--base", str(base), "--threads", "1"])
    assert stopped.value.code == 1
    assert "no checkpoint at" in capsys.readouterr().err
