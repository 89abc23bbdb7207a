"""The same keys as REST guard ``/mcp``; nobody reaches another's memories."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from mcp import Client, MCPError

from tests.api.problems import problem_of
from tests.live import Live, serving, someone
from tests.mcp.clients import PROGRAM, ROOT, called, over_http, refused, subprocess_server, with_client

pytestmark = pytest.mark.server

PING = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
ACCEPT = {"Accept": "application/json, text/event-stream"}


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    with serving(tmp_path_factory.mktemp("data")) as live:
        yield live


@pytest.mark.parametrize("key", [None, "maas_nobody_0123456789abcdef", "nonsense"])
def test_without_a_good_key_there_is_nothing(live: Live, key: str | None) -> None:
    with live.http(key) as http:
        answer = http.post("/mcp", json=PING, headers=ACCEPT)
        problem_of(answer, 401, "unauthenticated")
        assert answer.headers["www-authenticate"].startswith("Bearer")


def test_a_key_that_only_writes_cannot_connect(live: Live) -> None:
    with live.http(live.key(scopes=["write"])) as http:
        problem_of(http.post("/mcp", json=PING, headers=ACCEPT), 403, "forbidden")


def test_a_revoked_key_is_refused_at_the_next_call(live: Live) -> None:
    key = live.brain.create_key(name="short-lived")
    with live.http(key.key) as http:
        assert http.post("/mcp", json=PING, headers=ACCEPT).status_code == 200
        live.brain.revoke_key(key.id)
        problem_of(http.post("/mcp", json=PING, headers=ACCEPT), 401, "unauthenticated")


def test_there_is_no_stream_to_listen_to(live: Live) -> None:
    with live.http() as http:
        assert http.get("/mcp").status_code == 405


def test_large_bodies_are_refused(tmp_path: Path) -> None:
    with serving(tmp_path, server={"max_body_bytes": 1000}) as live, live.http() as http:
        problem_of(http.post("/mcp", json=PING | {"params": {"x": "y" * 2000}}, headers=ACCEPT), 413)


def test_without_authentication_web_pages_stay_out(tmp_path: Path) -> None:
    with serving(tmp_path, auth={"enabled": False}) as live, live.http(None) as http:
        assert http.post("/mcp", json=PING, headers=ACCEPT).status_code == 200
        page = http.post("/mcp", json=PING, headers=ACCEPT | {"Origin": "https://evil.example"})
        problem_of(page, 403, "forbidden")


def test_a_reading_key_cannot_write(live: Live) -> None:
    user = someone()
    stored = live.brain.store("I like tea", user_id=user).results[0].id

    async def use(client: Client) -> None:
        assert (await called(client, "get_memory", memory_id=stored))["text"] == "I like tea"
        assert "forbidden" in await refused(client, "add_memory", text="x", user_id=user)
        assert "forbidden" in await refused(client, "update_memory", memory_id=stored, text="y")
        assert "forbidden" in await refused(client, "delete_memory", memory_id=stored)

    with_client(functools.partial(over_http, live, live.key(scopes=["read"])), use)
    assert live.brain.get(stored).text == "I like tea"


def test_a_key_of_the_whole_tenant_names_the_user(live: Live) -> None:
    ana, bo = someone(), someone()

    async def use(client: Client) -> None:
        assert "user_id" in await refused(client, "add_memory", text="x")
        await called(client, "add_memory", text="I like tea", user_id=ana)
        assert (await called(client, "get_memories", user_id=bo))["results"] == []
        resource = await client.read_resource(f"maas://users/{ana}/recent")
        assert "I like tea" in resource.contents[0].text

    with_client(functools.partial(over_http, live, live.admin_key), use)


def test_others_memories_are_not_there(live: Live) -> None:
    user = someone()
    theirs = live.brain.acting_as("other", "test").store("secret", user_id=user).results[0].id
    somebodys = live.brain.store("secret", user_id=someone()).results[0].id

    async def use(client: Client) -> None:
        for memory_id in (theirs, somebodys):
            for tool in ("get_memory", "delete_memory"):
                assert "not_found" in await refused(client, tool, memory_id=memory_id)
            assert "not_found" in await refused(client, "fetch", id=memory_id)
            assert "not_found" in await refused(client, "update_memory", memory_id=memory_id, text="x")
        assert (await called(client, "search", query="secret"))["results"] == []

    with_client(functools.partial(over_http, live, live.key(user_id=user)), use)


def test_refusals_are_kept_in_the_audit_log(live: Live) -> None:
    user, other = someone(), someone()
    theirs = live.brain.store("secret", user_id=other).results[0].id
    key = live.key(user_id=user, scopes=["read"])

    async def use(client: Client) -> None:
        await refused(client, "get_memory", memory_id=theirs)
        await refused(client, "search_memories", query="secret", user_id=other)
        await refused(client, "add_memory", text="x")
        with pytest.raises(MCPError):
            await client.read_resource(f"maas://memories/{theirs}")
        with pytest.raises(MCPError):
            await client.read_resource(f"maas://users/{other}/recent")
        await called(client, "search", query="secret")

    with_client(functools.partial(over_http, live, key), use)
    found = live.brain.audit(actor=key.split("_")[1]).results
    assert [(e.action, e.user_id, e.subject, e.outcome) for e in reversed(found)] == [
        ("mcp get_memory", None, theirs, "refused"),
        ("mcp search_memories", other, None, "refused"),
        ("mcp add_memory", None, None, "refused"),
        ("mcp memory", None, theirs, "refused"),
        ("mcp users_recent", other, None, "refused"),
    ]


def test_what_tools_store_and_recall_is_counted(tmp_path: Path) -> None:
    async def use(client: Client) -> None:
        await called(client, "add_memory", text="I like tea", user_id="ana")
        await called(client, "search_memories", query="tea", user_id="ana")

    with serving(tmp_path) as live:
        with_client(functools.partial(over_http, live, live.admin_key), use)
        text = httpx2.get(f"{live.url}/metrics").text
    assert 'maas_memories_stored_total{event="ADD"} 1.0' in text
    assert "maas_memories_recalled_total 1.0" in text
    assert 'route="/mcp",status="200"' in text


def test_stdio_through_a_server(live: Live) -> None:
    user = someone()

    async def use(client: Client) -> None:
        await called(client, "add_memory", text="I like tea")
        found = await called(client, "search_memories", query="tea")
        assert [note["user_id"] for note in found["results"]] == [user]

    server = subprocess_server("--api", live.url, "--key", live.admin_key, "--user-id", user)
    with_client(functools.partial(Client, server), use)
    assert len(live.brain.list(user_id=user).results) == 1


def test_an_assistant_that_cannot_start_it_is_told_why(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, "mcp", "--api", "http://127.0.0.1:9", "--key", "maas_a_0123456789abcdef"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: ")
