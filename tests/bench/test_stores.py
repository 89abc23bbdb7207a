"""PostgreSQL beside SQLite: the command runs on a real server of its own, and says what was measured."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from maas import PersonalMemoryBrain
from maas.bench.stores import CALLS, StoresSizes, bench_stores
from maas.errors import ConfigError
from maas.settings import Settings
from tests.cli.conftest import Run, run
from tests.fakes import FakeEmbedder
from tests.postgres import Server

__all__ = ["run"]


def test_both_stores_are_measured_on_the_same_work(postgres: Server, run: Run, tmp_path: Path) -> None:
    arguments = ("--quick", "--users", "3", "--memories-per-user", "10", "--url", postgres.url(postgres.empty()))
    ran = run("bench", "stores", *arguments, "--out", "results")
    assert ran.code == 0, ran.err
    assert "postgresql" in ran.out
    report = json.loads((tmp_path / "results" / "stores.json").read_text())["stores"]
    for figures in report["results"].values():
        assert figures["batch_store"]["items"] == 30
        for call in CALLS:
            assert 0 < figures[call]["store_ms"]["p50"] < figures[call]["latency_ms"]["p50"] * 1.01
            assert figures[call]["cpu_ms"] > 0
    assert set(report["ratios"]) == set(CALLS)
    assert (tmp_path / "results" / "stores.png").stat().st_size > 1_000
    assert "| recall first, sqlite |" in (tmp_path / "results" / "stores.md").read_text()


def test_a_server_of_its_own_is_started_and_stopped() -> None:
    report = bench_stores(Settings(), None, StoresSizes(users=2, memories_per_user=5, batch=5, recalls=2), print)
    assert report["stores"]["results"]["postgresql"]["recall_again"]["calls"] == 2
    assert report["stores"]["server"].startswith("1")


def test_somebodys_memories_are_not_mixed_with_made_up_ones(postgres: Server, postgres_settings: Settings) -> None:
    with PersonalMemoryBrain(postgres_settings, embedder=FakeEmbedder(dim=16)) as brain:
        brain.store("mine", user_id="anna")
    with pytest.raises(ConfigError, match="holds memories"):
        bench_stores(Settings(), postgres_settings.storage.url, StoresSizes.quick(), print)
