"""Servers killed in the middle of writing, and what is there afterwards."""

from __future__ import annotations

import json

import pytest

from maas.cli import main


@pytest.mark.server
@pytest.mark.timeout(600)
def test_nothing_acknowledged_is_lost(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(["bench", "faults", "--quick", "--json"])
    captured = capsys.readouterr()
    assert captured.out, captured.err
    found = json.loads(captured.out)["faults"]
    assert not exit_.value.code, found
    assert found["kills"] == 10
    assert found["acknowledged"] > 50
    assert found["recalls"] > 100
    assert found["retried"] > 0, "some requests were cut off, and sent again"
    assert found["lost"] == found["twice"] == found["not_recalled"] == found["unhealthy_after_a_kill"] == 0
