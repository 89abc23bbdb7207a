"""Damage and want: a clear error or a rebuild, never a wrong or an empty answer."""

from __future__ import annotations

import os
import resource
import sqlite3
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from maas import PersonalMemoryBrain, Settings
from maas.doctor.examine import examine
from maas.errors import ConfigError, MaasError, StorageError
from tests.conftest import FakeClock
from tests.fakes import FakeEmbedder

TEXTS = [f"note {n} about the {thing}" for n in range(60) for thing in ("boat", "dog", "garden")]


def fill(settings: Settings) -> Path:
    with PersonalMemoryBrain(settings, embedder=FakeEmbedder()) as brain:
        brain.store_batch([{"text": text, "user_id": "u"} for text in TEXTS])
    return settings.data_dir / "maas.db"


def harm(path: Path, *statements: str) -> None:
    connection = sqlite3.connect(path, isolation_level=None)
    for statement in statements:
        connection.execute(statement)
    connection.close()


def test_a_damaged_index_of_words_is_an_error_and_not_nothing(settings: Settings) -> None:
    harm(fill(settings), "DELETE FROM memory_terms_data WHERE id > 10")
    with PersonalMemoryBrain(settings, embedder=FakeEmbedder()) as brain:
        for mode in ("lexical", "hybrid"):
            with pytest.raises(StorageError, match="maas doctor"):
                brain.recall("boat", user_id="u", mode=mode)
        assert brain.recall(TEXTS[0], user_id="u", mode="dense").results[0].text == TEXTS[0]


@pytest.mark.parametrize(
    "harmed",
    [
        "UPDATE memory_terms_data SET block = zeroblob(length(block)) WHERE id > 10",
        "UPDATE memory_terms_data SET block = substr(block, 1, length(block) / 2) WHERE id > 10",
        "UPDATE memory_terms_data SET block = zeroblob(3) WHERE id = 10",
        "DELETE FROM memory_terms WHERE rowid % 3 = 0",
    ],
)
def test_words_that_damage_hides_are_missed(settings: Settings, harmed: str) -> None:
    """Where the index of words gives no error of its own, it gives too little."""
    harm(fill(settings), harmed)
    with PersonalMemoryBrain(settings, embedder=FakeEmbedder()) as brain:
        for mode in ("lexical", "hybrid", "lexical"):
            with pytest.raises(StorageError, match="maas doctor"):
                brain.recall("boat", user_id="u", mode=mode)
        assert brain.recall(TEXTS[0], user_id="u", mode="dense").results[0].text == TEXTS[0]
    examine(settings, FakeEmbedder(), lambda: datetime.now(UTC), repair=True)
    with PersonalMemoryBrain(settings, embedder=FakeEmbedder()) as brain:
        assert len(brain.recall("boat", user_id="u", mode="lexical", top_k=100).results) == 60


@pytest.mark.parametrize("vector", ["zeroblob(length(vector))", "zeroblob(5)", "randomblob(length(vector))"])
def test_a_damaged_vector_is_an_error_and_not_a_wrong_score(settings: Settings, vector: str) -> None:
    harm(fill(settings), f"UPDATE vectors SET vector = {vector} WHERE seq = 7")
    with PersonalMemoryBrain(settings, embedder=FakeEmbedder()) as brain:
        with pytest.raises(StorageError, match="maas doctor"):
            brain.recall("boat", user_id="u", mode="dense")
        assert brain.recall("boat", user_id="u", mode="lexical").results


