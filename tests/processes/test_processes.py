"""Four servers, an embedded brain and the command line on one file: what one writes all see, and nothing is lost."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from maas import PersonalMemoryBrain, Settings
from maas.client import MaasClient
from maas.errors import AuthenticationError, FingerprintMismatchError, NotFoundError
from tests.fakes import FakeEmbedder, OtherFakeEmbedder
from tests.processes.servers import server_processes

pytestmark = [pytest.mark.server, pytest.mark.timeout(180)]

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = """
import sys
from maas.cli import main
from tests.fakes import FakeEmbedder
main(sys.argv[1:], embedder=FakeEmbedder())
"""
MODES = ("hybrid", "dense", "lexical")
Door = PersonalMemoryBrain | MaasClient


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="module")
def doors(folder: Path) -> Iterator[list[Door]]:
    with (
        server_processes(folder, 4) as clients,
        PersonalMemoryBrain(Settings(data_dir=folder), embedder=FakeEmbedder()) as brain,
    ):
        yield [*clients, brain]


def command(folder: Path, *arguments: str) -> Any:
    """``maas`` in a process of its own; what it prints as JSON."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments, "--data-dir", str(folder), "--json"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def found(door: Door, query: str, user: str, mode: str) -> dict[str, str]:
    return {hit.id: hit.text for hit in door.recall(query, user_id=user, mode=mode, top_k=50).results}


def test_what_one_process_writes_the_next_recall_of_every_other_sees(doors: list[Door], folder: Path) -> None:
    for number, writer in enumerate(doors):
        user = f"seen-{number}"
        for door in doors:  # so that each holds an index of this user already
            assert found(door, "harbour", user, "hybrid") == {}
        one = writer.store("the boat lies in the harbour", user_id=user).results[0].id
        for door in doors:
            for mode in MODES:
                assert found(door, "harbour boat", user, mode) == {one: "the boat lies in the harbour"}
        doors[number - 1].update(one, text="the boat has left for the island")
        for door in doors:
            assert found(door, "boat island", user, "lexical") == {one: "the boat has left for the island"}
            assert found(door, "harbour", user, "lexical") == {}
        doors[number - 2].delete(one)
        for door in doors:
            for mode in MODES:
                assert found(door, "boat island", user, mode) == {}
            with pytest.raises(NotFoundError):
                door.get(one)


def test_the_command_line_sees_and_is_seen(doors: list[Door], folder: Path) -> None:
    doors[0].store("the kettle is blue", user_id="cli")
    stored = command(folder, "store", "the teapot is green", "-u", "cli")["results"][0]["id"]
    for door in doors:
        for mode in MODES:
            assert stored in found(door, "teapot green", "cli", mode)
    recalled = command(folder, "recall", "kettle blue", "-u", "cli")["results"]
    assert recalled[0]["text"] == "the kettle is blue"


def test_updates_through_every_process_at_once_are_all_kept(doors: list[Door], folder: Path) -> None:
    """Not one is lost, none is refused, and no `database is locked` reaches anyone."""
    one = doors[0].store("said 0 times", user_id="busy", key="counter").results[0].id

    def change(number: int) -> list[str]:
        door = doors[number % len(doors)]
        texts = [f"said by {number} for the {turn}. time" for turn in range(12)]
        for turn, text in enumerate(texts):
            if turn % 2:
                door.update(one, text=text)
            else:
                door.store(text, user_id="busy", key="counter")
            door.store(f"beside it {number}.{turn}", user_id="busy")
        return texts

    with ThreadPoolExecutor(11) as pool:
        sent = [pool.submit(change, number) for number in range(10)]
        lines = "\n".join(json.dumps({"user_id": "busy", "text": f"line {n}"}) for n in range(200))
        (folder / "lines.jsonl").write_text(lines)
        imported = pool.submit(command, folder, "import", "jsonl", str(folder / "lines.jsonl"), "-u", "busy")
        texts = [text for future in sent for text in future.result()]
        imported.result()
    versions = doors[1].history(one).results
    assert [entry.version for entry in versions] == list(range(1, len(texts) + 2))
    assert sorted(entry.text for entry in versions[1:]) == sorted(texts)
    for door in doors:
        assert door.get(one).text == versions[-1].text
        listed = [memory.text for memory in door.list(user_id="busy", limit=1000).results]
        assert len(listed) == len(set(listed)) == 1 + len(texts) + 200


