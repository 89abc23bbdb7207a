"""Losses of distillation."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def relative_hidden_mse(student: Sequence[Tensor], teacher: Sequence[Tensor], mask: Tensor) -> Tensor:
    """Σ over layers of ‖s − t‖² / ‖t‖² over real tokens; hidden states (B, T, D), mask (B, T)."""
    keep = mask[..., None].to(student[0].dtype)
    terms = [((s - t) * keep).square().sum() / (t * keep).square().sum() for s, t in zip(student, teacher, strict=True)]
    return torch.stack(terms).sum()


def cosine_distance(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean 1 − cos of unit vectors (B, D)."""
    return (1.0 - (student * teacher).sum(-1)).mean()


def similarity_mse(student: Tensor, teacher: Tensor, pairs: Tensor | None = None) -> Tensor:
    """Mean squared difference of the two in-batch cosine matrices, the diagonals left out.

    Args:
        student, teacher: unit vectors (B, D), of different D if need be.
        pairs: (B, B), true at the pairs that count; None is all.
    """
    count = student.shape[0]
    chosen = ~torch.eye(count, dtype=torch.bool)
    if pairs is not None:
        chosen &= pairs
    if not chosen.any():
        return student.new_zeros(())
    return (student @ student.T - teacher @ teacher.T)[chosen].square().mean()


def cosent(similarity: Tensor, score: Tensor, scale: float = 20.0) -> Tensor:
    """log(1 + Σ exp(scale·(s_i − s_j))) over pairs whose gold scores say i < j; both (n,).

    CoSENT (Su, 2022): it asks for the order of the gold scores, not for their values.
    """
    difference = scale * (similarity[:, None] - similarity[None, :])
    wrong = difference.masked_fill(score[:, None] >= score[None, :], float("-inf")).flatten()
    return torch.logsumexp(torch.cat((difference.new_zeros(1), wrong)), dim=0)


def info_nce(left: Tensor, right: Tensor, temperature: float = 0.05) -> Tensor:
    """In-batch contrast of unit vectors (B, D) whose rows belong together, both ways."""
    logits = left @ right.T / temperature
    target = torch.arange(len(left))
    forward = torch.nn.functional.cross_entropy(logits, target)
    return 0.5 * (forward + torch.nn.functional.cross_entropy(logits.T, target))
