"""LlamaIndex: its index over our embedding, its chat memory over our memories."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

pytest.importorskip("llama_index.core", reason="the adapters' environment is made by `make test-all`")

from llama_index.core.base.llms.types import ChatMessage, MessageRole
from llama_index.core.memory import Memory
from llama_index.core.schema import TextNode
from llama_index.core.vector_stores.simple import SimpleVectorStore
from llama_index.core.vector_stores.types import VectorStoreQuery

from maas import PersonalMemoryBrain
from maas.compat.llamaindex import MaasEmbedding, MaasMemory, MaasMemoryBlock


def said(*turns: tuple[str, str]) -> list[ChatMessage]:
    return [ChatMessage(role=role, content=content) for role, content in turns]


def test_vectors_are_the_brains(brain: PersonalMemoryBrain) -> None:
    embedding = MaasEmbedding(brain)
    texts = ["a cat", "a train", "a cat"]
    expected = brain.encode(texts)
    np.testing.assert_allclose(embedding.get_text_embedding_batch(texts), expected)
    np.testing.assert_allclose(embedding.get_query_embedding("a cat"), expected[0])
    np.testing.assert_allclose(asyncio.run(embedding.aget_text_embedding("a train")), expected[1])
    np.testing.assert_allclose(asyncio.run(embedding.aget_query_embedding("a cat")), expected[0])


def test_an_index_finds_by_them(brain: PersonalMemoryBrain) -> None:
    embedding, index = MaasEmbedding(brain), SimpleVectorStore()
    nodes = [TextNode(id_=text, text=text) for text in ("the cat sleeps", "the train leaves")]
    index.add(list(embedding(nodes)))
    query = VectorStoreQuery(query_embedding=embedding.get_query_embedding("cat"), similarity_top_k=1)
    assert index.query(query).ids == ["the cat sleeps"]


def test_a_chats_history_and_what_other_chats_said(brain: PersonalMemoryBrain) -> None:
    earlier = MaasMemory.from_defaults(memories=brain, user_id="ana", session_id="1")
    earlier.put_messages(said(("user", "Nadia is allergic to hazelnuts </x>"), ("assistant", "Noted")))
    memory = MaasMemory(brain, user_id="ana", session_id="2")
    memory.put_messages(
        said(("system", "Be kind"), ("user", "hello"), ("tool", "4"), ("assistant", "hi"), ("user", " "))
    )
    assert [(m.role, m.content) for m in memory.get_all()] == [
        (MessageRole.USER, "hello"),
        (MessageRole.ASSISTANT, "hi"),
    ]
    recalled, *history = memory.get("what is Nadia allergic to")
    assert recalled.role == MessageRole.SYSTEM
    assert "hazelnuts" in (recalled.content or "")
    assert "</x>" not in (recalled.content or "")
    assert "hello" not in (recalled.content or "")
    assert [m.content for m in history] == ["hello", "hi"]
    assert [m.content for m in memory.get()] == ["hello", "hi"]

    memory.set(said(("user", "start again"), ("user", "start again")))
    assert [m.content for m in memory.get_all()] == ["start again", "start again"]
    (old, _) = brain.list(user_id="ana", session_id="2").results
    brain.store("start anew", user_id="ana", session_id="2", supersedes=old.id)
    memory.reset()
    assert memory.get_all() == []
    assert brain.list(user_id="ana", session_id="2", include_superseded=True).results == []
    assert len(earlier.get_all()) == 2


def test_only_the_newest_history_is_given(brain: PersonalMemoryBrain) -> None:
    memory = MaasMemory(brain, user_id="ana", session_id="1", history=3)
    memory.put_messages(said(*(("user", f"turn {n}") for n in range(10))))
    assert [m.content for m in memory.get()] == ["turn 7", "turn 8", "turn 9"]
    assert len(memory.get_all()) == 10


def test_others_are_not_recalled(brain: PersonalMemoryBrain) -> None:
    MaasMemory(brain, user_id="bo", session_id="1").put_messages(said(("user", "the code is 4711")))
    memory = MaasMemory(brain, user_id="ana", session_id="2")
    assert memory.get("what is the code") == []


def test_a_block_of_llamaindexs_own_memory(brain: PersonalMemoryBrain) -> None:
    block = MaasMemoryBlock(brain, user_id="ana")
    memory = Memory.from_defaults(
        session_id="chat", token_limit=60, chat_history_token_ratio=0.5, token_flush_size=10, memory_blocks=[block]
    )

    async def use() -> list[ChatMessage]:
        await memory.aput(ChatMessage(role="user", content="Nadia is allergic to hazelnuts"))
        for number in range(12):
            await memory.aput(ChatMessage(role="assistant", content=f"filling the short term, turn {number}"))
        await memory.aput(ChatMessage(role="user", content="what is Nadia allergic to"))
        return await memory.aget()

    found = asyncio.run(use())
    assert "hazelnuts" in str([message.content for message in found])
    assert any("hazelnuts" in stored.text for stored in brain.list(user_id="ana").results)
    assert asyncio.run(block.aget([])) == ""
