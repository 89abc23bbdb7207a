"""The chunked form against the token recurrence in float64: outputs, states and every gradient."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from lam_backend.delta_rule import Scan, chunked, recurrent

AWKWARD = (1, 2, 63, 64, 65, 511, 512, 513, 1537)
NAMES = ("q", "k", "v", "beta", "log_decay", "state")


def inputs(length: int, seed: int = 0, *, beta: float | None = None, log_decay: float | None = None) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    batch, heads, dim = 2, 3, 8
    q, k = (torch.nn.functional.normalize(normal(batch, heads, length, dim), dim=-1) for _ in range(2))
    v = normal(batch, heads, length, dim)
    strength = torch.rand(batch, heads, length, generator=generator) if beta is None else torch.full(q.shape[:3], beta)
    ladder = torch.tensor([0.001, 0.1, 3.0])[None, :, None]
    decay = -torch.rand(batch, heads, length, generator=generator) * ladder
    if log_decay is not None:
        decay = torch.full_like(decay, log_decay)
    return [q, k, v, strength, decay, normal(batch, heads, dim, dim)]


def one(
    q: Tensor, k: Tensor, v: Tensor, beta: Tensor, log_decay: Tensor, state: Tensor | None = None,
    *, delta: bool = True, later: bool = False,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """The chunked form of one scan."""
    return chunked(q, k, v, [Scan(beta, log_decay, later)], state, delta=delta)[0]


def compare(given_inputs: list[Tensor], *, delta: bool = True, later: bool = False, tolerance: float = 2e-5) -> None:
    tensors = [tensor.clone().requires_grad_() for tensor in (given_inputs[:5] if later else given_inputs)]
    slow, slow_state = recurrent(*tensors, delta=delta, later=later)
    weight = torch.randn(slow.shape, generator=torch.Generator().manual_seed(1))
    slow_gradients = torch.autograd.grad((slow * weight).sum() + slow_state.sum(), tensors, allow_unused=True)
    fast, fast_state = one(*tensors, delta=delta, later=later)
    fast_gradients = torch.autograd.grad((fast * weight).sum() + fast_state.sum(), tensors, allow_unused=True)
    assert relative(fast, slow) < tolerance
    assert relative(fast_state, slow_state) < tolerance
    for name, found, expected in zip(NAMES, fast_gradients, slow_gradients, strict=False):
        assert relative(found, expected) < 5 * tolerance, f"gradient of {name}"


def relative(found: Tensor | None, expected: Tensor | None) -> float:
    assert found is not None
    assert expected is not None
    assert torch.isfinite(found).all()
    with torch.no_grad():
        return float((found - expected).abs().max() / expected.abs().max().clamp(min=1.0))


@pytest.mark.parametrize("length", AWKWARD)
@pytest.mark.parametrize("delta", [True, False])
@pytest.mark.parametrize("later", [False, True])
def test_awkward_lengths(length: int, delta: bool, later: bool) -> None:
    compare(inputs(length), delta=delta, later=later)


def test_several_scans_share_a_pass() -> None:
    q, k, v, beta, log_decay, state = inputs(70)
    both = chunked(q, k, v, [Scan(beta, log_decay), Scan(log_decay.exp(), log_decay / 2, later=True)], state)
    for found, expected in zip(both[0], recurrent(q, k, v, beta, log_decay, state), strict=True):
        assert relative(found, expected) < 1e-5
    for found, expected in zip(both[1], recurrent(q, k, v, log_decay.exp(), log_decay / 2, later=True), strict=True):
        assert relative(found, expected) < 1e-5


def test_a_backward_read_is_the_forward_rule_on_the_reversed_text_one_token_late() -> None:
    q, k, v, beta, log_decay, _ = inputs(40)
    late = [torch.nn.functional.pad(part[:, :, 1:], (0, 0, 0, 1)).flip(2) for part in (k, v)]
    late += [torch.nn.functional.pad(part[:, :, 1:], (0, 1)).flip(2) for part in (beta, log_decay)]
    reads, _ = recurrent(q.flip(2), *late)
    torch.testing.assert_close(recurrent(q, k, v, beta, log_decay, later=True)[0], reads.flip(2))


@pytest.mark.parametrize("beta", [0.0, 1e-6, 1.0 - 1e-6, 1.0])
@pytest.mark.parametrize("log_decay", [0.0, -1e-6, -30.0])
@pytest.mark.parametrize("later", [False, True])
def test_write_strength_and_decay_at_their_ends(beta: float, log_decay: float, later: bool) -> None:
    compare(inputs(130, beta=beta, log_decay=log_decay), later=later, tolerance=1e-4)


def test_identical_keys() -> None:
    q, k, v, beta, log_decay, state = inputs(200, beta=1.0, log_decay=0.0)
    compare([q, k[:, :, :1].expand_as(k), v, beta, log_decay, state], tolerance=1e-4)


def test_repeated_text_of_100k_tokens_stays_bounded() -> None:
    """One key and value written 100,000 times: the delta rule holds them once, and the read is the value."""
    _, k, v, beta, log_decay, _ = inputs(1, beta=0.9, log_decay=0.0)
    repeated = [tensor.repeat_interleave(100_000, dim=2) for tensor in (k, k, v, beta, log_decay)]
    read, state = one(*repeated)
    torch.testing.assert_close(read[:, :, -1], v[:, :, 0], rtol=1e-4, atol=1e-4)
    assert state.abs().max() < 10


@given(length=st.integers(1, 150), cut=st.integers(0, 150), seed=st.integers(0, 1000))
@settings(max_examples=30, deadline=None)
def test_any_cut_carries_the_state(length: int, cut: int, seed: int) -> None:
    cut = min(cut, length)
    *tensors, state = inputs(length, seed)
    whole, end = one(*tensors, state)
    first, middle = one(*(tensor[:, :, :cut] for tensor in tensors), state)
    second, last = one(*(tensor[:, :, cut:] for tensor in tensors), middle)
    torch.testing.assert_close(torch.cat((first, second), dim=2), whole, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(last, end, rtol=1e-4, atol=1e-5)


@given(padding=st.integers(1, 80), seed=st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_padding_leaves_reads_and_state_as_they_are(padding: int, seed: int) -> None:
    q, k, v, beta, log_decay, state = inputs(70, seed)
    plain, end = one(q, k, v, beta, log_decay, state)
    q, k, v = (torch.nn.functional.pad(tensor, (0, 0, 0, padding)) for tensor in (q, k, v))
    beta, log_decay = (torch.nn.functional.pad(tensor, (0, padding)) for tensor in (beta, log_decay))
    padded, padded_end = one(q, k, v, beta, log_decay, state)
    torch.testing.assert_close(padded[:, :, :70], plain, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(padded_end, end, rtol=1e-5, atol=1e-6)


def test_autocast_keeps_the_rule_in_float32() -> None:
    tensors = [tensor.requires_grad_() for tensor in inputs(130)]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        read, _ = one(*tensors)
    assert read.dtype == torch.float32
    read.sum().backward()
    assert all(tensor.grad is not None and torch.isfinite(tensor.grad).all() for tensor in tensors)