def test_recall_amid_deletes_and_reembedding_shows_nothing_deleted_and_nobody_elses(tmp_path: Path) -> None:
    """Everything is stored with one embedder; the servers speak another, and one of them re-embeds meanwhile."""
    settings = Settings(data_dir=tmp_path)
    users = ("ann", "bob", "cy")
    with PersonalMemoryBrain(settings, embedder=FakeEmbedder()) as before:
        owners: dict[str, str] = {}
        for user in users:
            batch = [{"user_id": user, "text": f"of {user}: note {n} about the boat"} for n in range(300)]
            owners |= {result.id: user for result in before.store_batch(batch).results}
    deleted: set[str] = set()
    faults: list[str] = []
    over = threading.Event()

    def watch(door: Door, number: int) -> int:
        chance, asked = random.Random(number), 0
        while not over.is_set():
            user, mode = chance.choice(users), chance.choice(MODES)
            gone = set(deleted)  # acknowledged before the question is asked
            query = f"of {user} note {chance.randrange(300)} boat"
            try:
                hits = door.recall(query, user_id=user, mode=mode, top_k=100).results
            except FingerprintMismatchError:
                assert mode == "dense", "words and what is done are enough for the others"
                continue
            faults.extend(f"deleted {hit.id} in {mode}" for hit in hits if hit.id in gone)
            faults.extend(f"{hit.text!r} for {user}" for hit in hits if not hit.text.startswith(f"of {user}:"))
            if not hits:
                faults.append(f"nothing for {user} in {mode}")
            asked += 1
        return asked

    with (
        server_processes(tmp_path, 4, embedder="other-fake") as clients,
        PersonalMemoryBrain(settings, embedder=OtherFakeEmbedder()) as brain,
        ThreadPoolExecutor(8) as pool,
    ):
        begun = threading.Event()
        reindexing = pool.submit(brain.reindex, on_progress=lambda _: begun.set())
        assert begun.wait(30)
        doors: list[Door] = [*clients, brain]
        asked = [pool.submit(watch, door, number) for number, door in enumerate(doors)]
        try:
            doomed = random.Random(0).sample(sorted(owners), 150)
            for turn, memory_id in enumerate(doomed):
                doors[turn % len(doors)].delete(memory_id)
                deleted.add(memory_id)
            assert reindexing.result().state == "done"
        finally:
            over.set()
        assert faults == []
        assert min(future.result() for future in asked) > 5
        status = brain.reindex_status()
        assert status.done == status.total == len(owners) - len(doomed)
        for door in doors:
            left = {memory.id for user in users for memory in door.list(user_id=user, limit=1000).results}
            assert left == owners.keys() - deleted


def test_a_key_revoked_in_one_process_is_refused_by_every_other(doors: list[Door]) -> None:
    brain, clients = doors[-1], doors[:-1]
    assert isinstance(brain, PersonalMemoryBrain)
    made = brain.create_key(user_id="revoked")
    own = [MaasClient(client.base_url, api_key=made.key) for client in clients]  # type: ignore[union-attr]
    calls: list[Callable[[], Any]] = [client.list for client in own]
    for call in calls:
        assert call(user_id="revoked").results == []
    brain.revoke_key(made.id)
    for client, call in zip(own, calls, strict=True):
        with pytest.raises(AuthenticationError):
            call(user_id="revoked")
        client.close()
