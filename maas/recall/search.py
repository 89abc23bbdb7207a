"""From a question to ranked memories: candidates of each part, one score, ties settled, cut."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from maas.recall import fusion
from maas.recall.analysis import document_terms, query_terms
from maas.recall.fusion import CURVES, Values
from maas.recall.lexical import SESSION, Layout
from maas.records import Memory, Mode, Scope, SearchHit
from maas.storage.protocol import LexicalHits, ReadTransaction, Seqs, Where

# A question that speaks to the assistant asks for what the assistant said.
_ADDRESSES_ASSISTANT = frozenset({"you", "your", "yours", "assistant"})


@dataclass(frozen=True, slots=True)
class Question:
    """``vector`` (dim,) is None in lexical mode."""

    text: str
    vector: NDArray[np.float32] | None
    fingerprint: str
    mode: Mode
    top_k: int
    candidates: int
    min_score: float
    explain: bool


@dataclass(frozen=True, slots=True)
class Ranking:
    """Candidates (n,), their scores in 0..1, and the weighted evidence of each part, whose sum made the score."""

    seqs: Seqs
    scores: Values
    parts: dict[str, Values]
    background: float


def search(transaction: ReadTransaction, scope: Scope, question: Question, where: Where) -> list[SearchHit]:
    """The ``top_k`` best, by score, then newest, then id."""
    ranking = rank(transaction, scope, question, where)
    chosen = _contenders(ranking, question)
    rows = transaction.by_seq(scope, ranking.seqs[chosen].tolist())
    hits = []
    for place in chosen.tolist():
        memory = rows.get(int(ranking.seqs[place]))
        if memory is not None:
            hits.append(_hit(memory, ranking, place, question))
    return sorted(hits, key=lambda hit: (-hit.score, -hit.created_at.timestamp(), hit.id))[: question.top_k]


def rank(transaction: ReadTransaction, scope: Scope, question: Question, where: Where) -> Ranking:
    k = max(question.candidates, question.top_k)
    parts: dict[str, Values] = {}
    seqs: Seqs = np.empty(0, np.int64)
    if question.vector is not None:
        seqs = transaction.dense(scope, question.fingerprint, question.vector[None, :], k, where)[0].seqs
    if question.mode != "dense":
        words = transaction.lexical(scope, query_terms(question.text), k, where)
        seqs = np.union1d(seqs, words.seqs)
        seqs, parts = _word_parts(words, seqs, question.text)
    if question.vector is not None:
        turn = fusion.cosines(transaction.similarities(scope, question.fingerprint, question.vector, seqs))
        weight = 1.0 if question.mode == "dense" else fusion.TURN + fusion.CONTEXT
        parts["dense"] = weight * turn
    evidence = np.sum(list(parts.values()), axis=0)
    curve = CURVES[question.mode]
    background = curve.background(evidence, transaction.coverage(scope, question.fingerprint).memories)
    return Ranking(seqs, curve.probabilities(evidence, background), parts, background)


def _word_parts(words: LexicalHits, seqs: Seqs, question: str) -> tuple[Seqs, dict[str, Values]]:
    """What words, session, speaker and role say of the candidates, and these without rows removed meanwhile."""
    layout = words.layout
    places = layout.places(seqs)
    seqs, places = seqs[places >= 0], places[places >= 0]
    spoken = set(document_terms(question))
    to_assistant = not _ADDRESSES_ASSISTANT.isdisjoint(spoken)
    return seqs, {
        "lexical": words.evidence.turn[places],
        "session": SESSION * words.evidence.session[places],
        "speaker": fusion.SPEAKER * _named(layout, spoken)[layout.speaker[places]],
        "role": np.where(layout.assistant[places] & (not to_assistant), fusion.ASSISTANT, 0.0),
    }


def _named(layout: Layout, spoken: set[str]) -> Values:
    """For each speaker 1 if the question names them, else 0; a last 0 is for memories nobody said."""
    named = [float(not spoken.isdisjoint(document_terms(name))) for name in layout.speakers]
    return np.array([*named, 0.0])


def _contenders(ranking: Ranking, question: Question) -> NDArray[np.int64]:
    """Places of the ``top_k`` best and of all that tie with the last of them: only then can ties be settled."""
    good = np.flatnonzero(ranking.scores >= question.min_score)
    if len(good) > question.top_k:
        scores = ranking.scores[good]
        last = np.partition(scores, -question.top_k)[-question.top_k]
        good = good[scores >= last]
    return good


def _hit(memory: Memory, ranking: Ranking, place: int, question: Question) -> SearchHit:
    explain = None
    if question.explain:
        parts = {name: float(values[place]) for name, values in ranking.parts.items()}
        explain = CURVES[question.mode].contributions(parts, ranking.background)
    return SearchHit(**vars(memory), score=float(ranking.scores[place]), explain=explain)
