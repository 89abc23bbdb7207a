"""Stores every turn, asks every question, keeps the rankings: through the calls any user makes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from maas.errors import StorageError
from maas.evaluation.dataset import Conversation, Dataset, Question, Turn
from maas.evaluation.metrics import Scores, score_ranking
from maas.records import Mode, SearchHit
from maas.requests import MAX_BATCH, MAX_TOP_K

if TYPE_CHECKING:
    from maas.brain import PersonalMemoryBrain
    from maas.client import MaasClient

Level = Literal["turn", "session"]
CALL_BYTES = 4_000_000
GROUP = 5


@dataclass(frozen=True, slots=True)
class Answered:
    """One question with the score of its ranking and the time the recall call took."""

    question: Question
    group: str
    scores: Scores
    seconds: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """``turns``: conversation → memory id → the turn it was stored from."""

    answered: list[Answered]
    memories: int
    store_seconds: float
    turns: dict[str, dict[str, Turn]]


@dataclass(frozen=True, slots=True)
class Evaluator:
    """Runs a data set against a brain or a client, which share the calls used here.

    Args:
        target: where turns are stored; must hold no memories of the user ids used.
        level: ``turn`` ranks turns; ``session`` ranks sessions by their best turn.
        mode: passed to recall; None leaves the product's default.
        rerank: passed to recall.
        user_prefix: put before each ``conv_id`` to make the ``user_id``.
    """

    target: PersonalMemoryBrain | MaasClient
    level: Level = "turn"
    mode: Mode | None = None
    user_prefix: str = ""
    rerank: bool = False

    def run(self, dataset: Dataset, on_progress: Callable[[str, int, int], None] = lambda *_: None) -> Outcome:
        """Store and ask, one conversation after another.

        Args:
            on_progress: called with a stage (``store``, ``recall``), the steps done and their total.
        """
        turns = sum(len(conversation.turns) for conversation in dataset.conversations)
        stored, spent = 0, 0.0
        doc_ids: dict[str, dict[str, Turn]] = {}
        for conversation in dataset.conversations:
            by_memory: dict[str, Turn] = {}
            for run in _calls(conversation):
                started = time.perf_counter()
                ids = self._store(conversation, run)
                spent += time.perf_counter() - started
                by_memory.update(zip(ids, run, strict=True))
                stored += len(run)
                on_progress("store", stored, turns)
            doc_ids[conversation.conv_id] = by_memory
        questions = sum(len(conversation.questions) for conversation in dataset.conversations)
        answered: list[Answered] = []
        for position, conversation in enumerate(dataset.conversations):
            for question in conversation.questions:
                answered.append(self._ask(conversation, question, doc_ids[conversation.conv_id], group_of(position)))
                on_progress("recall", len(answered), questions)
        return Outcome(answered, stored, spent, doc_ids)

    def erase(self, dataset: Dataset) -> None:
        """Remove every user this evaluation stored."""
        for conversation in dataset.conversations:
            self.target.erase_user(self._user(conversation))

    def recall(self, conversation: Conversation, question: str, **options: Any) -> list[SearchHit]:
        """The product's answer, in the mode of this evaluation."""
        options |= {"mode": self.mode} if self.mode else {}
        options |= {"rerank": True} if self.rerank else {}
        return self.target.recall(question, user_id=self._user(conversation), **options).results

    def _user(self, conversation: Conversation) -> str:
        return self.user_prefix + conversation.conv_id

    def _store(self, conversation: Conversation, turns: Sequence[Turn]) -> list[str]:
        messages: list[dict[str, Any]] = [
            {"role": turn.role, "content": turn.text, "name": turn.speaker, "created_at": turn.said_at}
            for turn in turns
        ]
        # Every turn must exist on its own to be counted, even one that repeats another word for word.
        response = self.target.store_messages(
            messages, user_id=self._user(conversation), session_id=turns[0].session, dedupe="off"
        )
        ids = [result.id for result in response.results]
        if len(set(ids)) != len(turns):
            raise StorageError(
                f"{len(turns)} turns of {conversation.conv_id} became {len(set(ids))} memories; expected one each. "
                "Evaluate against users that hold nothing yet"
            )
        return ids

    def _ask(self, conversation: Conversation, question: Question, turns: dict[str, Turn], group: str) -> Answered:
        options = {"top_k": MAX_TOP_K} if self.level == "session" else {}
        started = time.perf_counter()
        hits = self.recall(conversation, question.text, **options)
        seconds = time.perf_counter() - started
        found = [turns[hit.id] for hit in hits if hit.id in turns]
        if self.level == "session":
            by_doc = {turn.doc_id: turn.session for turn in turns.values()}
            ranked = list(dict.fromkeys(turn.session for turn in found))
            gold = {by_doc[doc_id] for doc_id in question.evidence}
        else:
            ranked, gold = [turn.doc_id for turn in found], set(question.evidence)
        return Answered(question, group, score_ranking(ranked, gold), seconds)


def group_of(position: int) -> str:
    first = position // GROUP * GROUP + 1
    return f"{first}-{first + GROUP - 1}"


def _calls(conversation: Conversation) -> Iterator[list[Turn]]:
    """A session a call, split where the contract's limits on one call would be passed."""
    for turns in conversation.sessions().values():
        run: list[Turn] = []
        size = 0
        for turn in turns:
            length = len(turn.text.encode("utf-8"))
            if run and (len(run) == MAX_BATCH or size + length > CALL_BYTES):
                yield run
                run, size = [], 0
            run.append(turn)
            size += length
        yield run
