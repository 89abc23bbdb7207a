"""Faults that users of memory services report, where no other test holds them off."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from maas import PersonalMemoryBrain, Settings
from tests.fakes import FakeEmbedder


def test_storing_is_one_encoding_and_one_transaction(
    brain: PersonalMemoryBrain, embedder: FakeEmbedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[str] = []
    write = brain._store.write

    def counted() -> Any:
        begun.append("write")
        return write()

    monkeypatch.setattr(brain._store, "write", counted)
    brain.store("I like tea", user_id="u", session_id="s", metadata={"a": 1})
    assert (embedder.calls, len(begun)) == (1, 1)
    brain.store_batch([{"text": f"note {n}", "user_id": f"u{n % 3}"} for n in range(100)])
    assert (embedder.calls, len(begun)) == (2, 2)


def test_an_encoder_that_fails_is_an_error_and_not_an_empty_answer(settings: Settings) -> None:
    class Broken(FakeEmbedder):
        broken = False

        def encode(self, texts: Any) -> Any:
            if self.broken:
                raise RuntimeError("out of order")
            return super().encode(texts)

    embedder = Broken()
    with PersonalMemoryBrain(settings, embedder=embedder) as brain:
        brain.store("I like tea", user_id="u")
        embedder.broken = True
        for mode in ("hybrid", "dense"):
            with pytest.raises(RuntimeError, match="out of order"):
                brain.recall("tea", user_id="u", mode=mode)
        assert brain.recall("tea", user_id="u", mode="lexical").results


def test_a_memory_lives_without_a_network(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("something reached for the network")

    for name in ("connect", "connect_ex", "sendto"):
        monkeypatch.setattr(socket.socket, name, refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    with PersonalMemoryBrain(settings, embedder=FakeEmbedder()) as brain:
        stored = brain.store("I like tea", user_id="u").results[0].id
        brain.store_document("A long text. It goes on.", user_id="u")
        assert brain.recall("tea", user_id="u").results
        brain.update(stored, text="I like coffee")
        lines = list(brain.export_user("u"))
        brain.erase_user("u")
        brain.import_memories(lines)
        brain.purge()
