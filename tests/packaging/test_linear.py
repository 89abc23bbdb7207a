"""8-bit products: what they may not do on any CPU, and how close they come."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, numpy_helper

from lam_backend.packaging.graph import GraphBuilder
from lam_backend.packaging.linear import Int8
from tests.packaging.graphs import session_of


def product(x: np.ndarray, weight: np.ndarray) -> tuple[onnx.ModelProto, np.ndarray]:
    graph = GraphBuilder()
    given_x = graph.input("x", TensorProto.FLOAT, ["b", "t", x.shape[-1]])
    linear = Int8(graph, {"site": (x.min(axis=(0, 1)), x.max(axis=(0, 1)))})
    graph.output(linear.product(linear.prepare(given_x, "site"), weight), "y", ["b", "t", weight.shape[1]])
    model = graph.model()
    return model, session_of(model).run(None, {"x": x})[0]


def levels(model: onnx.ModelProto) -> np.ndarray:
    """The quantised weight, (in, out)."""
    arrays = [numpy_helper.to_array(held) for held in model.graph.initializer]
    return next(array for array in arrays if array.dtype == np.int8 and array.ndim == 2)


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 2**32 - 1), st.integers(1, 33), st.sampled_from([0.1, 1.0, 30.0]))
def test_neighbouring_products_fit_in_16_bits(seed: int, width: int, spike: float) -> None:
    """A CPU without VNNI adds them there, and saturates without a word."""
    random = np.random.default_rng(seed)
    weight = random.standard_normal((width, 7)).astype(np.float32)
    weight[random.integers(width)] *= spike
    model, _ = product(random.standard_normal((1, 3, width)).astype(np.float32), weight)
    found = np.pad(levels(model).astype(np.int64), ((0, width % 2), (0, 0))).reshape(-1, 2, 7)
    for sign in (1, -1):
        assert (255 * (sign * found).clip(min=0).sum(axis=1)).max() <= 32767
    assert np.abs(found).max() >= 60


@pytest.mark.parametrize("outlier", [1.0, 25.0], ids=["even channels", "one channel far out"])
def test_it_is_close_to_the_float_product(outlier: float) -> None:
    random = np.random.default_rng(0)
    x = random.standard_normal((2, 50, 64)).astype(np.float32)
    x[..., 3] *= outlier
    weight = random.standard_normal((64, 32)).astype(np.float32)
    model, found = product(x, weight)
    error = np.linalg.norm(found - x @ weight) / np.linalg.norm(x @ weight)
    assert error < 0.025
    assert ("Mul" in {node.op_type for node in model.graph.node}) == (outlier > 1)
