"""Part ``long-context``: passages of whole books and meetings, found again by LAM, by BM25 and by chunked peers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lam_backend.evaluation.bench import Bench
from lam_backend.evaluation.bm25 import BM25
from lam_backend.evaluation.datasets import Meeting, book_files, read_book, read_qmsum
from lam_backend.evaluation.encoders import Vectors
from lam_backend.evaluation.queries import passage_queries
from lam_backend.evaluation.ranking import measures, percent, top
from lam_backend.evaluation.report import Part, Table, number
from lam_backend.evaluation.retrieval import both
from lam_backend.packaging.lam_runtime.in_context import packed

PASSAGE_TOKENS = 128
BOOK_MEASURES = ("mean@1", "mean@10", "mrr@10")
MEETING_MEASURES = ("ndcg@10", "mean@10", "any@1", "any@10")


@dataclass(frozen=True, slots=True)
class Case:
    """One long text in passages, what is asked of it, and where the answers lie."""

    name: str
    passages: list[str]
    queries: list[str]
    relevant: list[dict[int, float]]
    in_context: Vectors
    """LAM's passage vectors from one pass over the whole text, (passages, D)."""


def measure_long_context(
    bench: Bench, *, books: int = 4, queries: int = 150, meetings: int = 20, passages: int = 3000
) -> Part:
    """Passages by thinned sentences in books, by people's questions in meetings.

    Args:
        books: how many, spread over the shelf by name.
        queries: for each book.
        meetings: how many of QMSum's test split.
        passages: a longer book is read up to so many passages.
    """
    if bench.quick:
        books, queries, meetings, passages = 1, 10, 1, 40
    part = Part("long-context", "Long context")
    shelf = book_files(bench.data)
    chosen = [shelf[round(place)] for place in np.linspace(0, len(shelf) - 1, min(books, len(shelf)))]
    cases = [book_case(bench, path.name.partition(".")[0], read_book(path), queries, passages) for path in chosen]
    _add_books(part, bench, cases)
    _add_meetings(part, bench, [meeting_case(bench, meeting) for meeting in read_qmsum(bench.data)[:meetings]])
    part.notes += [
        f"Passages of {PASSAGE_TOKENS} tokens, the same for all; in context: pooled from one pass over the whole text.",
        "A book's query is one of its sentences without a third of its content words; ±1: it or a neighbour is found.",
        "What is left of the sentence lies in the passage word for word, which favours BM25.",
        "A meeting's queries are QMSum's specific ones; passages that overlap a gold span are relevant.",
        *bench.absent,
    ]
    return part


def book_case(bench: Bench, name: str, text: str, queries: int, passages: int) -> Case:
    """A book read in one pass, up to ``passages`` passages."""
    text = text[: passages * PASSAGE_TOKENS * 6]
    read = bench.model.encode_long(text, min(PASSAGE_TOKENS, bench.model.config.segment_length))
    kept = read.passages[:passages]
    texts = [text[passage.start : passage.end] for passage in kept]
    asked, relevant = passage_queries(texts, queries, bench.seed)
    return Case(name, texts, asked, relevant, np.stack([passage.vector for passage in kept]))


def meeting_case(bench: Bench, meeting: Meeting) -> Case:
    """A meeting's turns packed into passages; those that overlap a gold span are relevant."""
    groups = list(packed(bench.model.tokenizer.ids(meeting.turns), PASSAGE_TOKENS))
    texts = ["\n".join(meeting.turns[turn] for turn in group) for group in groups]
    queries, relevant = [], []
    for query, spans in meeting.queries:
        gold = {
            index: 1.0
            for index, group in enumerate(groups)
            if any(first <= group[-1] and last >= group[0] for first, last in spans)
        }
        if gold:
            queries.append(query)
            relevant.append(gold)
    return Case(meeting.name, texts, queries, relevant, bench.contextual(texts, None))


def _systems(bench: Bench) -> dict[str, Callable[[Case], NDArray[np.floating]]]:
    def dense(case: Case, vectors: Vectors) -> NDArray[np.floating]:
        return bench.lam.encode(case.queries) @ vectors.T

    systems: dict[str, Callable[[Case], NDArray[np.floating]]] = {
        "BM25": lambda case: BM25(case.passages).scores(case.queries)
    }
    for peer in bench.peers:
        systems[f"{peer.name}, chunked"] = lambda case, e=peer: e.encode(case.queries) @ e.encode(case.passages).T  # type: ignore[misc]
    return systems | {
        "LAM, chunked": lambda case: dense(case, bench.lam.encode(case.passages)),
        "LAM, in context": lambda case: dense(case, case.in_context),
        "LAM, mean of both": lambda case: dense(case, both(bench.lam.encode(case.passages), case.in_context)),
    }


def _add_books(part: Part, bench: Bench, cases: Sequence[Case]) -> None:
    rows, figures = [], {}
    for name, scorer in _systems(bench).items():
        found: dict[str, list[NDArray[np.float64]]] = {}
        for case in cases:
            ranked = top(scorer(case), 10)
            for measure, values in measures(ranked, case.relevant, BOOK_MEASURES).items():
                found.setdefault(measure, []).append(values)
            near = [{i + d: 1.0 for i in gold for d in (-1, 0, 1)} for gold in case.relevant]
            found.setdefault("±1@1", []).append(measures(ranked, near, ["any@1"])["any@1"])
        figures[name] = {measure: percent(np.concatenate(values)) for measure, values in found.items()}
        rows.append([name, *(number(value) for value in figures[name].values())])
    passages, queries = sum(len(c.passages) for c in cases), sum(len(c.queries) for c in cases)
    heading = f"Books: {len(cases)} ({passages:,} passages, {queries} queries), %"
    part.tables.append(Table(heading, ("", "recall@1", "recall@10", "MRR@10", "±1@1"), rows))
    part.figures["books"] = figures
    part.notes.append("Books read: " + ", ".join(f"{c.name} ({len(c.passages)} passages)" for c in cases) + ".")


def _add_meetings(part: Part, bench: Bench, cases: Sequence[Case]) -> None:
    usable = [case for case in cases if case.queries]
    if not usable:
        raise ValueError(f"none of {len(cases)} meetings has a query with a gold span; expected at least one")
    rows, figures = [], {}
    for name, scorer in _systems(bench).items():
        found = [measures(top(scorer(case), 10), case.relevant, MEETING_MEASURES) for case in usable]
        figures[name] = {m: percent(np.concatenate([values[m] for values in found])) for m in MEETING_MEASURES}
        rows.append([name, *(number(value) for value in figures[name].values())])
    passages, queries = sum(len(c.passages) for c in usable), sum(len(c.queries) for c in usable)
    heading = f"QMSum: {len(usable)} meetings ({passages:,} passages, {queries} queries), %"
    part.tables.append(Table(heading, ("", "nDCG@10", "recall@10", "any@1", "any@10"), rows))
    part.figures["qmsum"] = figures
