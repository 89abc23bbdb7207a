"""Many users, and one user with many memories: how recall holds up when the store is large."""

from __future__ import annotations

import itertools
import random
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict

from maas.bench.corpus import generated_texts, questions
from maas.bench.embedded import OnProgress, metered_brain
from maas.bench.embedder import WordSumEmbedder
from maas.bench.measure import EncodeMeter, Samples, Usage

if TYPE_CHECKING:
    from maas.brain import PersonalMemoryBrain
    from maas.settings import Settings

BATCH = 1000


class ScaleSizes(BaseModel):
    """How large the store grows, and how often it is asked."""

    model_config = ConfigDict(frozen=True)

    users: int = 10_000
    memories_per_user: int = 100
    large_user: int = 6_000
    recalls: int = 500

    @classmethod
    def quick(cls) -> ScaleSizes:
        """Just enough to see that it works; the figures mean nothing."""
        return cls(users=20, memories_per_user=5, large_user=60, recalls=10)


def bench_scale(settings: Settings, sizes: ScaleSizes, report: OnProgress) -> dict[str, Any]:
    """Fill a throwaway store in steps, recall at each step, then ask the one large user.

    The encoder is the bench's own word-sum, declared in the result: only the memory is measured.
    """
    with tempfile.TemporaryDirectory(prefix="maas-bench-") as folder:
        here = settings.model_copy(update={"data_dir": Path(folder)})
        with metered_brain(here, WordSumEmbedder()) as (brain, meter):
            growth = []
            stored, spent = 0, 0.0
            with Usage() as usage:
                for users in _steps(sizes.users):
                    started = time.perf_counter()
                    stored = _fill(brain, stored, users, sizes, report)
                    spent += time.perf_counter() - started
                    growth.append(_ask_users(brain, meter, users, sizes))
            large = _ask_large_user(brain, meter, sizes, report)
        started = time.perf_counter()
        with metered_brain(here, WordSumEmbedder()) as (brain, _):
            brain.ready()
            ready = time.perf_counter() - started
            brain.recall("What happened first?", user_id="large")
            first = time.perf_counter() - started - ready
        size = sum(file.stat().st_size for file in Path(folder).rglob("*") if file.is_file())
    return {
        "scale": {
            "embedder": WordSumEmbedder.name,
            **sizes.model_dump(),
            "memories": stored,
            "store_per_second": round(stored / spent, 1),
            "disk_mb": round(size / 1e6, 1),
            "growth": growth,
            "large_user_recall": large,
            "cache_mb": round(settings.storage.cache_bytes / 1e6, 1),
            "ready_seconds": round(ready, 3),
            "large_user_first_recall_seconds": round(first, 3),
            **usage.report,
        }
    }


def _steps(users: int) -> list[int]:
    """A tenth, a third, all."""
    return sorted({max(1, users // 10), max(1, users // 3), users})


def _fill(brain: PersonalMemoryBrain, stored: int, users: int, sizes: ScaleSizes, report: OnProgress) -> int:
    goal, all_of_them = users * sizes.memories_per_user, sizes.users * sizes.memories_per_user
    texts = generated_texts(seed=stored)
    while stored < goal:
        numbers = range(stored, min(stored + BATCH, goal))
        brain.store_batch([{"user_id": _user(n // sizes.memories_per_user), "text": next(texts)} for n in numbers])
        stored = numbers.stop
        report("fill", stored, all_of_them)
    return stored


def _ask_users(brain: PersonalMemoryBrain, meter: EncodeMeter, users: int, sizes: ScaleSizes) -> dict[str, Any]:
    """Users drawn at random, so that most are met for the first time; then each of them once more."""
    random_ = random.Random(users)  # noqa: S311 - a sample, not a secret
    asked = [_user(random_.randrange(users)) for _ in range(sizes.recalls)]
    first, again = Samples(meter), Samples(meter)
    for samples in (first, again):
        for user_id, question in zip(asked, _questions(), strict=False):
            samples.time(brain.recall, question, user_id=user_id)
    return {
        "users": users,
        "memories": users * sizes.memories_per_user,
        "recall_first": first.report(),
        "recall_again": again.report(),
    }


def _ask_large_user(
    brain: PersonalMemoryBrain, meter: EncodeMeter, sizes: ScaleSizes, report: OnProgress
) -> dict[str, Any]:
    texts = generated_texts(seed=-1)
    for start in range(0, sizes.large_user, BATCH):
        batch = itertools.islice(texts, min(BATCH, sizes.large_user - start))
        brain.store_batch([{"user_id": "large", "text": text} for text in batch])
        report("fill the large user", min(start + BATCH, sizes.large_user), sizes.large_user)
    brain.recall("What happened first?", user_id="large")
    samples = Samples(meter)
    for question in itertools.islice(_questions(), sizes.recalls):
        samples.time(brain.recall, question, user_id="large")
    return {"memories": sizes.large_user, **samples.report()}


def _questions() -> Iterator[str]:
    return itertools.cycle(questions(200))


def _user(number: int) -> str:
    return f"user-{number:06}"
