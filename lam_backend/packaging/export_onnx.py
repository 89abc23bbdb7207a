"""The ONNX graph of one segment step: token ids and forward memories in, token vectors and new memories out."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import numpy as np
import onnx
from onnx import TensorProto
from torch import Tensor, nn

from lam_backend.attention import LAMAttention
from lam_backend.base import LAYER_NORM_EPS
from lam_backend.model import DeltaNet6Layer
from lam_backend.packaging.graph import CONTRIB, GraphBuilder
from lam_backend.packaging.linear import Array, Linear

NEVER = -1e4
"""Added to a padding token's decay and strength before softplus and sigmoid, which turn it to exactly 0."""
READ_EPS = 1e-6


def export(model: DeltaNet6Layer, linear: Callable[[GraphBuilder], Linear]) -> onnx.ModelProto:
    """The graph of ``model``.

    Inputs: ``ids`` (B, T) int64 with T ≤ segment_length; ``mask`` (B, T) float32, 1 at real tokens, padding on the
    right; ``s0`` … ``s{L-1}`` (B, H, K, V) float32, each layer's forward memory.
    Outputs: ``sum`` (B, D), the sum of real tokens' vectors; ``tokens`` (B, T, D); ``r0`` … ``r{L-1}``, the memories
    after the segment.

    Args:
        model: a ladder without convolution.
        linear: how matrix products are written.

    Raises:
        ValueError: a form of LAM that has no graph.
    """
    config = model.config
    if config.memory != "ladder" or config.conv:
        raise ValueError(
            f"memory={config.memory!r} with conv={config.conv} has no graph; package a checkpoint with "
            "memory='ladder' and conv=False"
        )
    graph = GraphBuilder()
    return _Exporter(model, graph, linear(graph)).model()


