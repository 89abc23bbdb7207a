"""What growth costs and brings: the commands run, on a real server, and say what they should."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from maas.bench.capacity import CapacitySizes, bench_capacity
from maas.bench.server import RunningServer
from maas.bench.spread import SpreadSizes, one_beside_all
from maas.brain import PersonalMemoryBrain
from maas.cli import main
from maas.errors import ConfigError
from maas.settings import Settings
from tests.fakes import ContextualFakeEmbedder
from tests.live import serving


def test_a_memory_is_weighed_by_table_and_timed(tmp_path: Path) -> None:
    found = bench_capacity(
        Settings(data_dir=tmp_path),
        ContextualFakeEmbedder(),
        CapacitySizes(users=4, memories_per_user=20, first=20),
        print,
    )["capacity"]
    assert found["memories"] == 60
    assert found["bytes"] == sum(found["bytes_by_table"].values())
    two_halves = 2 * 2 * 384
    assert found["bytes_by_table"].get("vectors", found["bytes"]) > two_halves, "a turn has a vector alone and one read"
    assert found["store_cpu_ms"] > 0
    assert found["recall_cpu_ms"] > 0


def test_somebodys_memories_are_not_mixed_with_made_up_ones(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    with PersonalMemoryBrain(settings, embedder=ContextualFakeEmbedder()) as brain:
        brain.store("mine", user_id="anna")
    with pytest.raises(ConfigError, match="holds memories"):
        bench_capacity(settings, ContextualFakeEmbedder(), CapacitySizes.quick(), print)


def test_one_server_is_compared_with_all_on_its_store(tmp_path: Path) -> None:
    with serving(tmp_path) as first, serving(tmp_path) as second:
        servers = [RunningServer(live.url, first.admin_key, os.getpid()) for live in (first, second)]
        found = one_beside_all(servers, SpreadSizes(seconds=0.2, batch=5, rounds=1), print)
    assert found["one_per_second"] > 0
    assert found["all_per_second"] > 0
    assert len(found["rounds"]) == 1


def test_cores_that_are_not_there_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    for cores in ("0", "0,9999", "zero"):
        with pytest.raises(SystemExit) as exit_:
            main(["bench", "replicas", "--quick", "--cores", cores])
        assert exit_.value.code
    assert "9999" in capsys.readouterr().err
