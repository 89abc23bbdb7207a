"""Whole stores and whole users from the command line; the process itself; the shipped demo."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Run


def test_export_erase_import_round_trip(run: Run, tmp_path: Path) -> None:
    for text in ("the boat is red", "the dog is called Spark"):
        run("store", text, "-u", "ana")
    before = run("list", "-u", "ana", "--json").json["results"]
    out = tmp_path / "ana.jsonl"
    assert run("export", "-u", "ana", "--json").code == 2
    assert run("export", "-u", "ana", "--out", str(out), "--json").json == {"lines": 3, "file": str(out)}
    lines = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert len(lines) == 3
    receipt = run("erase", "-u", "ana", "--yes", "--json").json
    assert set(receipt["after"].values()) == {0}
    assert run("list", "-u", "ana", "--json").json["results"] == []
    report = run("import", str(out), "--json").json
    assert (report["imported"], report["skipped"], report["reembedded"]) == (2, 0, 0)
    assert run("list", "-u", "ana", "--json").json["results"] == before


def test_an_export_that_fails_leaves_the_one_before(run: Run, tmp_path: Path) -> None:
    run("store", "the boat is red", "-u", "ana")
    out = tmp_path / "ana.jsonl"
    run("export", "-u", "ana", "--out", str(out))
    before = out.read_bytes()
    done = run("export", "-u", "ana", "--out", str(out), "--api", "http://127.0.0.1:1", "--key", "x")
    assert done.code == 1
    assert out.read_bytes() == before
    assert list(tmp_path.glob("*.partial")) == []
    assert run("export", "-u", "ana", "--out", "/dev/null").code == 0
    reading, writing = os.pipe()
    assert run("export", "-u", "ana", "--out", f"/dev/fd/{writing}").code == 0
    os.close(writing)
    with os.fdopen(reading, encoding="utf-8") as pipe:
        assert pipe.readline().startswith('{"maas_export"')


def test_text_that_is_no_utf8_is_said_in_a_line(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "export.jsonl"
    file.write_bytes(b'{"text": "\xff"}')
    done = run("import", str(file))
    assert done.code == 1
    assert done.err.strip().splitlines()[-1].startswith("error: the text is no UTF-8")


def test_erase_asks_nobody_when_piped(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    run("store", "the boat is red", "-u", "ana")
    monkeypatch.setattr("sys.stdin.isatty", lambda: False, raising=False)
    assert run("erase", "-u", "ana").code == 2
    assert len(run("list", "-u", "ana", "--json").json["results"]) == 1


def test_import_names_the_bad_line(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "bad.jsonl"
    file.write_text("{\n")
    done = run("import", str(file))
    assert done.code == 1
    assert f"{file}:1: no JSON" in done.err


def test_migrate_says_what_it_did(run: Run) -> None:
    first, second = run("migrate", "--json").json, run("migrate", "--json").json
    assert (first["changed"], first["before"]) == (True, None)
    assert (second["changed"], second["before"]) == (False, first["after"])


def test_reindex_reports(run: Run) -> None:
    run("store", "the boat is red", "-u", "ana")
    status = run("reindex", "--json").json
    assert (status["state"], status["done"], status["total"]) == ("done", 1, 1)
    assert run("reindex", "--status", "--json").json["total"] == 1


def test_keys_are_made_listed_and_revoked(run: Run) -> None:
    made = run("keys", "create", "--name", "phone", "--scope", "read", "--user-id", "ana", "--json").json
    assert made["key"].startswith(f"maas_{made['id']}_")
    assert (made["scopes"], made["user_id"]) == (["read"], "ana")
    plain = run("keys", "create", "--tenant", "other")
    assert plain.out.startswith("maas_")
    assert plain.out.count("\n") == 1
    listed = run("keys", "list", "--json").json["results"]
    assert [key["id"] for key in listed] == [made["id"]]
    assert "key" not in listed[0]
    assert run("keys", "revoke", made["id"], "--json").json["revoked_at"]
    assert run("keys", "revoke", "nobody").code == 1
    assert run("keys", "create", "--scope", "fly").code == 1


def test_the_demo_recalls_from_what_it_stored(run: Run) -> None:
    report = run("demo", "--json").json
    assert report["memories"] >= 60
    assert len(report["answers"]) >= 6
    assert all(answer["hits"] for answer in report["answers"])
    assert any(answer["found"] for answer in report["answers"])
    shown = run("demo", "--keep", "--data-dir", "kept")
    assert "What is Nadia allergic to?" in shown.out
    kept = run("recall", "piano", "-u", "demo", "--data-dir", "kept", "--json").json["results"]
    assert "piano" in kept[0]["text"]


def test_python_m_maas_prints_the_version_and_loads_little() -> None:
    code = (
        "import sys\nfrom maas.cli import main\n"
        "try:\n    main(['--version'])\nexcept SystemExit as end:\n    assert not end.code\n"
        "heavy = {'torch', 'numpy', 'faiss', 'sqlalchemy', 'fastapi', 'pydantic', 'httpx2'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    module = subprocess.run([sys.executable, "-m", "maas", "--version"], capture_output=True, text=True, check=False)
    assert module.stdout == done.stdout
    assert module.stdout.startswith("maas ")
