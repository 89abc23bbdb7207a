"""From a question to ranked memories: candidates of each part, one score, ties settled, cut."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maas.items import indexed_text
from maas.recall import asking, fusion
from maas.recall.analysis import document_terms, query_terms
from maas.recall.diversity import diversified
from maas.recall.fusion import CURVES, Values
from maas.recall.late_interaction import POOL, WEIGHT, LateInteraction
from maas.recall.lexical import K1, SESSION, Layout, highest
from maas.recall.past import Past
from maas.recall.priors import Priors, raise_odds
from maas.records import Memory, Mode, Scope, SearchHit
from maas.storage.protocol import ReadTransaction
from maas.storage.values import LexicalHits, Seqs, Where

# With mmr, so many of the best are chosen from.
_POOL, _POOL_FACTOR = 50, 3
# A question that speaks to the assistant asks for what the assistant said; "can you tell me" speaks to nobody.
_ADDRESSES_ASSISTANT = frozenset({"you", "your", "yours", "assistant"})
_REQUEST = re.compile(r"\b(?:can|could|would|will) you\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Question:
    """``vector`` (dim,) is None in lexical mode; ``context`` is the space of vectors in context, where there is one."""

    text: str
    vector: NDArray[np.float32] | None
    fingerprint: str
    context: str | None
    mode: Mode
    top_k: int
    candidates: int
    min_score: float
    explain: bool
    mmr: float | None
    late: LateInteraction | None
    priors: Priors
    past: Past | None = None


@dataclass(frozen=True, slots=True)
class Ranking:
    """Candidates (n,), their scores in 0..1, and what made these.

    Attributes:
        parts: weighted evidence, whose sum gives odds.
        factors: by which priors have multiplied the odds.
    """

    seqs: Seqs
    scores: Values
    parts: dict[str, Values]
    background: float
    factors: dict[str, Values] = field(default_factory=dict)


def search(transaction: ReadTransaction, scope: Scope, question: Question, where: Where) -> list[SearchHit]:
    """The ``top_k`` best, by score, then newest, then id; with ``mmr``, chosen among more and in its order."""
    ranking = _with_past(rank(transaction, scope, question, where), question)
    if question.late is not None:
        ranking = _reranked(transaction, scope, ranking, question, where)
    if question.priors.weigh:
        ranking = _weighed(transaction, scope, ranking, question.priors)
    wanted = question.top_k if question.mmr is None else max(_POOL, _POOL_FACTOR * question.top_k)
    if question.mode != "dense":
        ranking = _less_what_asks(transaction, scope, ranking, question, wanted)
    chosen = _contenders(ranking, question.min_score, wanted)
    rows = transaction.by_seq(scope, ranking.seqs[chosen].tolist())
    hits: list[tuple[int, SearchHit]] = []
    for place in chosen.tolist():
        memory = rows.get(int(ranking.seqs[place]))
        if memory is not None:
            if question.past is not None:
                memory = question.past.as_known(int(ranking.seqs[place]), memory)
            hits.append((int(ranking.seqs[place]), _hit(memory, ranking, place, question)))
    hits.sort(key=lambda found: (-found[1].score, -found[1].created_at.timestamp(), found[1].id))
    if question.mmr is not None:
        hits = _diversified(transaction, scope, question, hits[:wanted])
    return [hit for _, hit in hits[: question.top_k]]


def _diversified(
    transaction: ReadTransaction, scope: Scope, question: Question, hits: list[tuple[int, SearchHit]]
) -> list[tuple[int, SearchHit]]:
    assert question.mmr is not None
    here, found = transaction.rows(scope, question.fingerprint, np.array([seq for seq, _ in hits], np.int64))
    vectors = np.zeros((len(hits), found.shape[1]), np.float32)
    vectors[here] = found
    scores = np.array([hit.score for _, hit in hits])
    return [hits[place] for place in diversified(scores, vectors, question.top_k, question.mmr)]


def rank(transaction: ReadTransaction, scope: Scope, question: Question, where: Where) -> Ranking:
    k = max(question.candidates, question.top_k)
    parts: dict[str, Values] = {}
    seqs: Seqs = np.empty(0, np.int64)
    if question.vector is not None:
        for space in _spaces_to_search(transaction, scope, question):
            near = transaction.dense(scope, space, question.vector[None, :], k, where)[0]
            seqs = np.union1d(seqs, near.seqs)
    if question.mode != "dense":
        words = transaction.lexical(scope, query_terms(question.text), k, where)
        seqs = np.union1d(seqs, words.seqs)
        seqs, parts = _word_parts(words, seqs, question.text)
    if question.vector is not None:
        alone = transaction.similarities(scope, question.fingerprint, question.vector, seqs)
        read = alone
        if question.context is not None:
            read = transaction.similarities(scope, question.context, question.vector, seqs)
        parts |= _vector_parts(question.mode, alone, read)
    evidence = np.sum(list(parts.values()), axis=0)
    curve = CURVES[question.mode]
    background = curve.background(evidence, transaction.coverage(scope, "").memories)
    return Ranking(seqs, curve.probabilities(evidence, background), parts, background)


def _spaces_to_search(transaction: ReadTransaction, scope: Scope, question: Question) -> list[str]:
    """Where every memory has been read in context, a search of the vectors alone finds nothing that words do not."""
    if question.context is None:
        return [question.fingerprint]
    if question.mode == "hybrid" and transaction.coverage(scope, question.context).complete:
        return [question.context]
    return [question.fingerprint, question.context]


def _vector_parts(mode: Mode, alone: NDArray[np.floating], read: NDArray[np.floating]) -> dict[str, Values]:
    """What the memories' own vectors say, and those that have read their neighbours; without these, their own twice.

    Args:
        alone, read: cosines (n,), NaN where there is no vector.
    """
    scale = 1 / (fusion.TURN + fusion.CONTEXT) if mode == "dense" else 1.0
    return {
        "dense": scale * fusion.TURN * fusion.cosines(alone),
        "context": scale * fusion.CONTEXT * fusion.cosines(np.where(np.isnan(read), alone, read)),
    }


def _word_parts(words: LexicalHits, seqs: Seqs, question: str) -> tuple[Seqs, dict[str, Values]]:
    """What words, session, speaker and role say of the candidates, and these without rows removed meanwhile."""
    layout = words.layout
    places = layout.places(seqs)
    seqs, places = seqs[places >= 0], places[places >= 0]
    own, turn, session = words.evidence.at(places)
    spoken = set(document_terms(question))
    to_assistant = not _ADDRESSES_ASSISTANT.isdisjoint(document_terms(_REQUEST.sub("", question)))
    return seqs, {
        "lexical": own,
        "neighbours": turn - own,
        "session": SESSION * session,
        "speaker": fusion.SPEAKER * _named(layout, spoken)[layout.speaker[places]],
        "role": np.where(layout.assistant[places] & (not to_assistant), fusion.ASSISTANT, 0.0),
    }


def _named(layout: Layout, spoken: set[str]) -> Values:
    """For each speaker 1 if the question names them, else 0; a last 0 is for memories nobody said."""
    named = [float(not spoken.isdisjoint(document_terms(name))) for name in layout.speakers]
    return np.array([*named, 0.0])


def _with_past(ranking: Ranking, question: Question) -> Ranking:
    """Memories that said something else at the time asked about are scored by that, and by nothing they say now."""
    past = question.past
    if past is None or not len(past.seqs):
        return ranking
    seqs = past.seqs
    then = {name: np.zeros(len(seqs)) for name in ranking.parts}
    if question.vector is not None:
        alone = past.cosines(question.vector)
        then |= _vector_parts(question.mode, alone, alone)
    if question.mode != "dense":
        # As BM25 scores a word that occurs once in a memory of average length.
        then["lexical"] = past.word_shares / (1 + K1)
    evidence = np.sum(list(then.values()), axis=0)
    scores = CURVES[question.mode].probabilities(evidence, ranking.background)
    said, stays = evidence > 0, ~np.isin(ranking.seqs, seqs)
    return Ranking(
        np.concatenate([ranking.seqs[stays], seqs[said]]),
        np.concatenate([ranking.scores[stays], scores[said]]),
        {name: np.concatenate([values[stays], then[name][said]]) for name, values in ranking.parts.items()},
        ranking.background,
    )


def _reranked(
    transaction: ReadTransaction, scope: Scope, ranking: Ranking, question: Question, where: Where
) -> Ranking:
    """How close the best come word by word, above or below their mean: the others keep what they have."""
    best = np.argsort(-ranking.scores, kind="stable")[:POOL]
    rows = transaction.by_seq(scope, ranking.seqs[best].tolist())
    best = best[[int(seq) in rows for seq in ranking.seqs[best]]]
    if question.late is None or not len(best):
        return ranking
    memories = [(int(seq), rows[int(seq)]) for seq in ranking.seqs[best]]
    if question.past is not None:
        memories = [(seq, question.past.as_known(seq, memory)) for seq, memory in memories]
    terms = query_terms(question.text)
    weights = dict(zip(terms, transaction.lexical(scope, terms, 1, where).evidence.weights, strict=True))
    closeness = question.late.closeness([indexed_text(memory.text, memory.name) for _, memory in memories], weights)
    part = np.zeros(len(ranking.seqs))
    part[best] = WEIGHT * (closeness - closeness.mean())
    parts = ranking.parts | {"rerank": part}
    evidence = np.sum(list(parts.values()), axis=0)
    scores = CURVES[question.mode].probabilities(evidence, ranking.background)
    return replace(ranking, scores=scores, parts=parts)


def _weighed(transaction: ReadTransaction, scope: Scope, ranking: Ranking, priors: Priors) -> Ranking:
    if priors.importance_weight > 0 and transaction.any_importance(scope):
        traits = transaction.traits(scope, ranking.seqs)
        created, importance = traits.created, traits.importance
    else:
        layout = transaction.layout(scope)
        created, importance = _at(layout.places(ranking.seqs), layout.created), None
    factors = priors.odds(created, importance)
    return replace(ranking, scores=raise_odds(ranking.scores, factors), factors=factors) if factors else ranking


def _at(places: NDArray[np.int64], values: NDArray[Any]) -> NDArray[Any]:
    """``values`` (n,) of a layout at ``places`` (m,).

    Rows that a newer snapshot, which the layout may show, has removed get 0: nobody will see them.
    """
    found = np.zeros(len(places), values.dtype)
    found[places >= 0] = values[places[places >= 0]]
    return found


def _less_what_asks(
    transaction: ReadTransaction, scope: Scope, ranking: Ranking, question: Question, wanted: int
) -> Ranking:
    """Lower the odds of turns that ask, among all that can still be one of the ``wanted`` best: only they are read."""
    layout, scores = transaction.layout(scope), ranking.scores
    unread = _at(layout.places(ranking.seqs), layout.between_people) & (scores >= question.min_score)
    if not unread.any() or asking.about_asking(question.text):
        return ranking
    factors = {"asks": np.ones(len(scores))}
    least = 0.0
    if len(scores) > 2 * wanted:
        first = highest(scores, 2 * wanted)
        now, unread[first] = first[unread[first]], False
        factors["asks"][now] = _asking_factors(transaction, scope, ranking.seqs[now], question)
        least = np.partition(raise_odds(scores, factors)[first], -wanted)[-wanted]
    later = np.flatnonzero(unread & (scores >= least))
    factors["asks"][later] = _asking_factors(transaction, scope, ranking.seqs[later], question)
    return replace(ranking, scores=raise_odds(scores, factors), factors=ranking.factors | factors)


def _asking_factors(transaction: ReadTransaction, scope: Scope, seqs: Seqs, question: Question) -> list[float]:
    texts = transaction.texts(scope, seqs.tolist()) if len(seqs) else {}
    if question.past is not None:
        texts |= {seq: earlier.entry.text for seq, earlier in question.past.versions.items()}
    return [asking.ODDS ** asking.asked_share(texts.get(seq, "")) for seq in seqs.tolist()]


def _contenders(ranking: Ranking, min_score: float, k: int) -> NDArray[np.int64]:
    """Places of the ``k`` best and of all that tie with the last of them: only then can ties be settled."""
    good = np.flatnonzero(ranking.scores >= min_score)
    return good[highest(ranking.scores[good], k)]


def _hit(memory: Memory, ranking: Ranking, place: int, question: Question) -> SearchHit:
    explain = None
    if question.explain:
        parts = {name: float(values[place]) for name, values in ranking.parts.items()}
        factors = {name: float(np.log(values[place])) for name, values in ranking.factors.items()}
        explain = CURVES[question.mode].contributions(parts, ranking.background) | factors
    return SearchHit(**vars(memory), score=float(ranking.scores[place]), explain=explain)
