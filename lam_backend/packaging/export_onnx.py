"""The ONNX graph of one segment step: token ids and forward memories in, token vectors and new memories out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto
from torch import Tensor, nn

from lam_backend.attention import LAMAttention
from lam_backend.base import LAYER_NORM_EPS
from lam_backend.model import DeltaNet6Layer
from lam_backend.packaging.graph import CONTRIB, GraphBuilder
from lam_backend.packaging.linear import Array, Linear

READ_EPS = 1e-6


def export(model: DeltaNet6Layer, linear: Callable[[GraphBuilder], Linear]) -> onnx.ModelProto:
    """The graph of ``model``.

    Inputs: ``ids`` (B, T) int64 with T ≤ segment_length; ``mask`` (B, T) float32, 1 at real tokens, padding on the
    right; ``s0`` … ``s{L-1}`` (B · R, H, K, V) float32, each layer's forward memory of a text and, where the form reads
    backward too (R = 2), the empty memory that direction starts from.
    Outputs: ``sum`` (B, D), the sum of real tokens' vectors; ``tokens`` (B, T, D); ``r0`` … ``r{L-1}``, the memories
    after the segment; only the forward ones may be carried on.

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
        shape: list[int | str] = ["r", config.num_heads, config.head_dim, config.head_dim]
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
        """Where each direction finds what it reads, and what silences padding: once for all layers.

        The directions are rows of one scan, since onnxruntime gives the rows of a short text to several threads and
        never one row to two. Backward, a token's own trace is left out: it belongs to the forward direction. So what is
        written comes a step later than what reads it, and the first of it is silenced.
        """
        graph, r = self.graph, self.config.directions
        self.length = graph.node("Shape", ids, start=1, end=2)
        onward = _Place(np.arange(self.config.segment_length), 0)
        asks, writes, reads = [onward], [onward], [onward]
        heard = np.ones((1, r, self.config.segment_length, 1), dtype=np.float32)
        if self.config.backward:
            asks.append(_Place(-1 - onward.start, 1))  # T−1 … 0
            writes.append(_Place(-onward.start, onward.start > 0))  # 0, silenced; T−1 … 1
            reads.append(_Place(-1 - onward.start, 2))  # 2T−1 … T: behind the forward reads
            heard[0, 1, 0] = 0
        gates = 2 * r + self.config.flux
        orders = [
            [place.part(2, 0) for place in asks],
            [place.part(2, 1) for place in writes],
            writes,
            [place.part(gates, 2 * direction) for direction, place in enumerate(writes)],
            [place.part(gates, 2 * direction + 1) for direction, place in enumerate(writes)],
            [onward.part(gates, gates - 1)],
            *([place] for place in reads),
        ]
        places = [place for order in orders for place in order]
        start, lengths = (
            self._begun(np.stack([np.broadcast_to(x, onward.start.shape) for x in column]).astype(np.int64), 1)
            for column in ([place.start for place in places], [place.lengths for place in places])
        )
        found = graph.node("Add", start, graph.node("Mul", lengths, self.length))
        sizes = [len(order) for order in orders]
        self.queries, self.keys, self.values, self.decays, self.strengths, self.flux, *self.reads = graph.nodes(
            "Split", len(sizes), found, graph.integers(*sizes), axis=0
        )
        real = graph.node("Unsqueeze", self._gathered(mask, self.values), graph.integers(3))
        self.awake = graph.node("Mul", real, self._begun(heard, 2))  # (B, R, T, 1)
        self.wide, self.narrow, self.side_by_side = (
            graph.node("Concat", graph.integers(-1), rows, graph.integers(width), axis=0)
            for rows, width in (
                (self.length, self.width),
                (self.length, self.config.num_heads),
                (graph.node("Mul", self.length, graph.integers(r)), self.width),
            )
        )

    def _begun(self, table: NDArray[Any], axis: int) -> str:
        """The first T entries of a constant along ``axis``."""
        graph = self.graph
        return graph.node("Slice", graph.constant(table), graph.integers(0), self.length, graph.integers(axis))

    def _gathered(self, x: str, index: str) -> str:
        return self.graph.node("Gather", x, index, axis=1)

    def _embedded(self, ids: str) -> str:
        embeddings = self.source.embeddings
        words = self.linear.words(_array(embeddings.words.weight), ids)
        return self._normed(words, self._begun(-_array(embeddings.positions)[None], 1), embeddings.norm)

    def _normed(self, x: str, negative: str, norm: nn.LayerNorm) -> str:
        """LN(x − negative).

        Residuals come negated, since onnxruntime fuses a sum and its norm into SkipLayerNormalization, whose CPU kernel
        takes 2.3 µs a token where the two take 0.35 (384 wide, one thread).
        """
        graph = self.graph
        weights = [graph.constant(_array(part)) for part in (norm.weight, norm.bias)]
        return graph.node("LayerNormalization", graph.node("Sub", x, negative), *weights, epsilon=LAYER_NORM_EPS)

    def _attention(self, layer: LAMAttention, x: str, state: str, site: str) -> tuple[str, str]:
        """The layer's output, negated, and its memories after the segment."""
        graph, h = self.graph, self.config.num_heads
        prepared = self.linear.prepare(x, f"{site}.in")
        both, value, opening, gates = self._read(layer, prepared)
        units = self._units(both)
        orders = ((units, self.queries), (units, self.keys), (value, self.values))
        parts = [graph.node("Reshape", self._gathered(rows, order), self.wide) for rows, order in orders]
        out, carried = graph.nodes(
            "LinearAttention", 2, *parts, state, *self._written(layer, gates),
            domain=CONTRIB, q_num_heads=h, kv_num_heads=h, scale=1.0,
        )  # fmt: skip
        ones = graph.constant(np.ones(self.config.head_dim, dtype=np.float32))
        out = graph.node("Reshape", out, self.side_by_side)
        reads = [self._gathered(out, order) for order in self.reads]
        rows = [graph.reshape(read, 0, -1, self.config.head_dim) for read in reads]
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
            agreed = graph.node("MatMul", product, graph.constant(agreement))
            opened = graph.node("Add", agreed, self._gathered(gates, self.flux))
            normed = graph.node("Mul", normed, graph.reshape(graph.node("Sigmoid", opened), 0, -1, 1))
        gate = graph.node("Sigmoid", self._gate(layer, opening, site))
        merged = graph.node("Mul", graph.reshape(normed, 0, -1, self.width), gate)
        folded = _matrix(layer.output) * (_array(layer.read_norm).reshape(-1, 1) * np.float32(scale))
        return self.linear.product(
            self.linear.prepare(merged, f"{site}.out"), -folded, -_array(layer.output.bias)
        ), carried

    def _read(self, layer: LAMAttention, prepared: object) -> list[str]:
        """All that a layer reads from its input, in one product.

        Queries and keys (B, T, 2D), values (B, T, D), the gate or its inner layer (B, T, D or rank), and each token's
        decay, negated, and strength a direction, then its flux, before their nonlinearities (B, parts · T, H).
        """
        graph, h = self.graph, self.config.num_heads
        gate = (
            layer.gate if isinstance(layer.gate, nn.Linear) else cast("nn.Linear", cast("nn.Sequential", layer.gate)[0])
        )
        columns = [_matrix(part) for part in (layer.query, layer.key, layer.value, gate)]
        biases = [_bias(part) for part in (layer.query, layer.key, layer.value, gate)]
        sizes = [2 * self.width, self.width, columns[-1].shape[1], 0]
        for direction in range(self.config.directions):
            its = slice(direction * h, (direction + 1) * h)
            columns += [-_matrix(layer.decay)[:, its], _matrix(layer.strength)[:, its]]
            biases += [-_bias(layer.decay)[its], _bias(layer.strength)[its]]
        if self.config.flux:
            columns.append(_matrix(layer.flux))
            biases.append(_bias(layer.flux))
        weight, bias = (np.concatenate(parts, axis=-1) for parts in (columns, biases))
        sizes[-1] = len(bias) - sum(sizes)
        found = graph.nodes("Split", 4, self.linear.product(prepared, weight, bias), graph.integers(*sizes), axis=-1)
        return [*found[:-1], graph.reshape(found[-1], 0, -1, h)]

    def _gate(self, layer: LAMAttention, opening: str, site: str) -> str:
        if isinstance(layer.gate, nn.Linear):
            return opening
        up = cast("nn.Linear", cast("nn.Sequential", layer.gate)[1])
        return self.linear.product(self.linear.prepare(opening, f"{site}.gate"), _matrix(up), _array(up.bias))

    def _units(self, both: str) -> str:
        """l2norm(silu(x)) a head: a query and a key a token, (B, 2T, D)."""
        graph = self.graph
        active = graph.node("QuickGelu", both, domain=CONTRIB, alpha=1.0)
        rows = graph.reshape(active, 0, -1, self.config.head_dim)
        return graph.reshape(graph.node("LpNormalization", rows, axis=-1, p=2), 0, -1, self.width)

    def _written(self, layer: LAMAttention, gates: str) -> list[str]:
        """Log decay −e^A · softplus(z) and write strength, (B · R, T, H) each.

        softplus(z) is −ln σ(−z), which onnxruntime takes a tenth of the time for. What padding would write has no
        strength. Its decay is left as it is: forward it comes after the text, backward before it, where the memory is
        empty.
        """
        graph = self.graph
        rate = graph.constant(np.exp(_array(layer.decay_rate))[None, :, None])
        opened = graph.node("Sigmoid", gates)
        decay = graph.node("Mul", graph.node("Log", self._gathered(opened, self.decays)), rate)
        strength = graph.node("Mul", self._gathered(opened, self.strengths), self.awake)
        return [graph.node("Reshape", part, self.narrow) for part in (decay, strength)]


@dataclass(frozen=True, slots=True)
class _Place:
    """Where the token at i of a text of T tokens stands among others: ``start[i] + T · lengths[i]``."""

    start: NDArray[np.int64]
    lengths: NDArray[Any] | int

    def part(self, parts: int, number: int) -> _Place:
        """Of tokens that stand as ``parts`` side by side, the part with that number."""
        return _Place(self.start * parts + number, self.lengths * parts)


def _array(tensor: Tensor) -> Array:
    return cast("Array", tensor.detach().float().numpy())


def _bias(linear: nn.Linear) -> Array:
    """(out,), zeros where there is none."""
    bias = cast("Tensor | None", linear.bias)
    return np.zeros(linear.out_features, np.float32) if bias is None else _array(bias)


def _matrix(linear: nn.Linear) -> Array:
    """(in, out)."""
    return np.ascontiguousarray(_array(linear.weight).T)
