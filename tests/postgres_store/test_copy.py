"""`maas migrate-store`: a SQLite file into PostgreSQL, resumed, caught up, compared, and then let go."""

from __future__ import annotations

import pytest

from maas import PersonalMemoryBrain, Settings
from maas.errors import ConflictError, StorageError
from maas.storage import copied_rows
from maas.storage.opening import copy_to_postgres
from tests.cli.conftest import Run
from tests.conftest import FakeClock
from tests.fakes import ContextualFakeEmbedder
from tests.postgres import Server

EMBEDDER = ContextualFakeEmbedder(dim=32)


def quiet(_stage: str, _done: int, _total: int) -> None:
    return None


@pytest.fixture
def filled(settings: Settings, clock: FakeClock) -> Settings:
    with PersonalMemoryBrain(settings, embedder=EMBEDDER, clock=clock) as brain:
        for user in ("ana", "bea", "cai"):
            brain.store_batch(
                [
                    {"text": f"{user}'s fish {n} fish {n % 7} é’s", "user_id": user, "metadata": {"n": n}}
                    for n in range(20)
                ],
                idempotency_key=f"key {user}",
            )
        brain.store_messages(
            [{"role": "user", "content": f"turn {n}"} for n in range(4)], user_id="ana", session_id="s"
        )
        brain.store("Ana lives in Porto", user_id="ana", key="home")
        brain.store("Ana lives in Lisbon", user_id="ana", key="home")
        brain.store_document("A short book. " * 400, user_id="bea")
        brain.create_key(name="phone", scopes=["read"])
    return settings


def answers(settings: Settings, clock: FakeClock) -> list[object]:
    with PersonalMemoryBrain(settings, embedder=EMBEDDER, clock=clock) as brain:
        found: list[object] = []
        for user in ("ana", "bea", "cai"):
            hits = brain.recall("fish 3 of Lisbon turn", user_id=user, top_k=8).results
            found += [(hit.id, round(hit.score, 3)) for hit in hits]
            found += [memory.model_dump() for memory in brain.list(user_id=user, limit=100).results]
        return [*found, *(key.id for key in brain.list_keys().results), brain.audit().results]


def test_everything_arrives_and_answers_alike(filled: Settings, postgres_settings: Settings, clock: FakeClock) -> None:
    target = str(postgres_settings.storage.url)
    first = copy_to_postgres(filled, None, target, final=False, report=quiet)
    assert (first.users, first.copied, first.behind) == (3, 3, 0)
    with PersonalMemoryBrain(filled, embedder=EMBEDDER, clock=clock) as brain:
        brain.store("written meanwhile", user_id="cai")
        brain.erase_user("bea")
    last = copy_to_postgres(filled, None, target, final=True, report=quiet)
    assert (last.users, last.copied) == (2, 1), "only who has changed"
    assert answers(postgres_settings, clock) == answers(filled, clock)
    with PersonalMemoryBrain(postgres_settings, embedder=EMBEDDER, clock=clock) as brain:
        brain.store("it goes its own way", user_id="dan")
        assert brain.recall("own way", user_id="dan").results[0].text == "it goes its own way"
    with pytest.raises(ConflictError, match="of its own"):
        copy_to_postgres(filled, None, target, final=False, report=quiet)


def test_a_copy_that_was_cut_off_goes_on(
    filled: Settings, postgres_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = str(postgres_settings.storage.url)
    monkeypatch.setattr("maas.storage.copying._GROUP", 1)

    def cut(stage: str, done: int, _total: int) -> None:
        if stage == "users copied" and done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        copy_to_postgres(filled, None, target, final=False, report=cut)
    assert copy_to_postgres(filled, None, target, final=False, report=quiet).copied == 1


def test_what_differs_is_copied_again_or_told(
    filled: Settings, postgres_settings: Settings, postgres: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = str(postgres_settings.storage.url)
    whole = copy_to_postgres(filled, None, target, final=False, report=quiet)
    database = target.rpartition("/")[2].partition("?")[0]
    with postgres.connect(database) as connection:
        connection.execute("UPDATE memories SET words = '' WHERE user_id = 'ana'")
        connection.execute("DELETE FROM vectors WHERE user_id = 'cai' AND seq % 2 = 0")
        connection.execute("UPDATE memories SET text = text || '!' WHERE user_id = 'bea'")
    again = copy_to_postgres(filled, None, target, final=False, report=quiet)
    assert again.sha256 == whole.sha256
    monkeypatch.setattr(
        copied_rows, "values", lambda of, row: dict(zip(of.c.keys(), row, strict=False)) | {"words": (1, [])}
    )
    with postgres.connect(database) as connection:
        connection.execute("UPDATE memories SET words = '' WHERE user_id = 'ana'")
    with pytest.raises(StorageError, match="1 users differ"):
        copy_to_postgres(filled, None, target, final=False, report=quiet)


def test_the_command_says_what_to_do_next(run: Run, postgres: Server) -> None:
    run("store", "the boat is red", "-u", "ana")
    url = postgres.url(postgres.empty(), password="secret")
    done = run("migrate-store", "--to", url)
    assert "1 memories of 1 users" in done.out
    assert "--final" in done.err
    assert "secret" not in done.out + done.err
    assert run("migrate-store", "--to", url, "--final", "--json").json["final"] is True
    refused = run("migrate-store", "--from", url, "--to", url)
    assert refused.code == 1
    assert "copies from sqlite" in refused.err
