"""Stores long texts as documents, asks about them, and sees whether the passages found lie in the answers."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from maas.evaluation.long_texts import LongText, TextQuestion
from maas.evaluation.metrics import percentiles
from maas.records import Mode, SearchHit

if TYPE_CHECKING:
    from maas.brain import PersonalMemoryBrain
    from maas.client import MaasClient

RANKS = (1, 5, 10)


def run_long_texts(
    target: PersonalMemoryBrain | MaasClient,
    texts: Sequence[LongText],
    modes: Sequence[Mode],
    user_id: str,
    on_progress: Callable[[str, int, int], None] = lambda *_: None,
) -> dict[str, Any]:
    """Each text is one document of ``user_id``; a question searches its own document.

    Returns:
        by mode ``any@k``, percent of the questions with a passage of the answer among the first k, ``mrr``, percent,
        and latency; characters, passages and seconds of reading.
    """
    started = time.perf_counter()
    stored = []
    for count, text in enumerate(texts, 1):
        stored.append(target.store_document(text.text, user_id=user_id, title=text.name))
        on_progress("read", count, len(texts))
    seconds = time.perf_counter() - started
    total = sum(len(text.questions) for text in texts)
    report: dict[str, Any] = {
        "texts": len(texts),
        "questions": total,
        "characters": sum(document.characters for document in stored),
        "passages": sum(document.passages for document in stored),
        "read_seconds": round(seconds, 2),
        "modes": {},
    }
    for mode in modes:
        ranks, spent = [], []
        for text, document in zip(texts, stored, strict=True):
            for question in text.questions:
                began = time.perf_counter()
                found = target.recall(question.text, user_id=user_id, session_id=document.id, mode=mode)
                spent.append(time.perf_counter() - began)
                ranks.append(first_rank(found.results, question))
                on_progress(mode, len(ranks), total)
        report["modes"][mode] = _measures(ranks) | {"latency_ms": percentiles(spent)}
    return report


def first_rank(hits: Sequence[SearchHit], question: TextQuestion) -> int | None:
    """Rank of the first passage that overlaps an answer, counted from 1."""
    for rank, hit in enumerate(hits, 1):
        start, end = hit.start or 0, hit.end or 0
        if any(start < last and first < end for first, last in question.spans):
            return rank
    return None


def _measures(ranks: Sequence[int | None]) -> dict[str, float]:
    count = max(1, len(ranks))
    found = [rank for rank in ranks if rank is not None]
    shares = {f"any@{k}": round(100 * sum(rank <= k for rank in found) / count, 1) for k in RANKS}
    return shares | {"mrr": round(100 * sum(1 / rank for rank in found) / count, 1)}
