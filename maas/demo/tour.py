"""Stores the shipped conversation and asks it questions, with the time each call took."""

from __future__ import annotations

import time
from collections.abc import Callable
from importlib.resources import as_file, files
from typing import TYPE_CHECKING

from pydantic import BaseModel

from maas.evaluation.dataset import Conversation, read_dataset
from maas.records import SearchHit

if TYPE_CHECKING:
    from maas.brain import PersonalMemoryBrain


class DemoAnswer(BaseModel):
    """A question with what recall answered; ``found`` says whether a turn holding the answer is among the hits."""

    question: str
    hits: list[SearchHit]
    found: bool
    recall_ms: float


class DemoReport(BaseModel):
    embedder: str
    user_id: str
    memories: int
    sessions: int
    store_seconds: float
    answers: list[DemoAnswer]


def shipped_conversation() -> Conversation:
    """The conversation and its questions, as packaged."""
    folder = files("maas.demo")
    with as_file(folder / "conversation.jsonl") as docs, as_file(folder / "questions.jsonl") as queries:
        return read_dataset(docs, queries).conversations[0]


def run_demo(
    brain: PersonalMemoryBrain,
    *,
    user_id: str = "demo",
    top_k: int = 3,
    on_progress: Callable[[str, int, int], None] = lambda *_: None,
) -> DemoReport:
    """Store every session of the conversation for ``user_id``, then recall ``top_k`` memories for each question.

    Running it again on the same store adds nothing: exact repeats are recognised.
    """
    brain.ready()  # loading the model is no part of storing
    conversation = shipped_conversation()
    sessions = conversation.sessions()
    memories: dict[str, str] = {}
    started = time.perf_counter()
    for number, (session, turns) in enumerate(sessions.items(), 1):
        messages = [
            {"role": turn.role, "content": turn.text, "name": turn.speaker, "created_at": turn.said_at}
            for turn in turns
        ]
        response = brain.store_messages(messages, user_id=user_id, session_id=session)
        memories.update({result.id: turn.doc_id for result, turn in zip(response.results, turns, strict=True)})
        on_progress("store", number, len(sessions))
    store_seconds = time.perf_counter() - started
    answers = []
    for number, question in enumerate(conversation.questions, 1):
        started = time.perf_counter()
        hits = brain.recall(question.text, user_id=user_id, top_k=top_k).results
        answers.append(
            DemoAnswer(
                question=question.text,
                hits=hits,
                found=any(memories.get(hit.id) in question.evidence for hit in hits),
                recall_ms=round((time.perf_counter() - started) * 1000, 2),
            )
        )
        on_progress("recall", number, len(conversation.questions))
    return DemoReport(
        embedder=brain.embedder.name,
        user_id=user_id,
        memories=len(memories),
        sessions=len(sessions),
        store_seconds=round(store_seconds, 3),
        answers=answers,
    )
