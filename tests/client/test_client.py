"""Both clients against a real server: what the brain promises holds over HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import httpx2
import numpy as np
import pytest

from maas.api.app import create_app
from maas.brain import PersonalMemoryBrain
from maas.client import AsyncMaasClient, MaasClient
from maas.errors import (
    AuthenticationError,
    ConflictError,
    FingerprintMismatchError,
    IdempotencyConflictError,
    InvalidInputError,
    NotFoundError,
    PayloadTooLargeError,
    PermissionDeniedError,
    TransportError,
)
from maas.records import Memory, SearchHit
from maas.requests import StoreRequest
from maas.settings import load_settings
from tests.fakes import FakeEmbedder, OtherFakeEmbedder
from tests.live import Live, serving, someone


@pytest.fixture
def client(live: Live) -> Iterator[MaasClient]:
    with MaasClient(live.url, live.admin_key, retries=0) as client:
        yield client


def test_a_life_of_a_memory(client: MaasClient, user: str) -> None:
    tokyo = timezone(timedelta(hours=9))
    stored = client.store(
        "I moved to Tokyo", user_id=user, metadata={"n": 1}, created_at=datetime(2024, 5, 1, tzinfo=tokyo), key="home"
    ).results[0]
    memory = client.get(stored.id)
    assert isinstance(memory, Memory)
    assert (memory.created_at, memory.key) == (datetime(2024, 4, 30, 15, tzinfo=UTC), "home")
    hit = client.recall("Tokyo", user_id=user, explain=True, filters={"metadata.n": 1}).results[0]
    assert isinstance(hit, SearchHit)
    assert hit.id == stored.id
    assert hit.explain
    assert client.update(stored.id, text="I moved to Kyoto", importance=0.5).version == 2
    assert client.update(stored.id, importance=None).importance is None
    assert [entry.text for entry in client.history(stored.id).results][:2] == ["I moved to Tokyo", "I moved to Kyoto"]
    assert client.delete(stored.id, user_id=user).id == stored.id
    with pytest.raises(NotFoundError):
        client.get(stored.id)


def test_messages_batches_and_pages(client: MaasClient, user: str) -> None:
    client.store_messages(
        [{"role": "user", "content": "first"}, {"role": "assistant", "content": "second"}], user_id=user
    )
    client.store_batch([{"user_id": user, "text": "third"}, StoreRequest(user_id=user, text="fourth")])
    texts, cursor = [], None
    while True:
        page = client.list(user_id=user, limit=1, cursor=cursor)
        texts += [memory.text for memory in page.results]
        cursor = page.next_cursor
        if cursor is None:
            break
    assert sorted(texts) == ["first", "fourth", "second", "third"]
    since = datetime.now(UTC) + timedelta(days=1)
    assert client.list(user_id=user, since=since, filters={"role": "user"}).results == []


@pytest.mark.parametrize("strange", ["a/b", "..", ".", "50% & more=?#", "日本"])
def test_export_import_and_erase_any_user(client: MaasClient, strange: str) -> None:
    client.store("to be moved", user_id=strange)
    lines = list(client.export_user(strange))
    other = someone()
    assert client.import_memories(lines, user_id=other).imported == 1
    assert client.list(user_id=other).results[0].text == "to be moved"
    assert client.erase_user(strange).before["memories"] == 1
    assert client.list(user_id=strange).results == []


def test_encode_is_the_embedders(client: MaasClient) -> None:
    np.testing.assert_array_equal(client.encode(["a", "b"]), FakeEmbedder().encode(["a", "b"]))
    assert client.encode([]).shape == (0, 384)


def test_keys(client: MaasClient, live: Live, user: str) -> None:
    made = client.create_key(name="phone", scopes=["read"], user_id=user)
    assert made.id in {key.id for key in client.list_keys().results}
    with MaasClient(live.url, made.key) as phone:
        assert phone.list(user_id=user).results == []
        with pytest.raises(PermissionDeniedError):
            phone.store("x", user_id=user)
        assert client.revoke_key(made.id).revoked_at is not None
        with pytest.raises(AuthenticationError):
            phone.list(user_id=user)
    with pytest.raises(ConflictError):
        [client.create_key(name="twice", idempotency_key=user) for _ in range(2)]


def test_errors_are_the_brains_own(client: MaasClient, live: Live, user: str) -> None:
    """Each wrong call raises the same class with the same fields, in the process and over HTTP."""
    brain = live.brain
    wrong = [
        (lambda api: api.store(" ", user_id=user), InvalidInputError),
        (lambda api: api.store("x" * 2_000_000, user_id=user), PayloadTooLargeError),
        (lambda api: api.store_batch([{"user_id": user, "text": "x"}, {"user_id": user}]), InvalidInputError),
        (lambda api: api.recall("x", user_id=user, top_k=0), InvalidInputError),
        (lambda api: api.recall("x", user_id=user, filters={"metadata.n": {"near": 3}}), InvalidInputError),
        (lambda api: api.list(user_id=user, cursor="garbage"), InvalidInputError),
        (lambda api: api.update("nothing", text="x"), NotFoundError),
        (lambda api: api.update("nothing"), InvalidInputError),
        (lambda api: api.get("nothing"), NotFoundError),
        (lambda api: api.history("nothing"), NotFoundError),
        (lambda api: api.delete("nothing"), NotFoundError),
        (lambda api: api.store("x", user_id=user, supersedes="nothing"), (NotFoundError, InvalidInputError)),
        (lambda api: api.import_memories([{"memory": 5}]), InvalidInputError),
        (lambda api: api.create_key(scopes=["all"]), InvalidInputError),
        (lambda api: api.revoke_key("nothing"), NotFoundError),
    ]
    for call, expected in wrong:
        raised = []
        for api in (brain, client):
            with pytest.raises(expected) as caught:
                call(api)
            raised.append((type(caught.value), caught.value.errors, caught.value.detail))
        assert raised[0] == raised[1]


def test_idempotency_conflicts(client: MaasClient, user: str) -> None:
    client.store("one", user_id=user, idempotency_key=user)
    with pytest.raises(IdempotencyConflictError):
        client.store("two", user_id=user, idempotency_key=user)


def test_reindex_waits_until_done(tmp_path: Path) -> None:
    with serving(tmp_path, FakeEmbedder()) as live:
        key = live.admin_key
        live.brain.store_batch([{"user_id": "a", "text": f"fact {n}"} for n in range(150)])
    with serving(tmp_path, OtherFakeEmbedder()) as live, MaasClient(live.url, key, sleep=lambda _: None) as client:
        with pytest.raises(FingerprintMismatchError):
            client.recall("fact 3", user_id="a")
        assert client.reindex().state == "done"
        assert client.reindex_status().done == 150
        assert client.recall("fact 3", user_id="a", top_k=1).results[0].text == "fact 3"


def test_the_async_client_does_the_same(tmp_path: Path) -> None:
    """Over ASGI, without a socket."""
    settings = load_settings(data_dir=tmp_path)

    async def life(brain: PersonalMemoryBrain, key: str) -> None:
        app = create_app(settings, brain=brain)
        async with (
            app.router.lifespan_context(app),
            AsyncMaasClient("http://127.0.0.1", key, transport=httpx2.ASGITransport(app=app)) as client,
        ):
            await client.ready()
            stored = (await client.store("I moved to Tokyo", user_id="a")).results[0]
            await client.store_messages([{"role": "user", "content": "hello"}], user_id="a")
            await client.store_batch([{"user_id": "a", "text": "batch"}])
            found = await asyncio.gather(*(client.recall("Tokyo", user_id="a", top_k=1) for _ in range(16)))
            assert {answer.results[0].id for answer in found} == {stored.id}
            assert len((await client.list(user_id="a")).results) == 3
            assert (await client.update(stored.id, text="I moved to Kyoto")).version == 2
            assert len((await client.history(stored.id)).results) == 2
            lines = [line async for line in client.export_user("a")]
            assert (await client.import_memories(lines, user_id="b")).imported == 3
            assert (await client.import_memories(client.export_user("a"), user_id="c")).imported == 3
            assert (await client.erase_user("c")).before["memories"] == 3
            with pytest.raises(ConflictError, match="name one by user_id"):
                await client.delete(stored.id)
            assert (await client.delete(stored.id, user_id="a")).event == "DELETE"
            with pytest.raises(NotFoundError):
                await client.get(stored.id, user_id="a")
            assert (await client.erase_user("b")).before["memories"] == 3
            assert (await client.encode(["x"])).shape == (1, 384)
            made = await client.create_key(name="k")
            assert made.id in {entry.id for entry in (await client.list_keys()).results}
            assert (await client.revoke_key(made.id)).revoked_at
            assert (await client.reindex()).state == "done"
            assert (await client.reindex_status()).state == "done"

    with PersonalMemoryBrain(settings, embedder=FakeEmbedder()) as brain:
        first = brain.ensure_bootstrap_key()
        assert first is not None
        asyncio.run(life(brain, first.key))


def test_nobody_there_is_a_transport_error() -> None:
    with MaasClient("http://127.0.0.1:9", retries=0) as client, pytest.raises(TransportError, match="127.0.0.1:9"):
        client.list(user_id="a")


def test_closing_twice_is_harmless(live: Live) -> None:
    client = MaasClient(live.url)
    client.close()
    client.close()
