"""From a question to ranked memories: candidates of each part, one score, ties settled, cut."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from maas.recall.analysis import query_terms
from maas.recall.fusion import dense_scores, fuse, lexical_scores
from maas.records import Memory, Mode, Scope, SearchHit
from maas.storage.protocol import LexicalHits, ReadTransaction, Seqs, Where


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
    """Candidates and their scores, all (n,) and in 0..1."""

    seqs: Seqs
    scores: NDArray[np.float64]
    parts: dict[str, NDArray[np.float64]]


def search(transaction: ReadTransaction, scope: Scope, question: Question, where: Where) -> list[SearchHit]:
    """The ``top_k`` best, by score, then newest, then id."""
    ranking = rank(transaction, scope, question, where)
    chosen = _contenders(ranking, question)
    rows = transaction.by_seq(scope, ranking.seqs[chosen].tolist())
    hits = []
    for place in chosen.tolist():
        memory = rows.get(int(ranking.seqs[place]))
        if memory is not None:
            parts = {name: float(values[place]) for name, values in ranking.parts.items()} if question.explain else None
            hits.append(_hit(memory, float(ranking.scores[place]), parts))
    return sorted(hits, key=lambda hit: (-hit.score, -hit.created_at.timestamp(), hit.id))[: question.top_k]


def rank(transaction: ReadTransaction, scope: Scope, question: Question, where: Where) -> Ranking:
    k = max(question.candidates, question.top_k)
    if question.vector is None:
        words = transaction.lexical(scope, query_terms(question.text), k, where)
        lexical = lexical_scores(words.scores, words.ceiling)
        return Ranking(words.seqs, lexical, {"lexical": lexical})
    near = transaction.dense(scope, question.fingerprint, question.vector[None, :], k, where)[0]
    if question.mode == "dense":
        dense = dense_scores(near.scores)
        return Ranking(near.seqs, dense, {"dense": dense})
    words = transaction.lexical(scope, query_terms(question.text), k, where)
    seqs = np.union1d(near.seqs, words.seqs)
    dense = dense_scores(transaction.similarities(scope, question.fingerprint, question.vector, seqs))
    lexical = _spread(words, seqs)
    return Ranking(seqs, fuse(dense, lexical), {"dense": dense, "lexical": lexical})


def _spread(words: LexicalHits, seqs: Seqs) -> NDArray[np.float64]:
    """Lexical scores over all candidates (n,); 0 where no word of the question occurs."""
    spread = np.zeros(len(seqs))
    spread[np.searchsorted(seqs, words.seqs)] = lexical_scores(words.scores, words.ceiling)
    return spread


def _contenders(ranking: Ranking, question: Question) -> NDArray[np.int64]:
    """Places of the ``top_k`` best and of all that tie with the last of them: only then can ties be settled."""
    good = np.flatnonzero(ranking.scores >= question.min_score)
    if len(good) > question.top_k:
        scores = ranking.scores[good]
        last = np.partition(scores, -question.top_k)[-question.top_k]
        good = good[scores >= last]
    return good


def _hit(memory: Memory, score: float, explain: dict[str, float] | None) -> SearchHit:
    return SearchHit(**vars(memory), score=score, explain=explain)
