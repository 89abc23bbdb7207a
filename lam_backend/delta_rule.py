"""The gated delta rule: a readable recurrence, and the chunked form that trains and infers.

Per head, with keys and queries of dimension K, values of dimension V, and a state S of shape (K, V):

    S_t = α_t (I − β_t k_t k_tᵀ) S_{t−1} + β_t k_t v_tᵀ        o_t = S_tᵀ q_t

(Yang, Kautz, Hatamizadeh: Gated Delta Networks, 2024). Without the ``−β k kᵀ`` term it is the gated linear trace
``S_t = α_t S_{t−1} + β_t k_t v_tᵀ``. Decays are given as ``log α ≤ 0``. A position with β = 0, k = v = 0 and
log α = 0 leaves the state as it is: that is how padding is written.
"""

from __future__ import annotations

import torch
from torch import Tensor


def recurrent(
    q: Tensor, k: Tensor, v: Tensor, beta: Tensor, log_decay: Tensor, state: Tensor | None = None, *, delta: bool = True
) -> tuple[Tensor, Tensor]:
    """Token by token in float64: the definition every other form is tested against.

    Args:
        q, k: (B, H, T, K).
        v: (B, H, T, V).
        beta: write strength in 0..1, (B, H, T).
        log_decay: log α ≤ 0, (B, H, T).
        state: S before the first token, (B, H, K, V); zero if None.
        delta: False leaves the erase term out (gated trace).

    Returns:
        Reads (B, H, T, V) and the state after the last token (B, H, K, V), both float64.
    """
    q, k, v, beta, log_decay = (x.double() for x in (q, k, v, beta, log_decay))
    batch, heads, length, key_dim = k.shape
    s = v.new_zeros(batch, heads, key_dim, v.shape[-1]) if state is None else state.double()
    reads = []
    for t in range(length):
        k_t, v_t, beta_t = k[:, :, t], v[:, :, t], beta[:, :, t, None]
        s = s * log_decay[:, :, t, None, None].exp()
        held = torch.einsum("bhkv,bhk->bhv", s, k_t) if delta else 0.0
        s = s + torch.einsum("bhk,bhv->bhkv", k_t, beta_t * (v_t - held))
        reads.append(torch.einsum("bhkv,bhk->bhv", s, q[:, :, t]))
    return (torch.stack(reads, dim=2) if reads else torch.zeros_like(v)), s


def chunked(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    beta: Tensor,
    log_decay: Tensor,
    state: Tensor | None = None,
    *,
    delta: bool = True,
    chunk_length: int = 64,
) -> tuple[Tensor, Tensor]:
    """The same function as :func:`recurrent`, in float32, by chunks of matrix products.

    Inside a chunk with cumulative log decay g the writes w solve a unit lower-triangular system,

        (I + A) w = β (v − e^g S₀ᵀk),    A_ti = β_t e^(g_t−g_i) (k_t·k_i), i < t

    solved by substitution: the inverse as a product of powers loses all digits on repeated text. Only differences
    g_t − g_i ≤ 0 are exponentiated, masked before and after, so that no gradient is inf · 0.
    """
    with torch.autocast(device_type=q.device.type, enabled=False):
        return _chunked(
            q.float(), k.float(), v.float(), beta.float(), log_decay.float(), state, delta=delta, chunk=chunk_length
        )


def _chunked(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    beta: Tensor,
    log_decay: Tensor,
    state: Tensor | None,
    *,
    delta: bool,
    chunk: int,
) -> tuple[Tensor, Tensor]:
    batch, heads, length, key_dim = k.shape
    value_dim = v.shape[-1]
    s = v.new_zeros(batch, heads, key_dim, value_dim) if state is None else state.float()
    if length == 0:
        return v, s
    chunk = min(chunk, length)
    pad = -length % chunk
    if pad:
        q, k, v = (torch.nn.functional.pad(x, (0, 0, 0, pad)) for x in (q, k, v))
        beta, log_decay = (torch.nn.functional.pad(x, (0, pad)) for x in (beta, log_decay))
    count = (length + pad) // chunk
    q, k, v = (x.reshape(batch, heads, count, chunk, -1) for x in (q, k, v))  # (B, H, N, C, ·)
    beta, log_decay = (x.reshape(batch, heads, count, chunk, 1) for x in (beta, log_decay))

    g = log_decay.cumsum(dim=3)  # (B, H, N, C, 1)
    lower = torch.ones(chunk, chunk, dtype=torch.bool, device=q.device).tril()
    decay = (g - g.mT).masked_fill(~lower, 0.0).exp().masked_fill(~lower, 0.0)  # (B, H, N, C, C)
    scores = (q @ k.mT) * decay
    written = beta * v
    total = g[:, :, :, -1:]  # (B, H, N, 1, 1)
    k_out = k * (total - g).exp()
    system = beta * (k @ k.mT) * decay if delta else None  # its diagonal is not read: unitriangular
    if state is None and count == 1:  # most sentences: nothing was held before, so nothing is read or erased of it
        if system is not None:
            written = torch.linalg.solve_triangular(system, written, upper=False, unitriangular=True)
        return (scores @ written)[:, :, 0, :length], (k_out.mT @ written)[:, :, 0]

    erased = torch.zeros_like(k)
    if system is not None:
        both = torch.cat((written, beta * k * g.exp()), dim=-1)
        solved = torch.linalg.solve_triangular(system, both, upper=False, unitriangular=True)
        written, erased = solved.split((value_dim, key_dim), dim=-1)
    q_in = q * g.exp()
    reads = []
    for n in range(count):
        w = written[:, :, n] - erased[:, :, n] @ s
        reads.append(q_in[:, :, n] @ s + scores[:, :, n] @ w)
        s = total[:, :, n].exp() * s + k_out[:, :, n].mT @ w
    return torch.cat(reads, dim=2)[:, :, :length], s
