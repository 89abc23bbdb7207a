"""The bench in its quick form: that it measures what it says, not how fast this machine is."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from maas.bench.corpus import questions, take_texts
from maas.bench.embedded import WAYS
from maas.bench.embedder import WordSumEmbedder
from maas.bench.measure import EncodeMeter, Samples, latency_ms
from maas.cli import main
from maas.errors import InvalidInputError
from tests.fakes import FakeEmbedder


def bench(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    with pytest.raises(SystemExit) as exit_:
        main(["bench", *arguments, "--quick", "--json"], embedder=FakeEmbedder())
    captured = capsys.readouterr()
    assert not exit_.value.code, captured.err
    report: dict[str, Any] = json.loads(captured.out)
    return report


def test_store_reports_overhead_beside_encoding(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    report = bench(capsys, "store", "--out", str(tmp_path))
    store, batch = report["store"], report["batch_store"]
    assert store["calls"] == store["items"] == 8
    assert (batch["calls"], batch["items"]) == (2, 200)
    assert store["latency_ms"]["p50"] <= store["latency_ms"]["p95"] <= store["latency_ms"]["p99"]
    assert store["encode_ms"]["mean"] + store["overhead_ms"]["mean"] == pytest.approx(
        store["latency_ms"]["mean"], abs=0.01
    )
    assert store["overhead_ms"]["p50"] > 0
    assert store["rss_mb"] > 10
    assert report["embedder"] == "fake"
    assert report["quick"] is True
    assert json.loads((tmp_path / "store.json").read_text()) == report
    assert "| store | 8 |" in (tmp_path / "store.md").read_text()
    assert (tmp_path / "store.png").read_bytes().startswith(b"\x89PNG")


def test_recall_and_scale(capsys: pytest.CaptureFixture[str]) -> None:
    report = bench(capsys, "recall")
    for name in ("recall", *(f"recall_{way}" for way in WAYS)):
        assert (report[name]["calls"], report[name]["memories"]) == (8, 250)
    scale = bench(capsys, "scale", "--users", "10", "--memories-per-user", "4")["scale"]
    assert scale["embedder"] == "bench-word-sum"
    assert (scale["users"], scale["memories"]) == (10, 40)
    assert [step["users"] for step in scale["growth"]] == [1, 3, 10]
    assert scale["large_user_recall"]["memories"] == 60


def test_the_meter_takes_the_encoder_out() -> None:
    class Slow(FakeEmbedder):
        def encode(self, texts: Any) -> Any:
            time.sleep(0.03)
            return super().encode(texts)

    meter = EncodeMeter(Slow())
    samples = Samples(meter)

    def call() -> None:
        meter.encode(["a"])
        time.sleep(0.01)

    samples.time(call)
    assert samples.encode[0] >= 0.03
    assert samples.total[0] - samples.encode[0] >= 0.01


def test_texts_are_all_different_and_the_same_each_time() -> None:
    texts = take_texts(2_000)
    assert len(set(texts)) == 2_000
    assert take_texts(2_000) == texts
    assert questions(5) == questions(5)


def test_texts_of_a_file(tmp_path: Path) -> None:
    file = tmp_path / "d.jsonl"
    file.write_text("".join(json.dumps({"text": text}) + "\n" for text in ("a", "b", "a")))
    assert take_texts(2, file) == ["a", "b"]
    with pytest.raises(InvalidInputError, match="holds 2 different texts, 3 are needed"):
        take_texts(3, file)


def test_the_bench_embedder_gives_unit_vectors_that_share_words() -> None:
    vectors = WordSumEmbedder().encode(["the red boat", "a red boat 17", "violin lesson", "!?"])
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(np.ones(4), abs=1e-5)
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2] + 0.2
    np.testing.assert_array_equal(WordSumEmbedder().encode(["the red boat"])[0], vectors[0])


def test_latencies_are_in_milliseconds() -> None:
    assert latency_ms([0.001, 0.002, 0.003])["p50"] == 2.0
    assert latency_ms([]) == {"p50": 0.0, "p95": 0.0, "p99": 0.0, "mean": 0.0}
