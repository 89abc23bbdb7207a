"""The same memories in SQLite and in PostgreSQL, the same questions to both: what each store takes of a call."""

from __future__ import annotations

import itertools
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict
from sqlalchemy import create_engine, text

from maas.bench.corpus import generated_texts, questions
from maas.bench.embedded import OnProgress, metered_brain, refuse_populated
from maas.bench.embedder import WordSumEmbedder
from maas.bench.local_postgres import local_postgres
from maas.bench.measure import EncodeMeter, latency_ms
from maas.embedders.protocol import Vectors
from maas.storage.opening import with_url

if TYPE_CHECKING:
    from maas.brain import PersonalMemoryBrain
    from maas.settings import Settings
    from maas.storage.protocol import MemoryStore

SQLITE, POSTGRES = "sqlite", "postgresql"
CALLS = ("batch_store", "recall_first", "recall_again")


class StoresSizes(BaseModel):
    """``batch`` memories a transaction, of as many users as they fill; then ``recalls`` of users drawn at random."""

    model_config = ConfigDict(frozen=True)

    users: int = 10_000
    memories_per_user: int = 100
    batch: int = 1_000
    recalls: int = 500

    @classmethod
    def quick(cls) -> StoresSizes:
        """Just enough to see that it works; the figures mean nothing."""
        return cls(users=20, memories_per_user=5, batch=50, recalls=10)


class StoreMeter:
    """Passes transactions on to ``inner`` and adds up the time from their begin to their end in which it works."""

    def __init__(self, inner: MemoryStore) -> None:
        self.inner = inner
        self.seconds = 0.0

    @contextmanager
    def read(self) -> Iterator[Any]:
        yield from self._metered(self.inner.read)

    @contextmanager
    def write(self) -> Iterator[Any]:
        yield from self._metered(self.inner.write)

    def timed(self, call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        started = time.perf_counter()
        try:
            return call(*args, **kwargs)
        finally:
            self.seconds += time.perf_counter() - started

    def _metered(self, begin: Callable[[], Any]) -> Iterator[Any]:
        with ExitStack() as stack:
            yield _MeteredTransaction(self.timed(stack.enter_context, begin()), self)
            self.timed(stack.close)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


class _MeteredTransaction:
    def __init__(self, inner: Any, meter: StoreMeter) -> None:
        self._inner, self._meter = inner, meter

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._inner, name)

        def timed(*args: Any, **kwargs: Any) -> Any:
            return self._meter.timed(method, *args, **kwargs)

        return timed


class _CountingEmbedder(WordSumEmbedder):
    """Adds up the processor time that its own thread takes."""

    def __init__(self) -> None:
        super().__init__()
        self.cpu = 0.0

    def encode(self, texts: Sequence[str]) -> Vectors:
        started = time.thread_time()
        vectors = super().encode(texts)
        self.cpu += time.thread_time() - started
        return vectors


@dataclass
class _Calls:
    """Seconds of calls of one kind, without the encoder; of these within the store; and of processors."""

    whole: list[float] = field(default_factory=list)
    within: list[float] = field(default_factory=list)
    cpu: float = 0.0
    server_cpu: float = 0.0

    @property
    def all_cpu(self) -> float:
        return self.cpu + self.server_cpu

    def report(self, items: int) -> dict[str, Any]:
        return {
            "calls": len(self.whole),
            "items": items,
            "latency_ms": latency_ms(self.whole),
            "store_ms": latency_ms(self.within),
            "cpu_ms": round(1e3 * self.all_cpu / len(self.whole), 3),
            "server_cpu_ms": round(1e3 * self.server_cpu / len(self.whole), 3),
            "per_second": round(items / sum(self.whole), 1),
            "store_per_second": round(items / sum(self.within), 1),
            "per_cpu_second": round(items / self.all_cpu, 1),
        }


