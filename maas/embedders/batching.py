"""Concurrent callers share the encoder's batches: few model threads, no polling, a bounded queue, fair turns."""

from __future__ import annotations

import atexit
import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

import numpy as np

from maas.embedders.protocol import ContextualEmbedder, Embedder, Vectors
from maas.errors import NotReadyError, OverloadedError, UnavailableError

_CHARS_PER_TOKEN = 4
_SPECIAL_TOKENS = 2


@dataclass(slots=True, eq=False)
class _Job:
    """One caller's texts: ``order`` by length, of which ``taken`` are handed to the model and ``done`` are back."""

    texts: Sequence[str]
    tokens: list[int]
    order: list[int]
    vectors: Vectors
    taken: int = 0
    done: int = 0
    future: Future[Vectors] = field(default_factory=Future)


@dataclass(slots=True)
class _Piece:
    """Rows of one job inside one batch."""

    job: _Job
    rows: list[int]

    @property
    def texts(self) -> list[str]:
        return [self.job.texts[row] for row in self.rows]


class BatchingEmbedder:
    """Wraps any embedder; ``encode`` blocks its caller, while the texts of all callers run in common batches.

    The model runs at once when idle; whatever arrives meanwhile forms the next batch. A batch holds at most
    ``batch_tokens`` padded tokens (estimated from the characters), divided evenly among the waiting callers,
    so that a thousand texts of one do not hold up the query of another.

    Args:
        inner: does the encoding, and is closed together with this.
        batch_tokens: padded tokens of a batch at most; one longer text is still taken, alone.
        queue_texts: texts waiting at most; a caller who finds the queue empty may bring more.
        lanes: batches under way at once; more than one pays where the encoding happens elsewhere.
    """

    def __init__(self, inner: Embedder, batch_tokens: int = 2048, queue_texts: int = 4096, lanes: int = 1) -> None:
        self.inner = inner
        self._batch_tokens = batch_tokens
        self._queue_texts = queue_texts
        self._lanes = lanes
        self.max_tokens: int | None = getattr(inner, "max_tokens", None)
        self._closed = False
        self._start_empty()
        this = weakref.ref(self)
        os.register_at_fork(after_in_child=lambda: _forked(this))

    def _start_empty(self) -> None:
        """Also the state of a forked child: it has neither the model threads nor the callers."""
        self._wake = threading.Condition()
        self._jobs: deque[_Job] = deque()
        self._queued = 0
        self._threads: list[threading.Thread] = []
        self._idle = 0
        self._batches = 0
        self._texts = 0
        self._seconds = 0.0

    @property
    def name(self) -> str:
        return self.inner.name

    @property
    def dim(self) -> int:
        return self.inner.dim

    @property
    def fingerprint(self) -> str:
        return self.inner.fingerprint

    @property
    def queued_texts(self) -> int:
        """Texts not yet handed to the model."""
        return self._queued

    @property
    def batches(self) -> int:
        """Batches run so far."""
        return self._batches

    @property
    def texts(self) -> int:
        """Texts encoded so far."""
        return self._texts

    def encode(self, texts: Sequence[str]) -> Vectors:
        """As the inner ``encode``; what that raises for these texts is raised here.

        Raises:
            OverloadedError: the queue is full; ``retry_after`` estimates when it has drained.
            NotReadyError: this embedder is closed.
        """
        if isinstance(texts, str):
            raise TypeError("encode takes a sequence of texts, not one str; pass [text]")
        if not texts:
            return np.zeros((0, self.dim), dtype=np.float32)
        job = self._job(list(texts))
        with self._wake:
            self._refuse(len(texts))
            self._jobs.append(job)
            self._queued += len(texts)
            if not self._idle and len(self._threads) < self._lanes:
                if not self._threads:
                    atexit.register(self.close)
                self._threads.append(threading.Thread(target=self._run, name="maas-encoder", daemon=True))
                self._threads[-1].start()
            self._wake.notify()
        try:
            return job.future.result()
        except BaseException:
            with self._wake:
                self._drop(job)
            raise

    def close(self) -> None:
        """Finish what is queued, stop the model threads, close the inner embedder."""
        with self._wake:
            self._closed = True
            self._wake.notify_all()
            threads = list(self._threads)
        for thread in threads:
            if thread is not threading.current_thread():
                thread.join()
        atexit.unregister(self.close)
        self.inner.close()

    def _job(self, texts: list[str]) -> _Job:
        tokens = [self._tokens(text) for text in texts]
        order = sorted(range(len(texts)), key=tokens.__getitem__)
        return _Job(texts, tokens, order, np.empty((len(texts), self.dim), dtype=np.float32))

    def _tokens(self, text: str) -> int:
        tokens = len(text) // _CHARS_PER_TOKEN + _SPECIAL_TOKENS
        return tokens if self.max_tokens is None else min(tokens, self.max_tokens)

    def _refuse(self, count: int) -> None:
        if self._closed:
            raise NotReadyError(f"the embedder {self.name} is closed; open the brain again")
        if self._queued and self._queued + count > self._queue_texts:
            seconds = self._queued * self._seconds / (self._texts * len(self._threads)) if self._texts else 0.0
            raise OverloadedError(
                f"{self._queued} texts wait to be encoded and {count} more would exceed embedder.queue_texts "
                f"({self._queue_texts}); send them again later",
                retry_after=max(1.0, round(seconds, 1)),
            )

    def _run(self) -> None:
        while True:
            with self._wake:
                while not self._jobs and not self._closed:
                    self._idle += 1
                    self._wake.wait()
                    self._idle -= 1
                if not self._jobs:
                    return
                pieces = self._next_batch()
            started = time.perf_counter()
            self._encode(pieces)
            with self._wake:
                self._batches += 1
                self._texts += sum(len(piece.rows) for piece in pieces)
                self._seconds += time.perf_counter() - started
            del pieces  # while it waits, the thread keeps nobody's texts alive

    def _next_batch(self) -> list[_Piece]:
        """One turn for each waiting job, shortest texts first inside it; unfinished jobs queue up again behind."""
        share = self._batch_tokens // len(self._jobs)
        pieces: list[_Piece] = []
        unfinished: list[_Job] = []
        longest = count = 0
        for _ in range(len(self._jobs)):
            job = self._jobs[0]
            rows: list[int] = []
            for position in range(job.taken, len(job.order)):
                row = job.order[position]
                padded = max(longest, job.tokens[row])
                own_share = job.tokens[row] * (len(rows) + 1) <= share
                if (count and padded * (count + 1) > self._batch_tokens) or (rows and not own_share):
                    break
                longest, count = padded, count + 1
                rows.append(row)
            if not rows:
                break
            pieces.append(_Piece(job, rows))
            job.taken += len(rows)
            self._queued -= len(rows)
            self._jobs.popleft()
            if job.taken < len(job.texts):
                unfinished.append(job)
        self._jobs.extend(unfinished)
        return pieces

    def _encode(self, pieces: list[_Piece]) -> None:
        try:
            vectors = self._call(pieces)
        except BaseException as error:  # noqa: BLE001 - a caller left without an answer would wait for ever
            if len(pieces) == 1 or isinstance(error, UnavailableError):  # that is nobody's texts' fault
                for piece in pieces:
                    self._fail(piece.job, error)
            else:
                for piece in pieces:
                    self._encode([piece])
            return
        start = 0
        for piece in pieces:
            end = start + len(piece.rows)
            piece.job.vectors[piece.rows] = vectors[start:end]
            start = end
            with self._wake:  # other pieces of the job may be in other lanes
                piece.job.done += len(piece.rows)
                if piece.job.done == len(piece.job.texts) and not piece.job.future.done():
                    piece.job.future.set_result(piece.job.vectors)

    def _call(self, pieces: list[_Piece]) -> Vectors:
        texts = [text for piece in pieces for text in piece.texts]
        vectors = self.inner.encode(texts)
        if vectors.shape != (len(texts), self.dim):
            raise RuntimeError(
                f"{self.name} answered {len(texts)} texts with an array of shape {vectors.shape}; "
                f"expected ({len(texts)}, {self.dim})"
            )
        return vectors

    def _fail(self, job: _Job, error: BaseException) -> None:
        with self._wake:
            self._drop(job)
            if not job.future.done():
                job.future.set_exception(error)

    def _drop(self, job: _Job) -> None:
        """Take what is left of ``job`` out of the queue: it failed, or its caller was interrupted."""
        if job in self._jobs:
            self._jobs.remove(job)
            self._queued -= len(job.texts) - job.taken


class ContextualBatchingEmbedder(BatchingEmbedder):
    """Wraps an embedder that also reads units in their context; a pass goes between two batches of single texts."""

    inner: ContextualEmbedder

    def encode_in_context(self, units: Sequence[str], window: int | None) -> Vectors:
        """As the inner one. Raises NotReadyError if this embedder is closed."""
        if self._closed:
            raise NotReadyError(f"the embedder {self.name} is closed; open the brain again")
        return self.inner.encode_in_context(units, window)


def _forked(reference: weakref.ref[BatchingEmbedder]) -> None:
    if (embedder := reference()) is not None:
        embedder._start_empty()  # noqa: SLF001 - its own module
