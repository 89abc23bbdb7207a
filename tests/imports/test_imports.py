"""``maas import SOURCE FILE``: what people have, stored once however often it is imported."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Run, run
from tests.imports import files

__all__ = ["run"]


def imported(run: Run, source: str, path: Path, *more: str) -> dict[str, Any]:
    done = run("import", source, str(path), "--json", *more)
    assert done.code == 0, done.err
    return done.json


def listed(run: Run, user: str = "ana") -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = run("list", "-u", user, "--json", "--limit", "1000").json["results"]
    return found[::-1]


@pytest.mark.parametrize("wrapped", ["file", "zip", "folder"])
def test_chatgpt(run: Run, tmp_path: Path, wrapped: str) -> None:
    path = files.chatgpt(tmp_path / "export" / "conversations.json")
    path = {"file": path, "zip": tmp_path / "export.zip", "folder": path.parent}[wrapped]
    if wrapped == "zip":
        files.zipped(path, tmp_path / "export" / "conversations.json")
    assert imported(run, "chatgpt", path, "-u", "ana") == {"imported": 3, "changed": 0, "already_there": 0}
    turns = listed(run)
    assert [(turn["role"], turn["text"]) for turn in turns] == [
        ("user", "Where did I park?"),
        ("assistant", "On level 3, you said"),
        ("user", "Thanks"),
    ]
    assert {turn["session_id"] for turn in turns} == {"chatgpt:c1"}
    assert turns[0]["metadata"] == {"source": "chatgpt", "title": "Parking"}
    assert turns[0]["created_at"].startswith("2023-11-14T22:13:21.5")
    assert imported(run, "chatgpt", path, "-u", "ana") == {"imported": 0, "changed": 0, "already_there": 3}


@pytest.mark.parametrize("wrapped", ["zip", "folder"])
def test_an_export_in_numbered_files(run: Run, tmp_path: Path, wrapped: str) -> None:
    path = files.chatgpt(tmp_path / "export" / "conversations.json")
    first, second = json.loads(path.read_text(encoding="utf-8"))
    path.unlink()
    second |= {"mapping": first["mapping"], "current_node": "q"}
    for number, conversation in enumerate([second, first]):
        files.written(path.parent / f"conversations-{number:03}.json", json.dumps([conversation]))
    source = path.parent
    if wrapped == "zip":
        source = files.zipped(tmp_path / "export.zip", *sorted(path.parent.iterdir()))
    assert imported(run, "chatgpt", source, "-u", "ana")["imported"] == 4
    assert {turn["session_id"] for turn in listed(run)} == {"chatgpt:c1", "chatgpt:c2"}
    files.written(path.parent / "conversations-001.json", "[{")
    refused = run("import", "chatgpt", str(path.parent), "-u", "ana")
    assert (refused.code, "conversations-001.json is no whole JSON" in refused.err) == (1, True)


def test_claude(run: Run, tmp_path: Path) -> None:
    path = files.claude(tmp_path / "conversations.json")
    assert imported(run, "claude", path, "-u", "ana")["imported"] == 2
    human, answer = listed(run)
    assert (human["text"], human["created_at"]) == ("The dentist is on Friday", "2024-05-01T10:00:00Z")
    assert (answer["role"], answer["text"], answer["metadata"]["title"]) == ("assistant", "Noted.", "Dentist")
    assert imported(run, "claude", path, "-u", "ana")["already_there"] == 2


def test_jsonl_takes_what_names_the_field_uses(run: Run, tmp_path: Path) -> None:
    lines = [
        {"id": 7, "text": "I like tea", "metadata": {"n": 1}, "created_at": "2024-05-01T10:00:00Z"},
        {"content": "I like coffee", "timestamp": 1_700_000_000, "session_id": "s"},
        {"page_content": "theirs", "user_id": "bo"},
    ]
    path = files.written(tmp_path / "notes.jsonl", "\n".join(map(json.dumps, lines)) + "\n\n")
    assert run("import", "jsonl", str(path)).code == 1
    assert imported(run, "jsonl", path, "-u", "ana")["imported"] == 3
    coffee, tea, _ = listed(run)
    assert (tea["key"], tea["metadata"]) == ("jsonl:7", {"n": 1})
    assert (coffee["session_id"], coffee["created_at"]) == ("s", "2023-11-14T22:13:20Z")
    assert imported(run, "jsonl", path, "-u", "ana")["already_there"] == 3


def test_markdown_sections_follow_their_file(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "notes"
    page = "---\ntags: x\n---\nbefore\n# Home\n## Car\nparked on 3\n```\n# no heading\n```\n## Car\nsold\n# Empty\n"
    files.written(folder / "a" / "home.md", page)
    files.written(folder / "plain.md", "just a note")
    files.written(folder / "other.txt", "not this")
    assert imported(run, "markdown", folder, "-u", "ana")["imported"] == 4
    found = {memory["key"]: memory for memory in listed(run)}
    assert found["markdown:a/home.md:Home:Car"]["text"] == "Car\n\nparked on 3\n```\n# no heading\n```"
    assert found["markdown:a/home.md:Home:Car:1"]["text"] == "Car\n\nsold"
    assert found["markdown:plain.md"]["metadata"] == {"source": "markdown", "file": "plain.md", "headings": []}
    files.written(folder / "a" / "home.md", page.replace("parked on 3", "parked on 4"))
    assert imported(run, "markdown", folder, "-u", "ana") == {"imported": 0, "changed": 1, "already_there": 3}


def test_markdown_sections_with_headings_alike_stay_apart(run: Run, tmp_path: Path) -> None:
    path = files.written(tmp_path / "notes.md", "# Log\nfirst\n# Log\nsecond\n## 1\nthird\n# Log:1\nfourth\n")
    assert imported(run, "markdown", path, "-u", "ana")["imported"] == 4
    assert imported(run, "markdown", path, "-u", "ana") == {"imported": 0, "changed": 0, "already_there": 4}
    assert len({memory["key"] for memory in listed(run)}) == 4


def test_times_are_seconds_milliseconds_or_refused(run: Run, tmp_path: Path) -> None:
    lines = [{"text": "in seconds", "timestamp": 1_700_000_000}, {"text": "in millis", "timestamp": 1_700_000_000_000}]
    path = files.written(tmp_path / "notes.jsonl", "\n".join(map(json.dumps, lines)))
    assert imported(run, "jsonl", path, "-u", "ana")["imported"] == 2
    assert {memory["created_at"] for memory in listed(run)} == {"2023-11-14T22:13:20Z"}
    done = run("import", "jsonl", str(files.written(path, '{"text": "x", "timestamp": 1e99}')), "-u", "ana")
    assert (done.code, "is no time" in done.err) == (1, True)
    record = '[{"id": "1", "memory": "tea", "user_id": "bo", "expiration_date": "soon"}]'
    done = run("import", "mem0", str(files.written(tmp_path / "mem0.json", record)))
    assert (done.code, "record 1: expiration_date must be a date" in done.err) == (1, True)


@pytest.mark.parametrize("shape", ["results", "list", "lines"])
def test_mem0(run: Run, tmp_path: Path, shape: str) -> None:
    records = [
        {"id": "1", "memory": "I like tea", "user_id": "bo", "run_id": "r", "metadata": None, "hash": "x",
         "role": "user", "actor_id": "Bo", "expiration_date": "2999-12-31",
         "created_at": "2024-05-01T10:00:00-07:00", "updated_at": None},
        {"id": "2", "memory": "I like coffee", "user_id": "bo", "metadata": {"n": 1}, "created_at": None},
    ]  # fmt: skip
    text = {
        "results": json.dumps({"results": records}),
        "list": json.dumps(records),
        "lines": "\n".join(map(json.dumps, records)),
    }[shape]
    path = files.written(tmp_path / "mem0.json", text)
    assert imported(run, "mem0", path)["imported"] == 2
    found = {memory["key"]: memory for memory in listed(run, "bo")}
    assert (found["mem0:1"]["session_id"], found["mem0:1"]["created_at"]) == ("r", "2024-05-01T17:00:00Z")
    assert (found["mem0:1"]["name"], found["mem0:1"]["expires_at"]) == ("Bo", "3000-01-01T00:00:00Z")
    assert found["mem0:2"]["metadata"] == {"n": 1}
    assert imported(run, "mem0", path)["already_there"] == 2


def test_chroma(run: Run, tmp_path: Path) -> None:
    folder = files.chroma(tmp_path / "chroma")
    refused = run("import", "chroma", str(folder))
    assert (refused.code, "--user-id" in refused.err) == (1, True)
    assert imported(run, "chroma", folder, "-u", "ana")["imported"] == 2
    tea, coffee = listed(run)
    assert (tea["key"], tea["agent_id"], tea["metadata"]) == (
        "chroma:notes:first",
        "notes",
        {"cups": 3, "hot": True, "price": 1.5},
    )
    assert (tea["created_at"], coffee["text"]) == ("2024-05-01T10:00:00Z", "I like coffee")


def test_zep(run: Run, tmp_path: Path) -> None:
    threads = [
        {
            "thread_id": "t1",
            "user_id": "bo",
            "messages": [
                {"uuid": "a", "role": "user", "name": "Bo", "content": "I like tea",
                 "created_at": "2024-05-01T10:00:00Z"},
                {"uuid": "b", "role": "assistant", "content": "Noted"},
            ],
        },
        {
            "session_id": "s1",
            "user_id": "bo",
            "messages": [{"uuid": "c", "role": "Bo", "role_type": "user", "content": "and coffee", "metadata": None}],
        },
        {
            "uuid": "u4",
            "user_uuid": "bo",
            "messages": [
                {"uuid": "d", "role": "user", "content": "and milk", "processed": True, "thread_uuid": "u4",
                 "created_at": "2024-05-02T10:00:00Z", "reference_time": "2024-05-01T10:00:00Z"},
                {"uuid": "e", "role": "function", "content": "3 cups", "thread_uuid": "u4"},
            ],
        },
    ]  # fmt: skip
    path = files.written(tmp_path / "zep.jsonl", "\n".join(map(json.dumps, threads)))
    assert imported(run, "zep", path)["imported"] == 5
    found = {memory["key"]: memory for memory in listed(run, "bo")}
    assert (found["zep:t1:a"]["name"], found["zep:t1:a"]["session_id"]) == ("Bo", "t1")
    assert (found["zep:s1:c"]["name"], found["zep:s1:c"]["role"]) == ("Bo", "user")
    assert (found["zep:u4:d"]["session_id"], found["zep:u4:d"]["created_at"]) == ("u4", "2024-05-01T10:00:00Z")
    assert found["zep:u4:e"]["role"] == "tool"


def test_a_large_file_is_read_as_it_goes(tmp_path: Path) -> None:
    from maas.imports.sources import read

    line = json.dumps({"uuid": "k", "chat_messages": [{"uuid": "m", "sender": "human", "text": "hello"}]})
    path = files.written(tmp_path / "conversations.json", f"[{line}, {line}, this is cut")
    turns = read("claude", path, "ana")
    assert next(turns).key == "claude:k:m"


@pytest.mark.parametrize(
    ("source", "content", "said"),
    [
        ("chatgpt", "[{}]", "mapping"),
        ("chatgpt", "[1]", "not an object"),
        ("claude", "[{", "no whole JSON"),
        ("claude", '[{"mapping": {}}]', "chat_messages"),
        ("jsonl", '{"id": 1}', "no text"),
        ("jsonl", "{", "no JSON"),
        ("jsonl", '{"text": "x", "importance": 7}', "importance"),
        ("mem0", '[{"text": "x"}]', "get_all"),
        ("chroma", "not a database", "no Chroma database"),
        ("zep", "{}", "thread_id"),
        ("claude", '{"a": 1}', "no list"),
        ("mem0", '{"a": 1}', "no list under 'results'"),
        ("zep", "[1]", "not what zep exports"),
        ("zep", '{"thread_id": "t", "messages": ["hi"]}', "not what zep exports"),
        ("claude", '[{"uuid": "c", "chat_messages": [{"uuid": "m", "sender": "human", "content": "hi"}]}]', "claude"),
        ("jsonl", '{"id": 1, "text": "' + "x" * 1_000_001 + '"}', "jsonl:1"),
    ],
)
def test_what_is_not_the_format_is_said_in_one_line(
    run: Run, tmp_path: Path, source: str, content: str, said: str
) -> None:
    path = files.written(tmp_path / "export.json", content)
    done = run("import", source, str(path), "-u", "ana")
    assert (done.code, done.out) == (1, "")
    assert said in done.err
    assert str(path) in done.err
    assert done.err.count("\n") == 1


@pytest.mark.parametrize("arguments", [["chatgpt"], ["myspace", "x.json"], ["claude", "missing.json"], ["a", "b", "c"]])
def test_a_wrong_command_line(run: Run, arguments: list[str]) -> None:
    done = run("import", *arguments)
    assert (done.code, done.out) == (2, "")
