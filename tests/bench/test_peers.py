"""The race's parts: a library in its own process, and a table that hides nobody who could not run."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from maas.bench.peers.install import ENCODER, install_peers, python_of
from maas.bench.peers.process import PeerProcess
from maas.bench.table import PEER_HEADER, peer_rows
from maas.errors import ConfigError, UnavailableError


@pytest.mark.model
def test_maas_answers_as_a_peer_does(tmp_path: Path) -> None:
    with PeerProcess("maas", Path(sys.executable), tmp_path) as process:
        assert process.about["ready"] == "maas"
        assert len(process.about["weights"]) == 12
        stored = process.ask("store", ["The cat is called Biscuit.", "The boat is red."])
        assert len(stored["seconds"]) == 2
        assert all(0 < part < whole for part, whole in zip(stored["encode"], stored["seconds"], strict=True))
        assert len(process.ask("batch", ["Trains leave at seven.", "Bring an umbrella."])["seconds"]) == 1
        assert process.ask("recall", ["What is the cat called?"])["found"] == [4]


def test_a_library_that_is_not_there_says_so(tmp_path: Path) -> None:
    silent = tmp_path / "python"
    silent.write_text("#!/bin/sh\necho 'no such library' >&2\nexit 3\n")
    silent.chmod(0o755)
    with pytest.raises(UnavailableError, match="chroma ended: no such library"):
        PeerProcess("chroma", silent, tmp_path)


def test_an_environment_that_cannot_be_filled_is_an_error(tmp_path: Path) -> None:
    python = python_of(tmp_path)
    python.parent.mkdir(parents=True)
    python.write_text("#!/bin/sh\necho 'ERROR: no index to be reached' >&2\nexit 1\n")
    python.chmod(0o755)
    said: list[str] = []
    with pytest.raises(ConfigError, match="no index to be reached"):
        install_peers(tmp_path, said.append)
    assert ENCODER[0] in said[0]


def test_the_absent_are_in_the_table() -> None:
    call = {"calls": 1, "latency_ms": {"p50": 2.0}, "encode_ms": {"p50": 1.0}, "overhead_ms": {"p50": 1.0}}
    calls = {"store": call, "batch": call, "recall": call}
    results = {name: {"version": "1", "weights": "w", **calls} for name in ("maas", "chroma")}
    ratios = {f"{name}_{part}": 1.5 for name in calls for part in ("latency", "overhead")}
    rows = peer_rows({"results": results, "ratios": {"chroma": ratios}, "not_measured": {"txtai": "no wheel"}})
    assert [row[0] for row in rows] == ["maas", "chroma", "txtai"]
    assert all(len(row) == len(PEER_HEADER) for row in rows)
    assert rows[2][1:3] == ["not measured", "no wheel"]