class _Exporter:
    def __init__(self, model: DeltaNet6Layer, graph: GraphBuilder, linear: Linear) -> None:
        self.source, self.config, self.graph, self.linear = model, model.config, graph, linear
        self.width = model.config.d_model

    def model(self) -> onnx.ModelProto:
        graph, config = self.graph, self.config
        ids = graph.input("ids", TensorProto.INT64, ["b", "t"])
        mask = graph.input("mask", TensorProto.FLOAT, ["b", "t"])
        shape: list[int | str] = ["b", config.num_heads, config.head_dim, config.head_dim]
        self._time(ids, mask)
        x = self._embedded(ids)
        after = []
        for index, layer in enumerate(self.source.lam_layers):
            state = graph.input(f"s{index}", TensorProto.FLOAT, shape)
            merged, carried = self._attention(layer.attention, x, state, f"{index}")
            after.append(carried)
            x = self._normed(x, merged, layer.norm)
            up, down = layer.feed_forward.up, layer.feed_forward.down
            inner = self.linear.product(self.linear.prepare(x, f"{index}.up"), _matrix(up), _array(up.bias))
            inner = graph.node("Gelu", inner, domain=CONTRIB)
            prepared = self.linear.prepare(inner, f"{index}.down")
            inner = self.linear.product(prepared, -_matrix(down), -_array(down.bias))
            x = self._normed(x, inner, layer.feed_forward.norm)
        weights = graph.node("Unsqueeze", mask, graph.integers(1))
        total = graph.node("Squeeze", graph.node("MatMul", weights, x), graph.integers(1))
        graph.output(total, "sum", ["b", self.width])
        graph.output(x, "tokens", ["b", "t", self.width])
        for index, carried in enumerate(after):
            graph.output(carried, f"r{index}", shape)
        return graph.model()

    def _time(self, ids: str, mask: str) -> None:
        """Indices along time, and what silences padding: once for all layers."""
        graph = self.graph
        length = graph.node("Squeeze", graph.node("Shape", ids, start=1, end=2), graph.integers(0))
        one, minus = (graph.constant(np.array(value, dtype=np.int64)) for value in (1, -1))
        last = graph.node("Sub", length, one)
        self.length = length
        self.reversed = graph.node("Range", last, minus, minus)  # T−1 … 0
        # The delay: T−1, T−1, T−2 … 1; its first place is silenced below.
        self.delayed = graph.node("Min", graph.node("Add", self.reversed, one), last)
        if self.config.backward:  # forward, padding comes last: it could only reach the memory of a text that has ended
            never = graph.constant(np.array(NEVER, dtype=np.float32))
            padding = graph.node("Sub", graph.constant(np.array(1, dtype=np.float32)), mask)
            silence = graph.node("Unsqueeze", graph.node("Mul", padding, never), graph.integers(2))
            first = np.zeros((1, self.config.segment_length, 1), dtype=np.float32)
            first[0, 0] = NEVER
            start = graph.node(
                "Slice", graph.constant(first), graph.integers(0), self._vector(length), graph.integers(1)
            )
            self.silence_later = graph.node("Add", self._gathered(silence, self.delayed), start)

    def _vector(self, scalar: str) -> str:
        return self.graph.node("Unsqueeze", scalar, self.graph.integers(0))

    def _gathered(self, x: str, index: str) -> str:
        return self.graph.node("Gather", x, index, axis=1)

    def _embedded(self, ids: str) -> str:
        graph, embeddings = self.graph, self.source.embeddings
        words = self.linear.words(_array(embeddings.words.weight), ids)
        table = graph.constant(-_array(embeddings.positions)[None, : self.config.segment_length])
        places = graph.node("Slice", table, graph.integers(0), self._vector(self.length), graph.integers(1))
        return self._normed(words, places, embeddings.norm)

    def _normed(self, x: str, negative: str, norm: nn.LayerNorm) -> str:
        """LN(x − negative).

        Residuals come negated, since onnxruntime fuses a sum and its norm into SkipLayerNormalization, whose CPU kernel
        takes 2.3 µs a token where the two take 0.35 (384 wide, one thread).
        """
        graph = self.graph
        weights = [graph.constant(_array(part)) for part in (norm.weight, norm.bias)]
        return graph.node("LayerNormalization", graph.node("Sub", x, negative), *weights, epsilon=LAYER_NORM_EPS)

    def _attention(self, layer: LAMAttention, x: str, state: str, site: str) -> tuple[str, str]:
        """The layer's output, negated, and its memory after the segment."""
        graph, h = self.graph, self.config.num_heads
        prepared = self.linear.prepare(x, f"{site}.in")
        q, k = self._units(layer, prepared)
        v = self.linear.product(prepared, _matrix(layer.value), _array(layer.value.bias))
        gates = self._gates(layer, x)
        forward, carried = self._scan((q, k, v), gates[:2], state, layer, 0)
        reads = [forward]
        if self.config.backward:
            later = [self._gathered(q, self.reversed), *(self._gathered(part, self.delayed) for part in (k, v))]
            silenced = graph.node("Add", self._gathered(gates[2], self.delayed), self.silence_later)
            halves = graph.nodes("Split", 2, silenced, graph.integers(h, h), axis=-1)
            backward, _ = self._scan(later, halves, None, layer, 1)
            reads.append(self._gathered(backward, self.reversed))
        rows = [graph.reshape(read, 0, -1, self.config.head_dim) for read in reads]
        ones = graph.constant(np.ones(self.config.head_dim, dtype=np.float32))
        if self.config.backward:
            normed = graph.node("SkipSimplifiedLayerNormalization", *rows, ones, domain=CONTRIB, epsilon=READ_EPS)
        else:
            normed = graph.node("SimplifiedLayerNormalization", *rows, ones, epsilon=READ_EPS, axis=-1)
        scale = 2.0
        if self.config.flux:
            scale *= 2.0
            product = graph.node("Mul", reads[0], reads[-1])
            agreement = np.zeros((self.width, h), dtype=np.float32)
            for head, column in enumerate(_array(layer.agreement)):
                agreement[head * len(column) : (head + 1) * len(column), head] = column
            opened = graph.node("Add", graph.node("MatMul", product, graph.constant(agreement)), gates[-1])
            normed = graph.node("Mul", normed, graph.reshape(graph.node("Sigmoid", opened), 0, -1, 1))
        gate = graph.node("Sigmoid", self._gate(layer, prepared, site))
        merged = graph.node("Mul", graph.reshape(normed, 0, -1, self.width), gate)
        folded = _matrix(layer.output) * (_array(layer.read_norm).reshape(-1, 1) * np.float32(scale))
        return self.linear.product(
            self.linear.prepare(merged, f"{site}.out"), -folded, -_array(layer.output.bias)
        ), carried

    def _gate(self, layer: LAMAttention, prepared: object, site: str) -> str:
        if isinstance(layer.gate, nn.Linear):
            return self.linear.product(prepared, _matrix(layer.gate), _array(layer.gate.bias))
        down, up = (cast("nn.Linear", part) for part in cast("nn.Sequential", layer.gate))
        inner = self.linear.product(prepared, _matrix(down))
        return self.linear.product(self.linear.prepare(inner, f"{site}.gate"), _matrix(up), _array(up.bias))

    def _units(self, layer: LAMAttention, prepared: object) -> list[str]:
        """l2norm(silu(x)) a head, of queries and keys: one product for both."""
        graph, size = self.graph, self.config.head_dim
        parts = (layer.query, layer.key)
        weight, bias = (
            np.concatenate([read(part) for part in parts], axis=-1)
            for read in (_matrix, lambda part: _array(part.bias))
        )
        active = graph.node("QuickGelu", self.linear.product(prepared, weight, bias), domain=CONTRIB, alpha=1.0)
        scale = graph.constant(np.full(size, size**-0.5, dtype=np.float32))
        rows = graph.reshape(active, 0, -1, size)
        unit = graph.node("SimplifiedLayerNormalization", rows, scale, epsilon=1e-12, axis=-1)
        whole = graph.reshape(unit, 0, -1, 2 * self.width)
        return graph.nodes("Split", 2, whole, graph.integers(self.width, self.width), axis=-1)

    def _gates(self, layer: LAMAttention, x: str) -> list[str]:
        """Decay and strength forward, (B, T, H) each, both backward (B, T, 2H), flux (B, T, H); those the form has.

        All before their nonlinearities.
        """
        h = self.config.num_heads
        columns, biases, sizes = [], [], []
        for direction in range(layer.directions):
            for part in (layer.decay, layer.strength):
                columns.append(_matrix(part)[:, direction * h : (direction + 1) * h])
                biases.append(_array(part.bias)[direction * h : (direction + 1) * h])
            sizes += [h, h] if direction == 0 else [2 * h]
        if self.config.flux:
            columns.append(_matrix(layer.flux))
            biases.append(_array(layer.flux.bias))
            sizes.append(h)
        weight, bias = (self.graph.constant(np.concatenate(parts, axis=-1)) for parts in (columns, biases))
        small = self.graph.node("Add", self.graph.node("MatMul", x, weight), bias)
        return self.graph.nodes("Split", len(sizes), small, self.graph.integers(*sizes), axis=-1)

    def _scan(
        self,
        parts: tuple[str, ...] | list[str],
        gates: list[str],
        state: str | None,
        layer: LAMAttention,
        r: int,
    ) -> tuple[str, str]:
        graph, h = self.graph, self.config.num_heads
        rate = graph.constant(-np.exp(_array(layer.decay_rate)[r]))
        decay = graph.node("Mul", graph.node("Softplus", gates[0]), rate)
        strength = graph.node("Sigmoid", gates[1])
        out, after = graph.nodes(
            "LinearAttention", 2, *parts, state or "", decay, strength,
            domain=CONTRIB, q_num_heads=h, kv_num_heads=h, scale=1.0,
        )  # fmt: skip
        return out, after


def _array(tensor: Tensor) -> Array:
    return cast("Array", tensor.detach().float().numpy())


def _matrix(linear: nn.Linear) -> Array:
    """(in, out)."""
    return np.ascontiguousarray(_array(linear.weight).T)
