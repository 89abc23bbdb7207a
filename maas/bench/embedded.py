"""Store, batch store and recall in one process, the encoder's time taken out of each call."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from maas.bench.corpus import questions, take_texts
from maas.bench.measure import EncodeMeter, Samples, Usage
from maas.embedders.protocol import Embedder
from maas.errors import ConfigError
from maas.storage.opening import shown_url

if TYPE_CHECKING:
    from maas.brain import PersonalMemoryBrain
    from maas.settings import Settings

OnProgress = Callable[[str, int, int], None]
USER = "bench"
BATCH = 100
WAYS = ("new_filter", "same_filter", "lexical", "dense", "dated", "mmr", "explain")
"""How a question is asked besides plainly: what each ingredient of a recall costs."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much one run does."""

    singles: int = 300
    batches: int = 10
    memories: int = 6_000
    recalls: int = 300
    seconds: float = 10.0

    @classmethod
    def quick(cls) -> Sizes:
        """Just enough to see that it works; the figures mean nothing."""
        return cls(singles=8, batches=2, memories=250, recalls=8, seconds=0.5)


@contextmanager
def metered_brain(settings: Settings, inner: Embedder) -> Iterator[tuple[PersonalMemoryBrain, EncodeMeter]]:
    """A brain whose encoder is metered inside its batcher, so that waiting for the batcher counts as overhead."""
    from maas.brain import PersonalMemoryBrain
    from maas.embedders.batching import BatchingEmbedder

    meter = EncodeMeter(inner)
    batching = BatchingEmbedder(
        meter, batch_tokens=settings.embedder.batch_tokens, queue_texts=settings.embedder.queue_texts
    )
    try:
        with PersonalMemoryBrain(settings, embedder=batching) as brain:
            brain.encode(["warm up the encoder and its thread"])
            yield brain, meter
    finally:
        batching.close()


def refuse_populated(brain: PersonalMemoryBrain) -> None:
    """Raises ConfigError where somebody's memories are."""
    if brain.reindex_status().total:
        url = shown_url(brain.settings)
        raise ConfigError(f"{url} holds memories; this stores made-up ones, so give it a database of its own")


def bench_store(
    brain: PersonalMemoryBrain, meter: EncodeMeter, sizes: Sizes, docs: Path | None, report: OnProgress
) -> dict[str, Any]:
    """Memories stored one by one, then in batches of 100 beside the same texts through the bare encoder."""
    texts = take_texts(sizes.singles + BATCH * sizes.batches, docs)
    singles = Samples(meter)
    with Usage() as usage:
        for number, text in enumerate(texts[: sizes.singles], 1):
            singles.time(brain.store, text, user_id=USER)
            report("store", number, sizes.singles)
    store = {**singles.report(), **usage.report}
    stored, encoded = Samples(meter), []
    with Usage() as usage:
        for number in range(sizes.batches):
            start = sizes.singles + number * BATCH
            batch = texts[start : start + BATCH]
            items = [{"user_id": USER, "text": text} for text in batch]
            stored.time(brain.store_batch, items)
            started = time.perf_counter()
            meter.inner.encode(batch)
            encoded.append(time.perf_counter() - started)
            report("batch store", number + 1, sizes.batches)
    batch_store = {**stored.report(items=BATCH * sizes.batches), **usage.report}
    bare = BATCH * sizes.batches / sum(encoded)
    batch_store["encoder_per_second"] = round(bare, 2)
    batch_store["share_of_encoder"] = round(batch_store["per_second"] / bare, 3)
    return {"store": store, "batch_store": batch_store}


def bench_recall(
    brain: PersonalMemoryBrain, meter: EncodeMeter, sizes: Sizes, docs: Path | None, report: OnProgress
) -> dict[str, Any]:
    """Questions to one user, after a first one that loads the user's index: plain, and in the ways of ``WAYS``.

    ``new_filter`` gives each question a filter never seen before, ``same_filter`` one and the same; ``dated`` names a
    time in each.
    """
    user = f"{USER}-recall"
    texts = take_texts(sizes.memories, docs, seed=1)
    for start in range(0, len(texts), 500):
        numbered = enumerate(texts[start : start + 500], start)
        brain.store_batch([{"user_id": user, "text": text, "metadata": {"n": n}} for n, text in numbered])
        report("fill", min(start + 500, len(texts)), len(texts))
    first = Samples(meter)
    first.time(brain.recall, "What happened first?", user_id=user)
    ways: dict[str, Callable[[int], dict[str, Any]]] = {
        "new_filter": lambda number: {"filters": {"metadata.n": {"gte": number}}},
        "same_filter": lambda _: {"filters": {"metadata.n": {"lt": sizes.memories // 3}}},
        "lexical": lambda _: {"mode": "lexical"},
        "dense": lambda _: {"mode": "dense"},
        "mmr": lambda _: {"mmr": True},
        "explain": lambda _: {"explain": True},
    }
    results: dict[str, Any] = {}
    for way in ("", *WAYS):
        asked = Samples(meter)
        name = f"recall_{way}".rstrip("_")
        with Usage() as usage:
            for number, question in enumerate(questions(sizes.recalls), 1):
                options = ways[way](number) if way in ways else {}
                query = f"{question} It was in May 2022." if way == "dated" else question
                asked.time(brain.recall, query, user_id=user, **options)
                report(name.replace("_", " "), number, sizes.recalls)
        results[name] = {**asked.report(), "memories": len(texts), **usage.report}
    results["recall"]["first_ms"] = first.report()["latency_ms"]["p50"]
    return results
