"""The gated delta rule: a readable recurrence, and the chunked form that trains and infers.

Per head, with keys and queries of dimension K, values of dimension V, and a state S of shape (K, V):

    S_t = α_t (I − β_t k_t k_tᵀ) S_{t−1} + β_t k_t v_tᵀ        o_t = S_tᵀ q_t

(Yang, Kautz, Hatamizadeh: Gated Delta Networks, 2024). Without the ``−β k kᵀ`` term it is the gated linear trace
``S_t = α_t S_{t−1} + β_t k_t v_tᵀ``. Decays are given as ``log α ≤ 0``. A position with β = 0, k = v = 0 and
log α = 0 leaves the state as it is: that is how padding is written.

Read backwards (``later=True``) the rule runs from the last token to the first, and a token reads the state before its
own write: only what lies strictly after it, since the token itself is already in the forward read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F


def recurrent(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    beta: Tensor,
    log_decay: Tensor,
    state: Tensor | None = None,
    *,
    delta: bool = True,
    later: bool = False,
) -> tuple[Tensor, Tensor]:
    """Token by token in float64: the definition every other form is tested against.

    Args:
        q, k: (B, H, T, K).
        v: (B, H, T, V).
        beta: write strength in 0..1, (B, H, T).
        log_decay: log α ≤ 0, (B, H, T).
        state: S before the first token read, (B, H, K, V); zero if None.
        delta: False leaves the erase term out (gated trace).
        later: read backwards, strictly later tokens only.

    Returns:
        Reads (B, H, T, V) and the state after the last token read (B, H, K, V), both float64.
    """
    q, k, v, beta, log_decay = (x.double() for x in (q, k, v, beta, log_decay))
    batch, heads, length, key_dim = k.shape
    s = v.new_zeros(batch, heads, key_dim, v.shape[-1]) if state is None else state.double()
    reads: dict[int, Tensor] = {}
    for t in reversed(range(length)) if later else range(length):
        if later:
            reads[t] = torch.einsum("bhkv,bhk->bhv", s, q[:, :, t])
        k_t, v_t, beta_t = k[:, :, t], v[:, :, t], beta[:, :, t, None]
        s = s * log_decay[:, :, t, None, None].exp()
        held = torch.einsum("bhkv,bhk->bhv", s, k_t) if delta else 0.0
        s = s + torch.einsum("bhk,bhv->bhkv", k_t, beta_t * (v_t - held))
        if not later:
            reads[t] = torch.einsum("bhkv,bhk->bhv", s, q[:, :, t])
    return (torch.stack([reads[t] for t in range(length)], dim=2) if reads else torch.zeros_like(v)), s


@dataclass(frozen=True, slots=True)
class Scan:
    """One direction of reading: write strengths and log decays, (B, H, T) each, and whether it reads backwards."""

    beta: Tensor
    log_decay: Tensor
    later: bool = False


def chunked(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    scans: Sequence[Scan],
    state: Tensor | None = None,
    *,
    delta: bool = True,
    chunk_length: int = 64,
) -> list[tuple[Tensor, Tensor]]:
    """The same function as :func:`recurrent` in float32, by chunks of matrix products, for several scans at once.

    Inside a chunk with cumulative log decay g the writes w solve a unit triangular system,

        (I + A) w = β (v − e^g S₀ᵀk),    A_ti = β_t e^(g_t−g_i) (k_t·k_i), i before t

    solved by substitution: the inverse as a product of powers loses all digits on repeated text. Only differences
    g_t − g_i ≤ 0 are exponentiated; the others are −∞ before and so 0 after, and no gradient is inf · 0.

    Args:
        q, k: (B, H, T, K).
        v: (B, H, T, V).
        scans: what is read; they share the products of queries and keys.
        state: S before the first token of the forward scans, (B, H, K, V); backward scans begin with nothing.

    Returns:
        For each scan its reads (B, H, T, V) and the state after it (B, H, K, V).
    """
    with torch.autocast(device_type=q.device.type, enabled=False):
        q, k, v = q.float(), k.float(), v.float()
        batch, heads, length, key_dim = k.shape
        empty = v.new_zeros(batch, heads, key_dim, v.shape[-1])
        if length == 0:
            return [(v, empty if state is None or scan.later else state.float()) for scan in scans]
        chunk = min(chunk_length, length)
        tokens = _Chunks.of(*(_split(x, chunk) for x in (q, k, v)), delta=delta)
        found = []
        for scan in scans:
            start = None if state is None or scan.later else state.float()
            strength, decay = (_split(x.float()[..., None], chunk) for x in (scan.beta, scan.log_decay))
            reads, end = tokens.scan(strength, decay, start, later=scan.later)
            reads = reads.flatten(2, 3)
            found.append((reads if reads.shape[2] == length else reads[:, :, :length], end))
        return found


def _split(x: Tensor, chunk: int) -> Tensor:
    """(B, H, T, ·) → (B, H, N, C, ·), padded with zeros at the end."""
    if padding := -x.shape[2] % chunk:
        x = F.pad(x, (0, 0, 0, padding))
    chunks: Tensor = x.unflatten(2, (-1, chunk))
    return chunks


@dataclass(frozen=True, slots=True)
class _Chunks:
    """Queries, keys and values (B, H, N, C, ·), and the products inside each chunk (B, H, N, C, C)."""

    q: Tensor
    k: Tensor
    v: Tensor
    scores: Tensor
    overlaps: Tensor | None

    @classmethod
    def of(cls, q: Tensor, k: Tensor, v: Tensor, *, delta: bool) -> _Chunks:
        return cls(q, k, v, q @ k.mT, k @ k.mT if delta else None)

    def scan(self, beta: Tensor, log_decay: Tensor, state: Tensor | None, *, later: bool) -> tuple[Tensor, Tensor]:
        """Reads (B, H, N, C, V) and the state after the scan; ``beta`` and ``log_decay`` are (B, H, N, C, 1)."""
        g = log_decay.flip(3).cumsum(3).flip(3) if later else log_decay.cumsum(3)  # decay since the chunk was entered
        before = _ordered(g.shape[3], later=later, device=g.device)
        write_decay = (g - g.mT).masked_fill(~before, float("-inf"))  # (B, H, N, C, C)
        if later:  # a read comes before its own token's decay and write
            read_g, read_decay = g - log_decay, write_decay - log_decay
            read_decay = read_decay.masked_fill(torch.eye(g.shape[3], dtype=torch.bool, device=g.device), float("-inf"))
        else:
            read_g, read_decay = g, write_decay
        scores = self.scores * read_decay.exp()
        written = beta * self.v
        system = None if self.overlaps is None else self.overlaps * (beta * write_decay.exp())
        total = g[:, :, :, :1] if later else g[:, :, :, -1:]  # (B, H, N, 1, 1)
        k_out = (self.k * (total - g).exp()).mT
        count = g.shape[2]
        if state is None and count == 1:  # most sentences: nothing was held before, so nothing is read or erased of it
            if system is not None:
                written = _solve(system, written, upper=later)
            return scores @ written, (k_out @ written)[:, :, 0]
        erased = None
        if system is not None:
            both = torch.cat((written, (beta * g.exp()) * self.k), dim=-1)
            written, erased = _solve(system, both, upper=later).split((self.v.shape[-1], self.k.shape[-1]), dim=-1)
        return self._carried(scores, written, erased, k_out, read_g.exp(), total.exp(), state, later=later)

    def _carried(
        self,
        scores: Tensor,
        written: Tensor,
        erased: Tensor | None,
        k_out: Tensor,
        reach: Tensor,
        kept: Tensor,
        state: Tensor | None,
        *,
        later: bool,
    ) -> tuple[Tensor, Tensor]:
        """Chunk after chunk, each reading and erasing what the ones before left."""
        q_in = self.q * reach
        count = scores.shape[2]
        reads: dict[int, Tensor] = {}
        s = state
        for n in reversed(range(count)) if later else range(count):
            w = written[:, :, n]
            if s is not None and erased is not None:
                w = w - erased[:, :, n] @ s
            read = scores[:, :, n] @ w
            reads[n] = read if s is None else read + q_in[:, :, n] @ s
            left = k_out[:, :, n] @ w
            s = left if s is None else kept[:, :, n] * s + left
        assert s is not None
        return torch.stack([reads[n] for n in range(count)], dim=2), s


def _ordered(length: int, *, later: bool, device: torch.device) -> Tensor:
    """(C, C) bool: may row t read column i."""
    square = torch.ones(length, length, dtype=torch.bool, device=device)
    return square.triu() if later else square.tril()


def _solve(system: Tensor, right: Tensor, *, upper: bool) -> Tensor:
    """w of (I + A) w = right, A the strict triangle of ``system``: its diagonal is not read."""
    solved: Tensor = torch.linalg.solve_triangular(system, right, upper=upper, unitriangular=True)
    return solved
