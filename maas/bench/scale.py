"""Many users, and one user with many memories: how recall holds up when the store is large."""

from __future__ import annotations

import itertools
import random
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import BaseModel, ConfigDict

from maas.bench.corpus import generated_texts, questions
from maas.bench.embedded import OnProgress, metered_brain
from maas.bench.embedder import WordSumEmbedder
from maas.bench.measure import EncodeMeter, Samples, Usage
from maas.embedders.protocol import Vectors
from maas.records import DEFAULT_TENANT, Scope
from maas.storage.opening import open_store
from maas.storage.values import Where
from maas.storage.vector_index import wait_for_sketches

if TYPE_CHECKING:
    from maas.brain import PersonalMemoryBrain
    from maas.settings import Settings

BATCH = 1000
NEAREST_ASKED = 50
_ROUNDING = 1e-5


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
        nearest = _nearest_found(here, report)
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
            **nearest,
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
    wait_for_sketches()
    samples = Samples(meter)
    for question in itertools.islice(_questions(), sizes.recalls):
        samples.time(brain.recall, question, user_id="large")
    return {"memories": sizes.large_user, **samples.report()}


def _nearest_found(settings: Settings, report: OnProgress) -> dict[str, Any]:
    """How many of the large user's ten nearest vectors are found, for questions and for random directions."""
    asked = {
        "questions": WordSumEmbedder().encode(questions(NEAREST_ASKED)),
        "random": _directions(NEAREST_ASKED, WordSumEmbedder.dim),
    }
    (exact, _), (found, seconds) = (
        _nearest(settings.model_copy(update={"storage": storage}), asked)
        for storage in (settings.storage.model_copy(update={"exact_up_to": 0}), settings.storage)
    )
    report("compare", 1, 1)
    shares = {
        f"large_user_recall_at_10_{name}": round(float(np.mean(found[name] >= exact[name][:, -1:] - _ROUNDING)), 4)
        for name in asked
    }
    return {"large_user_chosen_in_seconds": seconds, **shares}


def _nearest(settings: Settings, asked: dict[str, Vectors]) -> tuple[dict[str, Vectors], float]:
    """Cosines (n, 10) of the nearest for each of the (n, dim) directions, and seconds until candidates are chosen."""
    scope, where = Scope(DEFAULT_TENANT, "large"), Where(now=datetime.now(UTC))
    started = time.perf_counter()
    with closing(open_store(settings)) as store:
        with store.read() as transaction:
            transaction.dense(scope, WordSumEmbedder.fingerprint, asked["random"][:1], 10, where)
        wait_for_sketches()
        seconds = round(time.perf_counter() - started, 3)
        with store.read() as transaction:
            cosines = {
                name: np.array(
                    [
                        transaction.dense(scope, WordSumEmbedder.fingerprint, one[None, :], 10, where)[0].scores
                        for one in directions
                    ]
                )
                for name, directions in asked.items()
            }
    return cosines, seconds


def _directions(count: int, dim: int) -> Vectors:
    drawn = np.random.default_rng(0).standard_normal((count, dim), dtype=np.float32)
    directions: Vectors = drawn / np.linalg.norm(drawn, axis=1, keepdims=True)
    return directions


def _questions() -> Iterator[str]:
    return itertools.cycle(questions(200))


def _user(number: int) -> str:
    return f"user-{number:06}"
