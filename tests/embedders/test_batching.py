from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maas.embedders.batching import BatchingEmbedder
from maas.embedders.protocol import Embedder, Vectors
from maas.errors import NotReadyError, OverloadedError
from tests.fakes import FakeEmbedder


class GatedEmbedder(FakeEmbedder):
    """Stops inside each encode until the gate opens, and refuses texts that hold the word poison."""

    def __init__(self, dim: int = 16) -> None:
        super().__init__(dim)
        self.gate = threading.Event()
        self.entered = threading.Semaphore(0)
        self.seen: list[list[str]] = []

    def encode(self, texts: Sequence[str]) -> Vectors:
        self.seen.append(list(texts))
        self.entered.release()
        assert self.gate.wait(30)
        if any("poison" in text for text in texts):
            raise ValueError("poisoned")
        return super().encode(texts)


@pytest.fixture
def gated() -> Iterator[GatedEmbedder]:
    embedder = GatedEmbedder()
    yield embedder
    embedder.gate.set()


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(48) as executor:
        yield executor


@pytest.fixture
def batching(gated: GatedEmbedder) -> Iterator[BatchingEmbedder]:
    embedder = BatchingEmbedder(gated, batch_tokens=2048, queue_texts=100)
    yield embedder
    gated.gate.set()
    embedder.close()


def until(condition: Callable[[], bool]) -> None:
    """Wait for another thread to have arrived somewhere it announces by nothing but its state."""
    ticks = threading.Event()
    for _ in range(3000):
        if condition():
            return
        ticks.wait(0.005)
    raise AssertionError("the condition did not come true within 15 seconds")


def occupy(batching: BatchingEmbedder, gated: GatedEmbedder, pool: ThreadPoolExecutor) -> object:
    """Have the model thread stand at the gate with one text, so that later callers pile up."""
    first = pool.submit(batching.encode, ["first"])
    assert gated.entered.acquire(timeout=15)
    return first


def test_it_is_an_embedder_with_the_inner_identity() -> None:
    inner = FakeEmbedder(dim=8)
    embedder = BatchingEmbedder(inner)
    assert isinstance(embedder, Embedder)
    assert (embedder.name, embedder.dim, embedder.fingerprint) == (inner.name, 8, inner.fingerprint)
    assert embedder.encode([]).shape == (0, 8)
    assert inner.calls == 0


def test_a_bare_string_is_refused() -> None:
    with pytest.raises(TypeError, match="pass \\[text\\]"):
        BatchingEmbedder(FakeEmbedder()).encode("one text")


texts_of_a_caller = st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=120), max_size=30)


@given(
    callers=st.lists(texts_of_a_caller, min_size=1, max_size=12),
    batch_tokens=st.integers(1, 200),
    max_tokens=st.none() | st.integers(1, 20),
)
@settings(max_examples=60, deadline=None)
def test_each_caller_gets_exactly_its_own_vectors(
    callers: list[list[str]], batch_tokens: int, max_tokens: int | None
) -> None:
    inner = FakeEmbedder(dim=8)
    if max_tokens is not None:
        inner.max_tokens = max_tokens  # type: ignore[attr-defined]
    embedder = BatchingEmbedder(inner, batch_tokens, queue_texts=1000)
    start = threading.Barrier(len(callers))

    def call(texts: list[str]) -> Vectors:
        start.wait(15)
        return embedder.encode(texts)

    try:
        with ThreadPoolExecutor(len(callers)) as pool:
            answers = list(pool.map(call, callers))
    finally:
        embedder.close()
    twin = FakeEmbedder(dim=8)
    for texts, answer in zip(callers, answers, strict=True):
        np.testing.assert_array_equal(answer, twin.encode(texts))
    assert embedder.texts == inner.texts_seen == sum(map(len, callers))
    assert embedder.queued_texts == 0


def test_waiting_callers_share_the_next_batch(
    gated: GatedEmbedder, batching: BatchingEmbedder, pool: ThreadPoolExecutor
) -> None:
    occupy(batching, gated, pool)
    callers = [pool.submit(batching.encode, [f"text {number}"]) for number in range(20)]
    until(lambda: batching.queued_texts == 20)
    gated.gate.set()
    for number, caller in enumerate(callers):
        np.testing.assert_array_equal(caller.result(15), FakeEmbedder(16).encode([f"text {number}"]))
    assert gated.batches == [1, 20]
    until(lambda: batching.batches == 2)


