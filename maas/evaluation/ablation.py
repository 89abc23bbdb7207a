"""What each part of a score is worth, what a score means, how sessions are found: one explained recall a question.

``explain`` gives the log-odds of each part, so a ranking without a part needs no other recall: the part is left out of
the sum. Everything is asked of the product as any caller would.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maas.evaluation.dataset import Dataset, Question, Turn
from maas.evaluation.metrics import METRICS, Scores, score_ranking
from maas.evaluation.runner import Evaluator, Outcome, group_of
from maas.records import SearchHit

DEPTH = 1000
THRESHOLDS = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.7)
SHOWN = 10
VECTORS = frozenset({"dense", "context"})
COLUMNS = (("turn", "mean@10"), ("turn", "any@5"), ("session", "any@10"), ("session", "all@10"))
Progress = Callable[[str, int, int], None]


@dataclass
class _Tally:
    """For each question its group and, by ranking, its scores by level; shown hits; each question's best score."""

    questions: list[tuple[str, dict[str, dict[str, Scores]]]] = field(default_factory=list)
    shown: list[tuple[float, bool]] = field(default_factory=list)
    best: list[float] = field(default_factory=list)
    best_unanswerable: list[float] = field(default_factory=list)


def ablate(evaluator: Evaluator, dataset: Dataset, outcome: Outcome, on_progress: Progress) -> dict[str, Any]:
    """Ask every question once more, with explanations, of what :meth:`Evaluator.run` has stored.

    Returns:
        ``ablation``: ranking → group → ``turn mean@10``, … in percent; ``thresholds``: for each minimal score the
        precision of what is shown and the share of questions that are shown anything, with and without an answer.
    """
    tally = _Tally()
    asked, total = 0, sum(len(c.questions) + len(c.unanswerable) for c in dataset.conversations)
    for position, conversation in enumerate(dataset.conversations):
        turns = outcome.turns[conversation.conv_id]
        for question in conversation.questions:
            hits = evaluator.recall(conversation, question.text, top_k=DEPTH, explain=True)
            _count(tally, hits, turns, question, group_of(position))
            asked += 1
            on_progress("ablation", asked, total)
        for text in conversation.unanswerable:
            hits = evaluator.recall(conversation, text, top_k=1)
            tally.best_unanswerable.append(hits[0].score if hits else 0.0)
            asked += 1
            on_progress("ablation", asked, total)
    return {"ablation": _table(tally), "thresholds": _thresholds(tally)}


def _count(tally: _Tally, hits: Sequence[SearchHit], turns: dict[str, Turn], question: Question, group: str) -> None:
    found = [(hit, turns[hit.id]) for hit in hits if hit.id in turns]
    tally.best.append(found[0][0].score if found else 0.0)
    tally.shown += [(hit.score, turn.doc_id in question.evidence) for hit, turn in found[:SHOWN]]
    gold = {turn.session for turn in turns.values() if turn.doc_id in question.evidence}
    parts = sorted({name for hit, _ in found for name in hit.explain or {}} - {"prior"})
    values = np.array([[(hit.explain or {}).get(name, 0.0) for name in parts] for hit, _ in found])
    scores: dict[str, dict[str, Scores]] = {}
    for name, kept in _rankings(parts).items():
        order = np.argsort(-(values.reshape(len(found), len(parts)) @ kept), kind="stable")
        ranked = [found[place][1] for place in order]
        by_turn = score_ranking([turn.doc_id for turn in ranked[:SHOWN]], question.evidence)
        by_session = score_ranking(list(dict.fromkeys(turn.session for turn in ranked)), gold)
        scores[name] = {"turn": by_turn, "session": by_session}
    tally.questions.append((group, scores))


def _rankings(parts: Sequence[str]) -> dict[str, NDArray[np.float64]]:
    """Name → which parts count (1) in a ranking."""
    rankings = {"everything": np.ones(len(parts))}
    rankings |= {f"without {name}": np.array([float(part != name) for part in parts]) for name in parts}
    rankings["vectors only"] = np.array([float(part in VECTORS) for part in parts])
    rankings["words only"] = 1 - rankings["vectors only"]
    return rankings


def _table(tally: _Tally) -> dict[str, dict[str, dict[str, float]]]:
    groups = ["all", *dict.fromkeys(group for group, _ in tally.questions)]
    names = dict.fromkeys(name for _, scores in tally.questions for name in scores)
    return {name: {group: _means(tally, name, group) for group in groups} for name in names}


def _means(tally: _Tally, name: str, group: str) -> dict[str, float]:
    """A question that a part has no say in keeps its ranking without it."""
    scores = [own.get(name, own["everything"]) for label, own in tally.questions if group in ("all", label)]
    return {
        f"{level} {metric}": round(100 * float(np.mean([s[level][METRICS.index(metric)] for s in scores])), 2)
        for level, metric in COLUMNS
    }


def _thresholds(tally: _Tally) -> list[dict[str, float | None]]:
    scores = np.array([score for score, _ in tally.shown])
    right = np.array([good for _, good in tally.shown], np.bool_)
    rows = []
    for threshold in THRESHOLDS:
        shown = scores >= threshold
        rows.append(
            {
                "min_score": threshold,
                "precision": _percent(right[shown]),
                "evidence_kept": _percent(shown[right]),
                "answered": _percent(np.array(tally.best) >= threshold),
                "unanswerable_answered": _percent(np.array(tally.best_unanswerable) >= threshold),
            }
        )
    return rows


def _percent(values: NDArray[np.bool_]) -> float | None:
    return round(100 * float(values.mean()), 2) if len(values) else None


def ablation_rows(report: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Header and rows: each ranking over all conversations, then mean@10 of each group."""
    table = report["ablation"]
    groups = [group for group in table["everything"] if group != "all"]
    columns = [f"{level} {metric}" for level, metric in COLUMNS]
    header = ["", *columns, *(f"turn mean@10, {group}" for group in groups)]
    rows = [
        [name, *(f"{of['all'][c]:.1f}" for c in columns), *(f"{of[g]['turn mean@10']:.1f}" for g in groups)]
        for name, of in table.items()
    ]
    return header, rows


def threshold_rows(report: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    header = ["min_score", "precision of the ten best", "evidence kept", "answered", "answered without an answer"]
    names = ("precision", "evidence_kept", "answered", "unanswerable_answered")
    rows = [
        [f"{row['min_score']:.2f}", *("–" if row[name] is None else f"{row[name]:.0f} %" for name in names)]
        for row in report["thresholds"]
    ]
    return header, rows
