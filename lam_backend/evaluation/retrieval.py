"""Part ``retrieval``: SciFact and Cranfield by documents, LoCoMo by turns, alone and in context."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from lam_backend.evaluation.bench import Bench
from lam_backend.evaluation.bm25 import BM25
from lam_backend.evaluation.datasets import Collection, Conversation, read_collection, read_locomo
from lam_backend.evaluation.encoders import Vectors
from lam_backend.evaluation.ranking import measures, percent, top
from lam_backend.evaluation.report import Part, Table, number

WINDOW = 224
TURN_MEASURES = ("mean@5", "mean@10", "any@5", "any@10")
Scorer = Callable[[Conversation], NDArray[np.floating]]


def measure_retrieval(bench: Bench, *, sets: Sequence[str] = ("locomo", "cranfield", "scifact")) -> Part:
    """nDCG@10 of documents; mean@k and any@k of turns, each question over the turns of its own conversation."""
    part = Part("retrieval", "Retrieval")
    if "locomo" in sets:
        add_locomo(part, bench, read_locomo(bench.data)[: 1 if bench.quick else None])
    documents = {"scifact": ("SciFact", "qrels_test.tsv"), "cranfield": ("Cranfield", "qrels.tsv")}
    chosen = {name: documents[name] for name in documents if name in sets}
    if chosen:
        folder = bench.data / "eval"
        collections = {title: read_collection(folder / name, qrels) for name, (title, qrels) in chosen.items()}
        if bench.quick:
            collections = {title: shortened(collection) for title, collection in collections.items()}
        add_collections(part, bench, collections)
    part.notes += bench.absent
    return part


def add_collections(part: Part, bench: Bench, collections: dict[str, Collection]) -> None:
    """A table of nDCG@10: BM25 and every encoder."""
    found: dict[str, dict[str, float]] = {"BM25": {}, **{encoder.name: {} for encoder in bench.encoders}}
    for title, collection in collections.items():
        scores: dict[str, NDArray[np.floating]] = {"BM25": BM25(collection.documents).scores(collection.queries)}
        for encoder in bench.encoders:
            scores[encoder.name] = encoder.encode(collection.queries) @ encoder.encode(collection.documents).T
        for name, similarity in scores.items():
            ndcg = measures(top(similarity, 10), collection.relevant, ["ndcg@10"])["ndcg@10"]
            found[name][title] = float(ndcg.mean())
    rows = [[name, *(number(value, 4) for value in values.values())] for name, values in found.items()]
    sizes = [f"{title} ({len(c.documents)} docs, {len(c.queries)} queries)" for title, c in collections.items()]
    part.tables.append(Table("Documents, nDCG@10", ("", *sizes), rows))
    part.figures["ndcg@10"] = found


def add_locomo(part: Part, bench: Bench, conversations: list[Conversation]) -> None:
    """A table of turn retrieval: each encoder on the turn alone; LAM's turns in context, and the mean of both."""
    systems: dict[str, Scorer] = {"BM25, turn": lambda c: BM25(c.turns).scores(c.questions)}
    for encoder in bench.peers:
        systems[f"{encoder.name}, turn"] = lambda c, e=encoder: e.encode(c.questions) @ e.encode(c.turns).T  # type: ignore[misc]
    systems |= {
        "LAM, turn": lambda c: _dense(bench, c, alone(bench, c)),
        f"LAM, turn in {WINDOW} tokens of its session": lambda c: _dense(bench, c, in_sessions(bench, c, WINDOW)),
        "LAM, mean of both": lambda c: _dense(bench, c, both(alone(bench, c), in_sessions(bench, c, WINDOW))),
        "LAM, turn in its streamed session": lambda c: _dense(bench, c, in_sessions(bench, c, None)),
        "LAM, turn + stream": lambda c: _dense(bench, c, both(alone(bench, c), in_sessions(bench, c, None))),
    }
    rows, figures = [], {}
    for name, scorer in systems.items():
        values = _over_conversations(conversations, scorer)
        halves = [values["mean@10"][half] for half in _halves(conversations)]
        rows.append([name, *(number(percent(values[m])) for m in TURN_MEASURES), *(number(_mean(h)) for h in halves)])
        figures[name] = {m: percent(values[m]) for m in TURN_MEASURES}
    questions = sum(len(c.questions) for c in conversations)
    heading = f"LoCoMo, {len(conversations)} conversations, {questions} questions, turns, %"
    columns = ("", *TURN_MEASURES, "mean@10 of 1–5", "mean@10 of 6–10")
    part.tables.append(Table(heading, columns, rows))
    part.figures["locomo"] = figures


def alone(bench: Bench, conversation: Conversation) -> Vectors:
    return bench.lam.encode(conversation.turns)


def in_sessions(bench: Bench, conversation: Conversation, window: int | None) -> Vectors:
    """Turn vectors pooled from passes over their session, (turns, D); a window is at most one segment."""
    window = min(window, bench.model.config.segment_length) if window else None
    return np.concatenate([bench.contextual(session, window) for session in conversation.sessions])


def both(first: Vectors, second: Vectors) -> Vectors:
    """Unit mean of two sets of unit vectors."""
    mean = first + second
    halved: Vectors = mean / np.linalg.norm(mean, axis=1, keepdims=True).clip(min=1e-12)
    return halved


def shortened(collection: Collection, queries: int = 20, distractors: int = 100) -> Collection:
    """The first queries with their relevant documents and some others."""
    relevant = collection.relevant[:queries]
    kept = sorted({doc for grades in relevant for doc in grades} | set(range(distractors)))
    kept = [doc for doc in kept if doc < len(collection.documents)]
    place = {doc: index for index, doc in enumerate(kept)}
    return replace(
        collection,
        documents=[collection.documents[doc] for doc in kept],
        queries=collection.queries[:queries],
        relevant=[{place[doc]: grade for doc, grade in grades.items()} for grades in relevant],
    )


def _dense(bench: Bench, conversation: Conversation, turns: Vectors) -> NDArray[np.floating]:
    return bench.lam.encode(conversation.questions) @ turns.T


def _over_conversations(conversations: list[Conversation], scorer: Scorer) -> dict[str, NDArray[np.float64]]:
    found = [measures(top(scorer(c), 10), c.relevant, TURN_MEASURES) for c in conversations if c.questions]
    return {name: np.concatenate([values[name] for values in found]) for name in TURN_MEASURES}


def _halves(conversations: list[Conversation]) -> list[slice]:
    middle = sum(len(c.questions) for c in conversations[:5])
    return [slice(0, middle), slice(middle, None)]


def _mean(values: NDArray[np.float64]) -> float:
    return percent(values) if len(values) else float("nan")
