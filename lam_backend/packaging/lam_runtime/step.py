"""One segment step in onnxruntime: token ids and memories in, vectors and memories out."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from .bundle import BundleError

Floats = NDArray[np.float32]
Ids = Sequence[Sequence[int]]


class Step:
    """The graph of a bundle. One object serves any number of threads.

    Args:
        graph: the graph's file.
        config: the bundle's record.
        pad_id: token id that fills shorter texts of a batch up.
        threads: threads of one run; None leaves it to onnxruntime, within the cores this process may use.
    """

    def __init__(self, graph: Path, config: dict[str, Any], pad_id: int, threads: int | None) -> None:
        self.layers, heads, size = (int(config[key]) for key in ("layers", "heads", "head_dim"))
        self.memory_shape = (self.layers, heads, size, size)
        self._rows = int(config.get("memory_rows", 1))  # of the graph, a text; bundles before it had one
        self._inputs = [f"s{layer}" for layer in range(self.layers)]
        self._outputs = [f"r{layer}" for layer in range(self.layers)]
        self._graph, self._config, self._pad_id = graph, config, pad_id
        self._empty = np.zeros((self._rows, *self.memory_shape[1:]), dtype=np.float32)
        self._session = _open_session(graph, threads)

    def with_threads(self, threads: int) -> Step:
        """The same graph in a session of its own."""
        return Step(self._graph, self._config, self._pad_id, threads)

    def sums(self, batch: Ids) -> Floats:
        """Sum of each text's token vectors, (B, D), for texts of one segment at most."""
        return self._run(["sum"], batch, None)[0]

    def sums_and_memories(self, batch: Ids, past: list[Floats] | None) -> tuple[Floats, list[Floats]]:
        """:meth:`sums`, and each layer's memory (B, H, K, V) after the segment, right where nothing is padded."""
        found, *after = self._run(["sum", *self._outputs], batch, past)
        return found, [self._carried(memory) for memory in after]

    def tokens(self, batch: Ids) -> Floats:
        """Token vectors (B, T, D)."""
        return self._run(["tokens"], batch, None)[0]

    def tokens_and_memory(self, ids: Sequence[int], memory: Floats) -> tuple[Floats, Floats]:
        """Token vectors (T, D) of one segment, and the memory after it (L, H, K, V)."""
        tokens, *after = self._run(["tokens", *self._outputs], [ids], [state[None] for state in memory])
        return tokens[0], np.concatenate([self._carried(state) for state in after])

    def padded(self, batch: Ids) -> tuple[NDArray[np.int64], Floats]:
        """Ids (B, T), padded on the right, and the mask (B, T), 1 at real tokens."""
        lengths = [len(ids) for ids in batch]
        width = max(lengths, default=0)
        if min(lengths, default=0) == width:
            return np.array(batch, dtype=np.int64).reshape(len(batch), width), np.ones((len(batch), width), np.float32)
        tokens = np.full((len(batch), width), self._pad_id, dtype=np.int64)
        mask = np.zeros((len(batch), width), dtype=np.float32)
        for row, ids in enumerate(batch):
            tokens[row, : len(ids)] = ids
            mask[row, : len(ids)] = 1
        return tokens, mask

    def _run(self, wanted: list[str], batch: Ids, past: Sequence[Floats] | None) -> list[Floats]:
        tokens, mask = self.padded(batch)
        feed = {"ids": tokens, "mask": mask}
        begin = [self._nothing(len(batch))] * self.layers if past is None else [self._beside(state) for state in past]
        feed |= dict(zip(self._inputs, begin, strict=True))
        return cast("list[Floats]", self._session.run(wanted, feed))

    def _nothing(self, count: int) -> Floats:
        """Memories at the start of ``count`` texts; kept, since filling them takes longer than reading them."""
        rows = count * self._rows
        held = self._empty
        if len(held) < rows:
            held = self._empty = np.zeros((rows, *self.memory_shape[1:]), dtype=np.float32)
        return held[:rows]

    def _beside(self, memory: Floats) -> Floats:
        """Memories (B, H, K, V), each in the first of its text's rows; the others begin empty."""
        rows = np.zeros((len(memory) * self._rows, *memory.shape[1:]), dtype=np.float32)
        rows[:: self._rows] = memory
        return rows

    def _carried(self, memories: Floats) -> Floats:
        return memories[:: self._rows]


def cores() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _open_session(graph: Path, threads: int | None) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    if threads is None and cores() < (os.cpu_count() or 1):
        threads = cores()  # onnxruntime itself would bind a thread to each core of the machine, allowed or not
    if threads is not None:
        options.intra_op_num_threads = threads
    try:
        return onnxruntime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's own classes differ from release to release
        raise BundleError(
            f"onnxruntime {onnxruntime.__version__} on this platform cannot run {graph.name}: {error}. Install an "
            "onnxruntime for the CPU that has its contributed operators (com.microsoft), 1.32 or newer"
        ) from error