@dataclass
class _Measured:
    """One store under the clock. ``server_cpu``: processor seconds that its server has taken so far."""

    brain: PersonalMemoryBrain
    encode: EncodeMeter
    store: StoreMeter
    server_cpu: Callable[[], float]
    calls: dict[str, _Calls] = field(default_factory=lambda: {call: _Calls() for call in CALLS})

    def time(self, kind: str, call: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        calls = self.calls[kind]
        encoded, spent, cpu, started = self.encode.seconds, self.store.seconds, self._cpu(), time.perf_counter()
        call(*args, **kwargs)
        calls.whole.append(time.perf_counter() - started - (self.encode.seconds - encoded))
        calls.cpu += self._cpu() - cpu
        calls.within.append(self.store.seconds - spent)

    @contextmanager
    def serving(self, kind: str) -> Iterator[None]:
        """Counts what the server takes meanwhile: to ask it around each call would take longer than a recall."""
        before = self.server_cpu()
        yield
        self.calls[kind].server_cpu += self.server_cpu() - before

    def _cpu(self) -> float:
        encoder = self.encode.inner
        assert isinstance(encoder, _CountingEmbedder)
        return time.process_time() - encoder.cpu


def bench_stores(settings: Settings, url: str | None, sizes: StoresSizes, report: OnProgress) -> dict[str, Any]:
    """Fill a throwaway file and an empty database by turns, batch for batch, and recall from both by turns.

    The encoder is the bench's own word-sum, and its time is left out of every figure.

    Args:
        url: of an empty PostgreSQL database; unset, a server from PyPI is started for the run.

    Raises:
        ConfigError: there is no such server, or somebody's memories are in the database.
    """
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="maas-bench-")))
        ours = None if url else stack.enter_context(local_postgres(folder))
        server = ours.url if ours else str(url)
        here = settings.model_copy(update={"data_dir": folder})
        own = with_url(here, f"sqlite:///{folder / 'maas.db'}")
        measured = {
            SQLITE: stack.enter_context(_measured(own, lambda: 0.0)),
            POSTGRES: stack.enter_context(_measured(with_url(here, server), ours.cpu if ours else lambda: 0.0)),
        }
        refuse_populated(measured[POSTGRES].brain)
        _fill(measured, sizes, report)
        version = _settled(server)
        _ask(measured, sizes, report)
    items = {"batch_store": sizes.users * sizes.memories_per_user}
    return {
        "stores": {
            "embedder": WordSumEmbedder.name,
            **sizes.model_dump(),
            "server": version,
            "results": {
                name: {call: one.calls[call].report(items.get(call, sizes.recalls)) for call in CALLS}
                for name, one in measured.items()
            },
            "ratios": {call: _ratio(measured[POSTGRES].calls[call], measured[SQLITE].calls[call]) for call in CALLS},
        }
    }


@contextmanager
def _measured(settings: Settings, server_cpu: Callable[[], float]) -> Iterator[_Measured]:
    with metered_brain(settings, _CountingEmbedder()) as (brain, encode):
        brain._store = meter = StoreMeter(brain._store)  # noqa: SLF001 - the seam at which a brain meets its store
        yield _Measured(brain, encode, meter, server_cpu)


def _fill(measured: dict[str, _Measured], sizes: StoresSizes, report: OnProgress) -> None:
    total = sizes.users * sizes.memories_per_user
    texts = generated_texts()
    with _serving(measured, "batch_store"):
        for turn, start in enumerate(range(0, total, sizes.batch)):
            numbers = range(start, min(start + sizes.batch, total))
            items = [{"user_id": _user(n // sizes.memories_per_user), "text": next(texts)} for n in numbers]
            for one in _by_turns(measured, turn):
                one.time("batch_store", one.brain.store_batch, items)
            report("fill", numbers.stop, total)


def _ask(measured: dict[str, _Measured], sizes: StoresSizes, report: OnProgress) -> None:
    """Users drawn at random, so that most are met for the first time; then each of them once more."""
    random_ = random.Random(sizes.users)  # noqa: S311 - a sample, not a secret
    asked = [_user(random_.randrange(sizes.users)) for _ in range(sizes.recalls)]
    for kind in CALLS[1:]:
        with _serving(measured, kind):
            for turn, (user_id, question) in enumerate(zip(asked, itertools.cycle(questions(200)), strict=False)):
                for one in _by_turns(measured, turn):
                    one.time(kind, one.brain.recall, question, user_id=user_id)
                report(kind.replace("_", " "), turn + 1, sizes.recalls)


@contextmanager
def _serving(measured: dict[str, _Measured], kind: str) -> Iterator[None]:
    with ExitStack() as stack:
        for one in measured.values():
            stack.enter_context(one.serving(kind))
        yield


def _settled(url: str) -> str:
    """What the server's autovacuum does within minutes, done at once; returns the server's version."""
    engine = create_engine(url, isolation_level="AUTOCOMMIT")
    try:
        with engine.connect() as connection:
            connection.execute(text("VACUUM ANALYZE"))
            return str(connection.execute(text("SHOW server_version")).scalar_one())
    finally:
        engine.dispose()


def _ratio(ours: _Calls, base: _Calls) -> dict[str, float]:
    """PostgreSQL's over SQLite's: medians of the call without the encoder, and within the store; processor time."""
    median = statistics.median
    return {
        "whole": round(median(ours.whole) / median(base.whole), 2),
        "store": round(median(ours.within) / median(base.within), 2),
        "cpu": round(ours.all_cpu / base.all_cpu, 2),
    }


def _by_turns(measured: dict[str, _Measured], turn: int) -> list[_Measured]:
    both = list(measured.values())
    return both[::-1] if turn % 2 else both


def _user(number: int) -> str:
    return f"user-{number:06}"
