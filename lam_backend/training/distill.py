"""Stage 1: learn the teacher's hidden states, vectors and similarities."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lam_backend.config import LAMConfig
from lam_backend.model import DeltaNet6Layer
from lam_backend.training.loop import Loss, Pace, Schedule, fit
from lam_backend.training.losses import cosine_distance, relative_hidden_mse, similarity_mse
from lam_backend.training.pool import Pool, batches, load_pool
from lam_backend.training.run import Run
from lam_backend.training.teacher import Teacher, calibrate


@dataclass(frozen=True, slots=True)
class DistillPlan:
    """Arguments of a distillation; a run is a pure function of them, the data and the number of threads."""

    tokens: int = 1_000_000
    pool_tokens: int = 12_000_000
    batch_tokens: int = 1536
    peak_lr: float = 1e-3
    final_lr: float = 1e-5
    warmup: float = 0.03
    weight_decay: float = 0.01
    cosine_weight: float = 5.0
    similarity_weight: float = 20.0
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Distillation:
    """Σ relative hidden MSE + ``cosine_weight``·(1 − cos) + ``similarity_weight``·(similarity-matrix MSE)."""

    teacher: Teacher
    pool: Pool
    plan: DistillPlan

    def batches(self, first: int) -> Iterator[list[int]]:
        return batches(self.pool, batch_tokens=self.plan.batch_tokens, seed=self.plan.seed, first=first)

    def loss(self, model: DeltaNet6Layer, batch: list[int]) -> Loss:
        ids, mask = to_tensors(model, self.pool, batch)
        goal, goal_hidden = self.teacher.embed(ids, mask)
        vectors, hidden = model.embed(ids, mask)
        states = relative_hidden_mse(hidden[1:], goal_hidden[1:], mask)
        cosine = cosine_distance(vectors, goal)
        similarity = similarity_mse(vectors, goal)
        total = states + self.plan.cosine_weight * cosine + self.plan.similarity_weight * similarity
        parts = {"hidden": states.item(), "cosine": cosine.item(), "similarity": similarity.item()}
        return Loss(total, parts, int(mask.sum()))


def distill(
    data: Path,
    out: Path,
    plan: DistillPlan,
    config: LAMConfig,
    *,
    base: Path | None = None,
    start: Path | None = None,
    pace: Pace | None = None,
) -> DeltaNet6Layer:
    """Train until ``plan.tokens`` real tokens were read, continuing a run found in ``out``.

    Args:
        data: folder with train/ and eval/.
        out: folder of the run; the token pool is cached beside it.
        base: base model folder; None is the packaged one.
        start: a checkpoint to begin from; None begins from the base's weights.
    """
    torch.manual_seed(plan.seed)
    model = DeltaNet6Layer(base, start, config) if start else DeltaNet6Layer.untrained(base, config)
    run = Run(out, {"stage": "distill", "start": str(start or ""), **asdict(plan), "config": config.to_dict()})
    teacher = Teacher(model.base_path)
    cache, longest = out.parent / "cache", config.segment_length
    pool = load_pool(data, cache, model.tokenizer, tokens=plan.pool_tokens, longest=longest, seed=plan.seed)
    if start is None:
        sample = next(batches(pool, batch_tokens=16384, seed=plan.seed + 1))
        calibrate(model, teacher, *to_tensors(model, pool, sample))
    schedule = Schedule(plan.tokens, plan.peak_lr, plan.final_lr, plan.warmup, plan.weight_decay)
    fit(run, model, Distillation(teacher, pool, plan), schedule, data, pace or Pace())
    return model


def to_tensors(model: DeltaNet6Layer, pool: Pool, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Ids and mask of the pool's sequences, (B, T) each."""
    return model.padded([pool[index].astype(np.int64).tolist() for index in indices])
