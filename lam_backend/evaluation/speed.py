"""Part ``speed``: LAM beside its base, each in torch and in onnxruntime: latency of one text, batches, long texts."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lam_backend.base import packaged_base
from lam_backend.evaluation.bench import Bench
from lam_backend.evaluation.datasets import book_files, read_locomo
from lam_backend.evaluation.long_texts import texts_of_length
from lam_backend.evaluation.onnx_peer import OnnxPeer, build_graphs
from lam_backend.evaluation.peers import MINILM, sentence_transformer
from lam_backend.evaluation.report import Part, Table
from lam_backend.packaging.lam_runtime import LAMEncoder
from lam_backend.packaging.package_lam import GRAPHS, build_folder

Encode = Callable[..., Any]
Run = Callable[[], object]
LAM_INT8 = "LAM int8, onnxruntime"
RIVALS = {
    "int8": f"{MINILM} int8, onnxruntime",
    "fp32": f"{MINILM} fp32, onnxruntime",
    "torch": f"{MINILM}, sentence-transformers",
}
TURN_TOKENS = 35
SETTLE_SECONDS = 0.3
"""Before each run: OpenMP's threads spin for so long after their work, and would take a core from the next."""
LENGTHS = (16, 64, 256, 512, 4096)
"""Tokens of the texts whose rates are measured in tokens a second."""
TOKENS_A_LENGTH = 4096
PEER_TOKENS = 512
"""MiniLM has positions for so many; it is published with 256, and longer texts are cut into chunks for it."""


@dataclass(frozen=True, slots=True)
class Load:
    """Texts that are read ``batch`` at a time; 0 is one call for each text."""

    name: str
    texts: list[str]
    batch: int
    chunks: list[str]
    """The texts in pieces that the base has positions for."""
    tokens: int = 0
    """Tokens of each text, where all have the same."""

    def run(self, encode: Encode, whole: bool) -> Run:
        texts = self.texts if whole else self.chunks
        if self.batch:
            return partial(encode, texts, batch_size=self.batch)
        return lambda: [encode(text) for text in texts]


def measure_speed(bench: Bench, rounds: int = 5) -> Part:
    """Interleaved rounds: in each, every encoder reads the same texts; the median of the rounds counts."""
    rounds = 2 if bench.quick else rounds
    part = Part("speed", "Speed")
    encoders = _encoders(bench, part)
    loads = _loads(bench, part)
    seconds: dict[str, dict[str, float]] = {name: {} for name in encoders}
    for load in loads:
        found = interleaved([load.run(encode, name.startswith("LAM")) for name, encode in encoders.items()], rounds)
        for name, column in zip(encoders, found.T, strict=True):
            seconds[name][load.name] = float(np.median(column))
    _tabulate(part, loads, seconds)
    part.figures["seconds"] = seconds
    part.figures["texts"] = {load.name: len(load.texts) for load in loads}
    part.notes += [
        f"{torch.get_num_threads()} threads, median of {rounds} interleaved rounds after one to warm up.",
        f"Beyond {PEER_TOKENS} tokens MiniLM reads chunks of {PEER_TOKENS}: its chunks have not read each other.",
    ]
    return part


def _encoders(bench: Bench, part: Part) -> dict[str, Encode]:
    """Name → ``encode``: LAM's three forms, then the peers'."""
    threads = torch.get_num_threads()
    found: dict[str, Encode] = {}
    try:
        folder = build_folder(bench.model, bench.out / "speed-bundle")
        for precision in GRAPHS:
            found[f"LAM {precision}, onnxruntime"] = LAMEncoder(folder, precision, threads=threads).encode
    except ValueError as error:
        part.notes.append(f"The bundle was not measured: {error}.")
    found["LAM fp32, torch"] = bench.model.encode
    if bench.peers:
        base = packaged_base()
        for precision, graph in build_graphs(base, bench.out / "speed-peer").items():
            found[RIVALS[precision]] = OnnxPeer(graph, base, threads, PEER_TOKENS).encode
        peer = sentence_transformer(base)
        peer.max_seq_length = PEER_TOKENS
        found[RIVALS["torch"]] = partial(peer.encode, show_progress_bar=False)
    return dict(sorted(found.items(), key=lambda item: not item[0].startswith(LAM_INT8)))


