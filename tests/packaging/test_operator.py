"""The fused operator of the installed onnxruntime: would a release that drops or changes it be noticed?"""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper

from lam_backend.delta_rule import recurrent
from tests.packaging.graphs import session_of


def operator(heads: int, key: int, value: int) -> onnx.ModelProto:
    shapes = {"q": heads * key, "k": heads * key, "v": heads * value, "g": heads, "b": heads}
    inputs = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["n", "t", size]) for n, size in shapes.items()]
    inputs.append(helper.make_tensor_value_info("s", TensorProto.FLOAT, ["n", heads, key, value]))
    node = helper.make_node(
        "LinearAttention", ["q", "k", "v", "s", "g", "b"], ["o", "r"],
        domain="com.microsoft", q_num_heads=heads, kv_num_heads=heads, scale=1.0,
    )  # fmt: skip
    outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("o", "r")]
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(helper.make_graph([node], "g", inputs, outputs), opset_imports=opsets, ir_version=10)


@pytest.mark.parametrize("length", [1, 2, 63, 64, 65, 511, 513])
@pytest.mark.parametrize("repeated", [False, True], ids=["random keys", "identical keys"])
def test_it_is_the_readable_recurrence(length: int, repeated: bool) -> None:
    batch, heads, size = 2, 12, 32
    generator = torch.Generator().manual_seed(length)
    q, k, v = (torch.randn(batch, heads, length, size, generator=generator) for _ in range(3))
    q, k = (torch.nn.functional.normalize(part, dim=-1) for part in (q, k))
    if repeated:
        k = k[:, :, :1].expand_as(k)
    beta = torch.rand(batch, heads, length, generator=generator)
    log_decay = -torch.rand(batch, heads, length, generator=generator) * torch.logspace(-4, 1, heads)[:, None]
    state = torch.randn(batch, heads, size, size, generator=generator)
    reads, after = recurrent(q, k, v, beta, log_decay, state)
    packed = {name: part.transpose(1, 2).flatten(2).numpy() for name, part in (("q", q), ("k", k), ("v", v))}
    packed |= {"g": log_decay.transpose(1, 2).numpy(), "b": beta.transpose(1, 2).numpy(), "s": state.numpy()}
    found = session_of(operator(heads, size, size)).run(None, {n: np.ascontiguousarray(x) for n, x in packed.items()})
    np.testing.assert_allclose(found[0], reads.transpose(1, 2).flatten(2), atol=3e-5)
    np.testing.assert_allclose(found[1], after, atol=3e-5)


def test_padding_leaves_the_state_alone() -> None:
    """Zero strength and zero log decay, whatever the key and value: padding is written so."""
    random = np.random.default_rng(0)
    feed = {name: random.standard_normal((1, 9, 4 * 8)).astype(np.float32) for name in "qkv"}
    feed |= {"g": np.zeros((1, 9, 4), np.float32), "b": np.zeros((1, 9, 4), np.float32)}
    feed["s"] = random.standard_normal((1, 4, 8, 8)).astype(np.float32)
    _, after = session_of(operator(4, 8, 8)).run(None, feed)
    np.testing.assert_array_equal(after, feed["s"])
