"""Part ``speed``: tokens a second beside sentence-transformers, texts of one length at a time."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

from lam_backend.base import packaged_base
from lam_backend.evaluation.bench import Bench
from lam_backend.evaluation.datasets import book_files
from lam_backend.evaluation.long_texts import texts_of_length
from lam_backend.evaluation.peers import MINILM, sentence_transformer
from lam_backend.evaluation.report import Part, Table

Run = Callable[[], object]


@dataclass(frozen=True, slots=True)
class Load:
    """``texts`` texts of ``tokens`` tokens each, in batches of ``batch``."""

    tokens: int
    texts: int
    batch: int

    @property
    def name(self) -> str:
        return f"{self.tokens} tokens" + (", one text" if self.texts == 1 else f", batches of {self.batch}")


LOADS = (
    Load(16, 256, 32),
    Load(35, 1, 1),
    Load(35, 128, 32),
    Load(64, 128, 32),
    Load(256, 32, 32),
    Load(512, 16, 16),
    Load(4096, 2, 2),
)
QUICK_LOADS = (Load(8, 4, 4), Load(20, 1, 1), Load(64, 1, 1))
PEER_TOKENS = 512
"""MiniLM has positions for so many; it is published with 256, and longer texts are cut into chunks for it."""


def measure_speed(bench: Bench, rounds: int = 5) -> Part:
    """Interleaved rounds: in each, every encoder reads the same texts; the median of the rounds counts."""
    rounds = 2 if bench.quick else rounds
    names = ["LAM, torch"]
    peer = None
    if bench.peers:
        peer = sentence_transformer(packaged_base())
        peer.max_seq_length = PEER_TOKENS
        names.append(f"{MINILM}, sentence-transformers")
    rows, figures = [], []
    for load in QUICK_LOADS if bench.quick else LOADS:
        texts = texts_of_length(bench.model.tokenizer, book_files(bench.data), load.tokens, load.texts)
        runs: list[Run] = [partial(bench.model.encode, texts, batch_size=load.batch)]
        if peer is not None:
            chunks = texts if load.tokens <= PEER_TOKENS else _chunks(bench, texts)
            runs.append(partial(peer.encode, chunks, batch_size=load.batch, show_progress_bar=False))
        seconds = interleaved(runs, rounds)
        median = np.median(seconds, axis=0)
        rates = [load.tokens * load.texts / float(s) for s in median]
        row = [load.name, *(f"{rate:,.0f}" for rate in rates), *(f"{1e3 * float(s) / load.texts:.2f}" for s in median)]
        if len(rates) == 2:
            row.append(f"{rates[0] / rates[1]:.2f} ×")
        rows.append(row)
        figures.append({"load": load.name, "seconds": dict(zip(names, seconds.T.tolist(), strict=True))})
    columns = ["", *(f"{name}, tokens/s" for name in names), *(f"{name}, ms a text" for name in names)]
    part = Part("speed", "Speed")
    part.tables.append(Table("", [*columns, *(["ratio of rates"] if len(names) == 2 else [])], rows))
    part.figures["loads"] = figures
    part.notes += [
        f"{torch.get_num_threads()} threads, median of {rounds} interleaved rounds after one to warm up, fp32.",
        f"Beyond {PEER_TOKENS} tokens MiniLM reads chunks of {PEER_TOKENS}: its chunks have not read each other.",
    ]
    return part


def interleaved(runs: Sequence[Run], rounds: int) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """Seconds of each run in each round, (rounds, runs); one round before is not counted."""
    for run in runs:
        run()
    seconds = np.zeros((rounds, len(runs)))
    for row in range(rounds):
        for column, run in enumerate(runs):
            start = time.perf_counter()
            run()
            seconds[row, column] = time.perf_counter() - start
    return seconds


def _chunks(bench: Bench, texts: Sequence[str]) -> list[str]:
    """The texts cut at token bounds into pieces the peer can read whole."""
    found = []
    for text in texts:
        _, spans = bench.model.tokenizer.ids_and_offsets(text)
        step = PEER_TOKENS - 2
        found += [text[part[0][0] : part[-1][1]] for i in range(0, len(spans), step) if (part := spans[i : i + step])]
    return found