def test_damaged_pages_are_an_error_or_not_touched(settings: Settings) -> None:
    """Each page in turn is overwritten with noise: what is answered is right, or it is an error."""
    path = fill(settings)
    sound = path.read_bytes()
    size = 8192
    noise = np.random.default_rng(1)
    failed = 0
    pages = range(1, len(sound) // size, max(1, len(sound) // size // 12))
    for page in pages:
        path.write_bytes(sound[: page * size] + noise.bytes(size) + sound[(page + 1) * size :])
        try:
            with PersonalMemoryBrain(settings, embedder=FakeEmbedder()) as brain:
                listed = {memory.text for memory in brain.list(user_id="u", limit=1000).results}
                assert listed == set(TEXTS), page
                for text in TEXTS[::20]:
                    assert brain.recall(text, user_id="u").results[0].text == text, page
        except StorageError:
            failed += 1
        for left in path.parent.glob("maas.db-*"):
            left.unlink()
    assert failed, "some of these pages hold what was asked for"


@pytest.mark.parametrize("keep", [0, 40, 0.5, 0.9])
def test_a_cut_log_loses_the_newest_writes_and_nothing_else(settings: Settings, keep: float) -> None:
    path = fill(settings)
    brain = PersonalMemoryBrain(settings, embedder=FakeEmbedder())
    for n in range(20):
        brain.store(f"late note {n}", user_id="u")
    log = path.with_name("maas.db-wal").read_bytes()
    database = path.read_bytes()
    brain.close()
    for left in path.parent.glob("maas.db*"):
        left.unlink()
    path.write_bytes(database)
    path.with_name("maas.db-wal").write_bytes(log[: int(keep if keep > 1 else keep * len(log))])
    with PersonalMemoryBrain(settings, embedder=FakeEmbedder()) as brain:
        texts = [memory.text for memory in brain.list(user_id="u", limit=1000).results]
        late = [text for text in texts if text.startswith("late")]
        assert set(late) == {f"late note {n}" for n in range(len(late))}, "the first of them"
        assert set(texts) - set(late) == set(TEXTS)
        status = brain.reindex_status()
        assert status.done == status.total == len(texts)


def test_a_full_disk_writes_nothing_and_says_so(brain: PersonalMemoryBrain, settings: Settings) -> None:
    brain.store("the boat is red", user_id="u")
    with brain._store.write() as transaction:
        pages = transaction._driver.execute("PRAGMA page_count").fetchone()[0]  # type: ignore[attr-defined]
        transaction._driver.execute(f"PRAGMA max_page_count={pages + 4}")  # type: ignore[attr-defined]
    batch = [{"text": text, "user_id": "u"} for text in TEXTS]
    with pytest.raises(StorageError, match="full; nothing was written"):
        brain.store_batch(batch)
    assert [hit.text for hit in brain.recall("boat", user_id="u").results] == ["the boat is red"]
    with brain._store.write() as transaction:
        transaction._driver.execute("PRAGMA max_page_count=100000")  # type: ignore[attr-defined]
    assert len(brain.store_batch(batch).results) == len(TEXTS)


def test_a_folder_that_cannot_be_written_is_said_at_the_start() -> None:
    with pytest.raises(ConfigError, match="cannot be written"):
        PersonalMemoryBrain(Settings(data_dir=Path("/proc/maas")), embedder=FakeEmbedder())


def test_a_clock_set_back_loses_nothing(brain: PersonalMemoryBrain, clock: FakeClock) -> None:
    ids = [brain.store("before", user_id="u", idempotency_key="k").results[0].id]
    clock.advance(days=-30)
    assert brain.store("before", user_id="u", idempotency_key="k").results[0].id == ids[0], "still known"
    ids.append(brain.store("after", user_id="u").results[0].id)
    changed = brain.update(ids[0], text="before, and after")
    assert changed.version == 2
    assert [entry.version for entry in brain.history(ids[0]).results] == [1, 2]
    assert {memory.id for memory in brain.list(user_id="u").results} == set(ids)
    assert {hit.id for hit in brain.recall("after", user_id="u").results} == set(ids)
    key = brain.create_key(expires_at=datetime(2025, 2, 15, tzinfo=UTC))
    assert brain.authenticate(key.key).id == key.id


def test_without_file_descriptors_an_error_is_raised_and_then_all_is_well(settings: Settings) -> None:
    fill(settings)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with PersonalMemoryBrain(settings, embedder=FakeEmbedder()) as brain:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 256), hard))
        taken: list[int] = []
        try:
            while True:
                try:
                    taken.append(os.open("/dev/null", os.O_RDONLY))
                except OSError:
                    break
            answers = [in_a_new_thread(lambda: brain.recall("boat", user_id="u").results) for _ in range(3)]
        finally:
            for descriptor in taken:
                os.close(descriptor)
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert all(isinstance(answer, StorageError) or answer for answer in answers), answers
        assert brain.recall("boat", user_id="u").results


def in_a_new_thread(call: Callable[[], object]) -> object:
    """What ``call`` gives, or raises, in a thread that has no connection yet."""
    result: list[object] = []

    def run() -> None:
        try:
            result.append(call())
        except MaasError as error:
            result.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return result[0]