def _loads(bench: Bench, part: Part) -> list[Load]:
    tokenizer, quick = bench.model.tokenizer, bench.quick
    books: list[Path] = book_files(bench.data)
    try:
        turns = [turn for conversation in read_locomo(bench.data) for turn in conversation.turns]
        count = 8 if quick else 128
        turns = [turns[int(place)] for place in np.linspace(0, len(turns) - 1, count)]
        kind = "LoCoMo turns"
    except FileNotFoundError:
        turns = texts_of_length(tokenizer, books, TURN_TOKENS, 8 if quick else 128)
        kind = f"texts of {TURN_TOKENS} tokens from books"
    mean = np.mean([len(ids) + 2 for ids in tokenizer.ids(turns)])
    part.notes.append(f"Short texts: {len(turns)} {kind}, {mean:.0f} tokens on average.")
    few = turns[:: max(1, len(turns) // 32)]
    loads = [Load("one text", few, 0, few), Load("batches of 32", turns, 32, turns)]
    for tokens in (16, 128) if quick else LENGTHS:
        count = max(1, (128 if quick else TOKENS_A_LENGTH) // tokens)
        texts = texts_of_length(tokenizer, books, tokens, count)
        chunks = [chunk for text in texts for chunk in _chunks(bench, text)]
        loads.append(Load(f"{tokens} tokens", texts, 32, chunks, tokens))
    return loads


def _tabulate(part: Part, loads: Sequence[Load], seconds: dict[str, dict[str, float]]) -> None:
    latency, *rated = loads
    turns = [load for load in rated if not load.tokens]
    lengths = [load for load in rated if load.tokens]
    columns = ["", f"{latency.name}, ms", *(f"{load.name}, texts/s" for load in turns)]
    columns += [f"{load.name}, tokens/s" for load in lengths]
    rows = []
    for name, taken in seconds.items():
        row = [name, f"{1e3 * taken[latency.name] / len(latency.texts):.2f}"]
        row += [f"{len(load.texts) / taken[load.name]:,.1f}" for load in turns]
        rows.append(row + [f"{load.tokens * len(load.texts) / taken[load.name]:,.0f}" for load in lengths])
    part.tables.append(Table("", columns, rows))
    ours = seconds.get(LAM_INT8)
    if ours is None or len(seconds) == 1:
        return
    rows = []
    for name, theirs in seconds.items():
        if name != LAM_INT8:
            slower = ours[latency.name] / theirs[latency.name]
            rows.append([name, f"{slower:.2f} ×", *(f"{theirs[x.name] / ours[x.name]:.2f} ×" for x in rated)])
    heads = ["", f"{latency.name}, latency", *(f"{load.name}, rate" for load in rated)]
    part.tables.append(Table(f"{LAM_INT8} against", heads, rows))


def interleaved(runs: Sequence[Run], rounds: int) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """Seconds of each run in each round, (rounds, runs); one round before is not counted."""
    for run in runs:
        run()
    seconds = np.zeros((rounds, len(runs)))
    for row in range(rounds):
        for column, run in enumerate(runs):
            time.sleep(SETTLE_SECONDS)
            start = time.perf_counter()
            run()
            seconds[row, column] = time.perf_counter() - start
    return seconds


def _chunks(bench: Bench, text: str) -> list[str]:
    """A text cut at token bounds into pieces the peer can read whole."""
    _, spans = bench.model.tokenizer.ids_and_offsets(text)
    step = PEER_TOKENS - 2
    if len(spans) <= step:
        return [text]
    return [text[part[0][0] : part[-1][1]] for i in range(0, len(spans), step) if (part := spans[i : i + step])]
