"""Matrix products of a graph in float32 or in 8-bit integers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lam_backend.packaging.graph import CONTRIB, GraphBuilder

Array = NDArray[np.float32]
PAIR_LEVELS = 127
"""What two neighbouring weights of a column may add up to: without VNNI a CPU adds pairs of u8·s8 products in 16 bits,
and 255·(127 + 1), the rounding counted, still fits there."""

EVENING = 0.5
"""How much of a channel's excess reach is moved to the weights: 0 none, 1 all."""
EVENING_FROM = 8.0
"""Widest reach over the median from which on channels are evened: below, it gains less than its pass costs."""
HEADROOM = 1.1
"""Room above what calibration saw before an activation saturates."""


@dataclass(frozen=True, slots=True)
class _Quantised:
    """Names of a quantised tensor, its scale and its zero point; what each channel was divided by."""

    name: str
    scale: str
    zero: str
    factors: Array


class Linear(ABC):
    """How ``x @ W`` and the word table are written into a graph."""

    def __init__(self, graph: GraphBuilder) -> None:
        self.graph = graph

    @abstractmethod
    def words(self, table: Array, ids: str) -> str:
        """Rows of ``table`` (V, D) for ids (B, T) → (B, T, D)."""

    @abstractmethod
    def prepare(self, x: str, site: str) -> object:
        """What products of ``x`` need first; shared by all products of the same ``x``."""

    @abstractmethod
    def product(self, prepared: object, weight: Array, bias: Array | None = None) -> str:
        """``x @ weight + bias`` for weight (in, out)."""


class Float32(Linear):
    """Plain products."""

    def words(self, table: Array, ids: str) -> str:
        return self.graph.node("Gather", self.graph.constant(table), ids, axis=0)

    def prepare(self, x: str, site: str) -> object:
        return x

    def product(self, prepared: object, weight: Array, bias: Array | None = None) -> str:
        assert isinstance(prepared, str)
        found = self.graph.node("MatMul", prepared, self.graph.constant(weight))
        return found if bias is None else self.graph.node("Add", found, self.graph.constant(bias))


class Int8(Linear):
    """Symmetric 8-bit weights with a scale a column, activations in unsigned bytes with one fixed scale a site.

    Fixed scales keep a vector independent of its batch. Where a few channels reach ten times further than the others
    they would take the levels from them; so channels are first evened out, and the weights' rows take the factors up
    (Xiao et al., SmoothQuant, 2023).

    Args:
        graph: what is built.
        ranges: site → lowest and highest value of each channel.
    """

    def __init__(self, graph: GraphBuilder, ranges: Mapping[str, tuple[Array, Array]]) -> None:
        super().__init__(graph)
        self._ranges = ranges

    def words(self, table: Array, ids: str) -> str:
        scale = np.maximum(np.abs(table).max(axis=1, keepdims=True), 1e-12).astype(np.float32) / np.float32(127)
        rows = self.graph.node("Gather", self.graph.constant(np.round(table / scale).astype(np.int8)), ids, axis=0)
        scales = self.graph.node("Gather", self.graph.constant(scale), ids, axis=0)
        return self.graph.node("Mul", self.graph.node("Cast", rows, to=1), scales)

    def prepare(self, x: str, site: str) -> object:
        low, high = self._ranges[site]
        reach = np.maximum(np.maximum(-low, high), 1e-3)
        wide = reach.max() >= EVENING_FROM * np.median(reach)
        factors = np.maximum((reach / np.median(reach)) ** (EVENING if wide else 0.0), 1.0).astype(np.float32)
        bottom = float(min(0.0, (low / factors).min())) * HEADROOM
        top = float(max(0.0, (high / factors).max())) * HEADROOM
        scale = np.float32(max(top - bottom, 1e-6) / 255)
        zero = np.uint8(np.clip(np.round(-bottom / scale), 0, 255))
        even = self.graph.node("Mul", x, self.graph.constant(1 / factors)) if wide else x
        names = [self.graph.constant(np.array(value)) for value in (scale, zero)]
        return _Quantised(self.graph.node("QuantizeLinear", even, *names), names[0], names[1], factors)

    def product(self, prepared: object, weight: Array, bias: Array | None = None) -> str:
        assert isinstance(prepared, _Quantised)
        evened = weight * prepared.factors[:, None]
        steps = np.maximum(_pair_reach(evened), 1e-12).astype(np.float32) / np.float32(PAIR_LEVELS)
        levels = self.graph.constant(np.round(evened / steps).astype(np.int8))
        zeros = self.graph.constant(np.zeros(len(steps), dtype=np.int8))
        inputs = [prepared.name, levels, prepared.scale, self.graph.constant(steps), prepared.zero, zeros]
        if bias is not None:
            inputs.append(self.graph.constant(bias))
        return self.graph.node("MatMulIntegerToFloat", *inputs, domain=CONTRIB)


def _pair_reach(weight: Array) -> Array:
    """Greatest sum of the like signs of rows 2i and 2i + 1 in each column, (out,): about 1.3 × the greatest weight."""
    pairs = np.pad(weight, ((0, len(weight) % 2), (0, 0))).reshape(-1, 2, weight.shape[1])
    reach: Array = np.maximum(pairs.clip(min=0).sum(axis=1), (-pairs).clip(min=0).sum(axis=1)).max(axis=0)
    return reach
