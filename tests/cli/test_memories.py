"""A memory's life from the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Run


def stored(run: Run, text: str, *more: str) -> str:
    done = run("store", text, "--user-id", "ana", "--json", *more)
    assert done.code == 0, done.err
    memory_id: str = done.json["results"][0]["id"]
    return memory_id


def test_what_is_stored_is_recalled(run: Run) -> None:
    stored(run, "Biscuit the cat sleeps on the radiator", "--created-at", "2024-05-01T09:00:00Z")
    stored(run, "The train to Porto leaves at seven")
    hits = run("recall", "where does the cat sleep", "--user-id", "ana", "-k", "1", "--json").json["results"]
    assert [hit["text"] for hit in hits] == ["Biscuit the cat sleeps on the radiator"]
    shown = run("recall", "where does the cat sleep", "--user-id", "ana", "-k", "1")
    assert "2024-05-01 09:00" in shown.out
    assert "1 memories in" in shown.err


def test_another_user_sees_nothing(run: Run) -> None:
    stored(run, "Biscuit the cat sleeps on the radiator")
    assert run("recall", "cat", "--user-id", "bo", "--json").json["results"] == []


def test_filters_and_metadata(run: Run) -> None:
    stored(run, "Sushi was excellent", "--metadata", '{"city": "Tokyo"}')
    stored(run, "Sushi was poor", "--metadata", '{"city": "Oslo"}')
    done = run("recall", "sushi", "-u", "ana", "--filters", '{"metadata.city": "Oslo"}', "--json")
    assert [hit["text"] for hit in done.json["results"]] == ["Sushi was poor"]


def test_list_pages_get_history_and_delete(run: Run) -> None:
    ids = {stored(run, f"fact number {number}") for number in range(3)}
    first = run("list", "-u", "ana", "--limit", "2", "--json").json
    rest = run("list", "-u", "ana", "--limit", "2", "--cursor", first["next_cursor"], "--json").json
    assert {memory["id"] for memory in first["results"] + rest["results"]} == ids
    assert rest["next_cursor"] is None
    one = min(ids)
    assert one in run("get", one).out
    assert run("history", one, "--json").json["results"][0]["event"] == "ADD"
    assert run("delete", one).out == f"DELETE  {one}\n"
    gone = run("get", one)
    assert (gone.code, gone.out) == (1, "")
    assert gone.err.startswith("error: ")


def test_a_memory_key_replaces(run: Run) -> None:
    first = stored(run, "lives in Lima", "--memory-key", "home")
    done = run("store", "lives in Quito", "-u", "ana", "--memory-key", "home", "--json").json["results"][0]
    assert (done["id"], done["event"]) == (first, "UPDATE")


def test_stored_text_cannot_steer_the_terminal(run: Run) -> None:
    stored(run, "before \x1b[2J\x1b[31m after [bold]not bold[/bold]")
    for shown in (run("recall", "before after", "-u", "ana"), run("list", "-u", "ana")):
        assert "\x1b" not in shown.out
        assert "[bold]not bold[/bold]" in shown.out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["recall", " ", "-u", "ana"], "query"),
        (["recall", "x", "-u", "ana", "-k", "0"], "top_k"),
        (["store", "x", "-u", "ana", "--created-at", "yesterday"], "created_at"),
        (["get", "no-such-memory"], "no-such-memory"),
        (["list", "-u", "ana", "--config", "missing.yaml"], "missing.yaml"),
        (["recall", "x", "-u", "ana", "--api", "http://127.0.0.1:9"], "127.0.0.1:9"),
    ],
)
def test_a_failure_is_one_line_and_exit_1(run: Run, arguments: list[str], said: str) -> None:
    done = run(*arguments)
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith("error: ")
    assert said in done.err
    assert done.err.count("\n") == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ["store", "x"],
        ["store", "x", "-u", "ana", "--metadata", "{"],
        ["store", "x", "-u", "ana", "--metadata", "[1]"],
        ["recall", "x", "-u", "ana", "--mode", "psychic"],
        ["recall", "x", "-u", "ana", "--key", "maas_a_b"],
        ["remember", "x"],
    ],
)
def test_a_wrong_command_line_is_exit_2(run: Run, arguments: list[str]) -> None:
    done = run(*arguments)
    assert (done.code, done.out) == (2, "")
    assert "Traceback" not in done.err


def test_a_misspelt_setting_is_named(run: Run, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("serverr:\n  port: 1\n")
    done = run("list", "-u", "ana")
    assert done.code == 1
    assert "serverr" in done.err
    assert done.err.count("\n") == 1


def test_context_is_printed_as_a_block(run: Run) -> None:
    stored(run, "Biscuit the cat sleeps on the radiator", "--created-at", "2024-05-01T09:00:00Z")
    shown = run("context", "the cat", "-u", "ana", "--max-characters", "300")
    assert shown.out.startswith("<memories>\n")
    assert "| 2024-05-01 09:00] Biscuit the cat sleeps on the radiator\n</memories>\n" in shown.out
    assert len(shown.out) <= 301
    assert run("context", "the cat", "-u", "ana", "--json").json["memories"]


def test_a_document_from_a_file(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "log.txt"
    file.write_text("The captain keeps the key under the blue pot. " * 60, encoding="utf-8")
    done = run("documents", "store", str(file), "-u", "ana", "--json")
    assert (done.code, done.json["state"], done.json["title"]) == (0, "done", "log.txt"), done.err
    document_id = done.json["id"]
    assert "log.txt" in run("documents", "list", "-u", "ana").out
    assert run("documents", "get", document_id, "--json").json["vector"]
    hit = run("recall", "captain", "-u", "ana", "-k", "1", "--json").json["results"][0]
    assert hit["document_id"] == document_id
    assert run("documents", "delete", document_id).out == f"DELETE  {document_id}\n"
    assert run("documents", "store", str(tmp_path / "missing"), "-u", "ana").code == 2
