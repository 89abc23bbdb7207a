"""Clients against a real server."""

from __future__ import annotations

import json

import pytest

from maas.bench.load import Load, connected
from maas.cli import main
from maas.errors import UnavailableError


@pytest.mark.server
@pytest.mark.model
@pytest.mark.timeout(400)  # the model is loaded twice, here and in the server
def test_one_and_many_clients(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(["bench", "concurrency", "--quick", "--json"])
    captured = capsys.readouterr()
    assert not exit_.value.code, captured.err
    for result in json.loads(captured.out)["concurrency"].values():
        assert result["clients_32"]["calls"] >= 32
        assert result["clients_1"]["calls"] >= 1
        assert result["clients_32"]["health_failed"] == 0
        assert result["clients_32"]["health_ms"]["p99"] > 0
        assert result["clients_32"]["rss_mb"] > 10
        assert result["speed_up"] > 0
        assert result["encoder"]["batch_32"] > 0
        assert result["encoder"]["speed_up"] > 0


def test_clients_without_a_server_are_an_error() -> None:
    load = Load(
        url="http://127.0.0.1:9", key="maas_a_b", call="recall", clients=1, seconds=0.1, user_ids=["u"], texts=["t"]
    )
    with pytest.raises(UnavailableError, match="could not connect"), connected(load):
        pass
