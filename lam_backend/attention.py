"""One LAM attention layer: linear in length, bidirectional within a segment, its forward memory carried on."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lam_backend.config import LAMConfig
from lam_backend.delta_rule import Scan, chunked

SLOWEST_BIAS = -6.5
"""softplus(−6.5) = 0.0015: a memory of about 670 tokens; softplus(0) = 0.69 halves at every token."""


class LAMAttention(nn.Module):
    """Multi-head gated-delta attention with a hierarchy of memories.

    For each head and direction r ∈ {→, ←}:
        q̂, k̂ = l2norm(silu(W x + b)),  v = W x + b            (depthwise convolution of q, k, v if ``config.conv``)
        log α_r = −exp(A_r) · softplus(w_r·x + dt_r),  β_r = σ(w'_r·x + b_r)
        o_r = read of the memory; the backward one sees strictly later tokens only
        ψ = σ(w_ψ·x + Σ m ∘ o_→ ∘ o_← + b_ψ)                   resonance flux: agreement of the two reads
        y = W_o[ RMSNorm_head(o) ∘ 2ψ ∘ gate(x) ] + b_o

    That is the ladder; with paired memories ψ mixes the two instead: o = ψ o_fast + (1 − ψ) o_slow.
    """

    def __init__(self, config: LAMConfig) -> None:
        super().__init__()
        self.config = config
        d, h = config.d_model, config.num_heads
        self.query = nn.Linear(d, d)
        self.key = nn.Linear(d, d)
        self.value = nn.Linear(d, d)
        self.output = nn.Linear(d, d)
        self.memories = 2 if config.memory == "pair" else 1
        self.directions = config.directions
        scans = self.memories * self.directions
        self.decay = nn.Linear(d, scans * h)
        self.decay_rate = nn.Parameter(torch.zeros(scans, h))
        self.strength = nn.Linear(d, scans * h)
        self.read_norm = nn.Parameter(torch.ones(h, config.head_dim))
        if config.flux:
            self.flux = nn.Linear(d, h)
            self.agreement = nn.Parameter(torch.zeros(h, config.head_dim))
        rank = config.gate_rank
        self.gate: nn.Module = (
            nn.Linear(d, d) if rank == 0 else nn.Sequential(nn.Linear(d, rank, bias=False), nn.Linear(rank, d))
        )
        if config.conv:
            self.conv = nn.Parameter(torch.zeros(3, d, 3))  # q, k, v × channel × (left, here, right)
        self._start()

    def _start(self) -> None:
        """Start as the teacher's projections with neutral gates and a ladder of decays."""
        config, h = self.config, self.config.num_heads
        for linear in (self.decay, self.strength):
            nn.init.zeros_(linear.weight)
            nn.init.zeros_(linear.bias)
        top, bottom = {"both": (0.0, 1.0), "fast": (0.0, 0.5), "slow": (0.5, 1.0)}[config.levels]
        ladder = torch.linspace(top, bottom, h) * SLOWEST_BIAS
        slow = torch.logspace(-4, -11, h, base=2.0).expm1().log()  # softplus⁻¹ of 1/16 … 1/2048
        fast = torch.linspace(1.0, -1.0, h)  # α from 0.27 to 0.73
        starts = [slow, fast] if config.memory == "pair" else [ladder]
        with torch.no_grad():
            self.decay.bias.copy_(torch.cat([start for start in starts for _ in range(self.directions)]))
            if config.conv:
                self.conv[:, :, 1] = 1.0
        if config.flux:
            nn.init.zeros_(self.flux.weight)
            nn.init.zeros_(self.flux.bias)
        last = self.gate if isinstance(self.gate, nn.Linear) else self.gate[-1]  # type: ignore[index]
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)

    def forward(self, x: Tensor, mask: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Attend within one segment.

        Args:
            x: (B, T, D) with T ≤ segment_length.
            mask: (B, T) bool, True at real tokens; padding is on the right.
            state: forward memory after the segments before, (B, H, K, V); empty if None.

        Returns:
            y (B, T, D) without the residual, and the forward memory after this segment (B, H, K, V) in float32.
        """
        reads, carried = self._reads(x, mask, state)
        forward = reads[0]
        o = forward + reads[1] if self.directions == 2 else forward
        normed = o * torch.rsqrt(o.square().mean(dim=-1, keepdim=True) + 1e-6) * self.read_norm[:, None]
        if self.config.flux and self.memories == 1:
            normed = normed * (2.0 * self._resonance(x, reads))
        merged = normed.transpose(1, 2).flatten(2)  # (B, T, D)
        y: Tensor = self.output(merged * (2.0 * torch.sigmoid(self.gate(x))))
        return y, carried

    def _reads(self, x: Tensor, mask: Tensor, state: Tensor | None) -> tuple[list[Tensor], Tensor]:
        """What each direction reads, (B, H, T, V) each, and the carried forward memory."""
        q, k, v = (self._heads(part) for part in self._projected(x, mask))
        keep = mask[:, None, :, None].to(q.dtype)
        q, k = (F.normalize(F.silu(part), dim=-1, eps=1e-6) for part in (q, k))
        k, v = k * keep, v * keep
        decays = self._per_scan(self.decay(x))  # (scans, B, H, T)
        log_decay = -self.decay_rate.exp()[:, None, :, None] * F.softplus(decays.float()) * mask[:, None]
        beta = torch.sigmoid(self._per_scan(self.strength(x)).float()) * mask[:, None]

        per_memory = []
        carried = None
        for memory in range(self.memories):
            delta = self.config.memory == "ladder" or memory == 0
            scans = [
                Scan(beta[index], log_decay[index], later=direction == 1)
                for direction, index in enumerate(range(memory * self.directions, (memory + 1) * self.directions))
            ]
            start = state if memory == 0 else None
            found = chunked(q, k, v, scans, start, delta=delta, chunk_length=self.config.chunk_length)
            per_memory.append([read.to(x.dtype) for read, _ in found])
            if memory == 0:
                carried = found[0][1]
        assert carried is not None
        if self.memories == 1:
            return per_memory[0], carried
        slow, fast = per_memory
        psi = self._resonance(x, fast) if self.config.flux else 0.5
        return [psi * f + (1.0 - psi) * s for s, f in zip(slow, fast, strict=True)], carried

    def _resonance(self, x: Tensor, reads: list[Tensor]) -> Tensor:
        """ψ (B, H, T, 1): how far this token and the agreement of its reads open the head."""
        agreement = (self.agreement[:, None] * reads[0] * reads[-1]).sum(-1)
        return torch.sigmoid(self.flux(x).transpose(1, 2) + agreement)[..., None]

    def _projected(self, x: Tensor, mask: Tensor) -> list[Tensor]:
        parts = [self.query(x), self.key(x), self.value(x)]  # (B, T, D)
        if not self.config.conv:
            return parts
        keep = mask[..., None].to(x.dtype)
        mixed = []
        for part, taps in zip(parts, self.conv, strict=True):
            here = part * keep
            before, after = F.pad(here, (0, 0, 1, 0))[:, :-1], F.pad(here, (0, 0, 0, 1))[:, 1:]
            mixed.append(before * taps[:, 0] + here * taps[:, 1] + after * taps[:, 2])
        return mixed

    def _heads(self, x: Tensor) -> Tensor:
        return x.view(*x.shape[:-1], self.config.num_heads, -1).transpose(1, 2)  # (B, H, T, K)

    def _per_scan(self, x: Tensor) -> Tensor:
        return x.view(*x.shape[:-1], -1, self.config.num_heads).permute(2, 0, 3, 1)  # (scans, B, H, T)


def parameter_count(config: LAMConfig) -> int:
    """Trainable parameters of all layers' attention."""
    return config.num_layers * sum(math.prod(p.shape) for p in LAMAttention(config).parameters())