def test_a_batch_holds_at_most_its_padded_tokens(gated: GatedEmbedder, pool: ThreadPoolExecutor) -> None:
    batching = BatchingEmbedder(gated, batch_tokens=100, queue_texts=1000)
    gated.gate.set()
    texts = ["x" * (4 * length) for length in (3, 90, 200, 5, 5, 48, 3, 40, 1, 1)]
    batching.encode(texts)
    batching.close()
    for batch in gated.seen:
        padded = len(batch) * max(len(text) // 4 + 2 for text in batch)
        assert padded <= 100 or len(batch) == 1
    assert sorted(text for batch in gated.seen for text in batch) == sorted(texts)
    assert len(gated.seen) < len(texts)


def test_a_thousand_texts_do_not_starve_a_query(gated: GatedEmbedder, pool: ThreadPoolExecutor) -> None:
    batching = BatchingEmbedder(gated, batch_tokens=256, queue_texts=2000)
    occupy(batching, gated, pool)
    bulk = pool.submit(batching.encode, [f"this is bulk text number {number}" for number in range(1000)])
    until(lambda: batching.queued_texts == 1000)
    query = pool.submit(batching.encode, ["where is my car"])
    until(lambda: batching.queued_texts == 1001)
    gated.gate.set()
    query.result(15)
    bulk.result(15)
    batching.close()
    first_with_query = next(number for number, batch in enumerate(gated.seen) if "where is my car" in batch)
    assert first_with_query == 1, "the query rides in the first batch after the one that was running"
    assert len(gated.seen) > 20


def test_a_long_text_is_not_put_off_for_ever_by_short_ones(gated: GatedEmbedder, pool: ThreadPoolExecutor) -> None:
    batching = BatchingEmbedder(gated, batch_tokens=64, queue_texts=2000)
    occupy(batching, gated, pool)
    short = [pool.submit(batching.encode, [f"short {number}"] * 8) for number in range(20)]
    until(lambda: batching.queued_texts == 160)
    long = pool.submit(batching.encode, ["x" * 1000])
    until(lambda: batching.queued_texts == 161)
    gated.gate.set()
    wait([*short, long], timeout=15)
    batching.close()
    position = next(number for number, batch in enumerate(gated.seen) if "x" * 1000 in batch)
    turns_of_all_short_callers = 20
    assert position <= turns_of_all_short_callers + 1


def test_a_full_queue_says_when_to_come_back(
    gated: GatedEmbedder, batching: BatchingEmbedder, pool: ThreadPoolExecutor
) -> None:
    occupy(batching, gated, pool)
    waiting = pool.submit(batching.encode, ["waits"] * 100)
    until(lambda: batching.queued_texts == 100)
    with pytest.raises(OverloadedError, match=r"100 texts wait.*queue_texts \(100\)") as refused:
        batching.encode(["one too many"])
    assert refused.value.retry_after is not None
    assert refused.value.retry_after >= 1
    gated.gate.set()
    assert waiting.result(15).shape == (100, 16)
    assert batching.encode(["there is room again"]).shape == (1, 16)


def test_an_idle_queue_takes_more_than_its_bound() -> None:
    batching = BatchingEmbedder(FakeEmbedder(dim=4), queue_texts=10)
    assert batching.encode([f"text {number}" for number in range(500)]).shape == (500, 4)
    batching.close()


def test_a_bad_text_fails_its_own_caller_alone(
    gated: GatedEmbedder, batching: BatchingEmbedder, pool: ThreadPoolExecutor
) -> None:
    occupy(batching, gated, pool)
    good = [pool.submit(batching.encode, [f"good {number}"]) for number in range(5)]
    bad = pool.submit(batching.encode, ["fine", "poison"])
    until(lambda: batching.queued_texts == 7)
    gated.gate.set()
    with pytest.raises(ValueError, match="poisoned"):
        bad.result(15)
    for number, caller in enumerate(good):
        np.testing.assert_array_equal(caller.result(15), FakeEmbedder(16).encode([f"good {number}"]))
    assert batching.encode(["life goes on"]).shape == (1, 16)


def test_a_failed_caller_leaves_nothing_in_the_queue(gated: GatedEmbedder) -> None:
    batching = BatchingEmbedder(gated, batch_tokens=32, queue_texts=1000)
    gated.gate.set()
    with pytest.raises(ValueError, match="poisoned"):
        batching.encode(["poison"] + ["a longer text that comes later"] * 200)
    assert batching.queued_texts == 0
    assert batching.texts < 201
    batching.close()


def test_a_wrong_number_of_vectors_is_an_error_that_states_both() -> None:
    class Short(FakeEmbedder):
        def encode(self, texts: Sequence[str]) -> Vectors:
            return super().encode(texts)[:-1]

    batching = BatchingEmbedder(Short(dim=4))
    with pytest.raises(RuntimeError, match=r"answered 3 texts with an array of shape \(2, 4\); expected \(3, 4\)"):
        batching.encode(["a", "b", "c"])
    batching.close()


def test_close_finishes_queued_work_and_refuses_more(
    gated: GatedEmbedder, batching: BatchingEmbedder, pool: ThreadPoolExecutor
) -> None:
    occupy(batching, gated, pool)
    queued = [pool.submit(batching.encode, [f"queued {number}"]) for number in range(10)]
    until(lambda: batching.queued_texts == 10)
    closing = pool.submit(batching.close)
    until(lambda: batching._closed)
    with pytest.raises(NotReadyError, match="is closed"):
        batching.encode(["too late"])
    gated.gate.set()
    closing.result(15)
    assert [caller.result(15).shape for caller in queued] == [(1, 16)] * 10
    assert gated.closed
    batching.close()
    assert batching._threads
    assert not any(thread.is_alive() for thread in batching._threads)


EXIT_WITHOUT_CLOSE = """
from maas.embedders.batching import BatchingEmbedder
from tests.fakes import FakeEmbedder
print(BatchingEmbedder(FakeEmbedder()).encode(["hello"]).shape)
"""


def test_a_program_that_forgets_to_close_still_ends() -> None:
    run = subprocess.run([sys.executable, "-c", EXIT_WITHOUT_CLOSE], capture_output=True, text=True, timeout=60)
    assert (run.returncode, run.stdout.strip(), run.stderr) == (0, "(1, 384)", "")


FORK = """
import os, sys
from maas.embedders.batching import BatchingEmbedder
from tests.fakes import FakeEmbedder
embedder = BatchingEmbedder(FakeEmbedder())
before = embedder.encode(["hello"])
child = os.fork()
after = embedder.encode(["hello"])
assert (before == after).all()
if child:
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forking is a POSIX affair")
def test_a_forked_child_gets_a_model_thread_of_its_own() -> None:
    run = subprocess.run([sys.executable, "-c", FORK], capture_output=True, text=True, timeout=60)
    assert (run.returncode, run.stderr) == (0, "")
