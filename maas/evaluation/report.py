"""An outcome as JSON and as tables."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from maas.evaluation.ablation import ablation_rows, threshold_rows
from maas.evaluation.dataset import Dataset
from maas.evaluation.metrics import METRICS, Scores, average, by_label, percentiles
from maas.evaluation.runner import Answered, Outcome

LABELS = {"mrr": "MRR", "ndcg@10": "nDCG@10"}


def build_report(outcome: Outcome, dataset: Dataset, **about: Any) -> dict[str, Any]:
    """One JSON object: shares in percent, latency of the recall call in milliseconds.

    Args:
        about: what was measured (level, mode, embedder, …); goes in unchanged.
    """
    answered = outcome.answered
    return {
        "overall": average(answer.scores for answer in answered),
        "by_category": by_label(_grouped(answered, lambda answer: answer.question.category)),
        "by_group": by_label(_grouped(answered, lambda answer: answer.group)),
        "latency_ms": percentiles([answer.seconds for answer in answered]),
        "questions": len(answered),
        "questions_by_category": _counts(answered, lambda answer: answer.question.category),
        "questions_by_group": _counts(answered, lambda answer: answer.group),
        "skipped_without_evidence": dataset.without_evidence,
        "unknown_evidence": dataset.unknown_evidence,
        "unread_dates": dataset.unread_dates,
        "conversations": len(dataset.conversations),
        "memories": outcome.memories,
        "store_seconds": round(outcome.store_seconds, 3),
        "store_per_second": round(outcome.memories / outcome.store_seconds, 1) if outcome.store_seconds else 0.0,
        **about,
    }


def table_rows(report: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Header and rows: overall, then each category, then each group of conversations."""
    header = ["", "questions", *(LABELS.get(name, name) for name in METRICS)]
    rows = [_row("overall", report["questions"], report["overall"])]
    for label, scores in report["by_category"].items():
        rows.append(_row(label, report["questions_by_category"][label], scores))
    for label, scores in report["by_group"].items():
        rows.append(_row(f"conversations {label}", report["questions_by_group"][label], scores))
    return header, rows


def to_markdown(report: dict[str, Any]) -> str:
    """The table and its facts, ready to paste into a document."""
    lines = markdown_table(*table_rows(report))
    if "ablation" in report:
        lines += ["", *markdown_table(*ablation_rows(report)), "", *markdown_table(*threshold_rows(report))]
    return "\n".join([*lines, "", summary(report), ""])


def markdown_table(header: list[str], rows: list[list[str]]) -> list[str]:
    return [f"| {' | '.join(header)} |", "|" + "---|" * len(header), *(f"| {' | '.join(row)} |" for row in rows)]


def summary(report: dict[str, Any]) -> str:
    latency = report["latency_ms"]
    return (
        f"{report.get('level', 'turn')} level, mode {report.get('mode', 'default')}, {report['memories']} memories in "
        f"{report['conversations']} conversation(s); recall p50 {latency['p50']:.1f} ms, p95 {latency['p95']:.1f} ms; "
        f"{report['skipped_without_evidence']} questions without evidence left out"
    )


def _row(label: str, questions: int, scores: dict[str, float]) -> list[str]:
    return [label, str(questions), *(f"{scores[name]:.1f}" for name in METRICS)]


def _grouped(answered: list[Answered], label: Callable[[Answered], str]) -> dict[str, list[Scores]]:
    groups: dict[str, list[Scores]] = {}
    for answer in answered:
        groups.setdefault(label(answer), []).append(answer.scores)
    return groups


def _counts(answered: list[Answered], label: Callable[[Answered], str]) -> dict[str, int]:
    return {name: len(rows) for name, rows in _grouped(answered, label).items()}
