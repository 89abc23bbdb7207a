"""``maas init`` and ``maas status``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from maas.cli.app import build_app
from maas.settings import load_settings
from tests.cli.conftest import Run
from tests.live import serving


def test_init_writes_a_configuration_that_loads(run: Run, tmp_path: Path) -> None:
    done = run("init", "--data-dir", str(tmp_path / "memories"), "--local", "--port", "9001")
    assert (done.code, done.out) == (0, "wrote config.yaml\n")
    assert "maas serve" in done.err
    settings = load_settings(tmp_path / "config.yaml")
    assert (settings.data_dir, settings.server.port, settings.server.host) == (
        tmp_path / "memories",
        9001,
        "127.0.0.1",
    )
    again = run("init", "--data-dir", "x", "--local", "--port", "1")
    assert (again.code, "--force" in again.err) == (1, True)
    assert run("init", "--data-dir", "x", "--shared", "--port", "1", "--force").code == 0
    assert yaml.safe_load((tmp_path / "config.yaml").read_text()) == {
        "data_dir": "x",
        "server": {"port": 1, "host": "0.0.0.0"},
    }


def test_init_asks_three_questions(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import io

    answers = io.StringIO("my memories\nn\n8123\n")
    monkeypatch.setattr(answers, "isatty", lambda: True)
    monkeypatch.setattr("sys.stdin", answers)
    done = run("init")
    assert done.code == 0, done.err
    assert load_settings(tmp_path / "config.yaml").server.port == 8123
    assert yaml.safe_load((tmp_path / "config.yaml").read_text())["data_dir"] == "my memories"


def test_init_does_not_wait_for_an_answer_nobody_gives(run: Run, tmp_path: Path) -> None:
    done = run("init", "--port", "1")
    assert (done.code, (tmp_path / "config.yaml").exists()) == (2, False)


def test_status(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAAS_SERVER__PORT", "1")
    empty = run("status", "--json").json
    assert (empty["memories"], empty["server"]) == (0, "none at http://127.0.0.1:1")
    assert not (tmp_path / "data").exists()
    run("store", "x", "-u", "ana")
    run("keys", "create", "--name", "phone")
    found = run("status", "--json").json
    assert (found["memories"], found["embedded"], found["keys"]) == (1, 1, 1)
    assert found["database_bytes"] > 0
    assert "memories:" in run("status").out


@pytest.mark.server
def test_status_finds_the_server(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(tmp_path / "served") as live:
        monkeypatch.setenv("MAAS_SERVER__PORT", live.url.rpartition(":")[2])
        assert f"ready at {live.url}\n" in run("status").out


def test_completion_is_offered_for_the_shells(run: Run) -> None:
    assert "--install-completion" in run("--help").out


def test_whatever_reports_can_report_json() -> None:
    def commands(command: Any, path: str = "") -> Iterator[tuple[str, Any]]:
        if not hasattr(command, "commands"):
            yield path.strip(), command
            return
        for name, inner in command.commands.items():
            yield from commands(inner, f"{path} {name}")

    found = dict(commands(typer.main.get_command(build_app())))
    silent = {name for name, command in found.items() if not any("--json" in p.opts for p in command.params)}
    assert silent == {"serve", "mcp"}, "these run until they are stopped; all others report"


def test_init_reports_json(run: Run, tmp_path: Path) -> None:
    done = run("init", "--data-dir", "memories", "--local", "--port", "9001", "--json")
    assert done.json == {"file": "config.yaml", "data_dir": "memories", "server": {"port": 9001}}
