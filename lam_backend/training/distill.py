"""Stage 1: learn the teacher's hidden states, vectors and similarities."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from lam_backend.config import LAMConfig
from lam_backend.evaluation.sts import correlations, cosines, read_pairs
from lam_backend.model import DeltaNet6Layer
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


def distill(
    data: Path,
    out: Path,
    plan: DistillPlan,
    config: LAMConfig,
    *,
    base: Path | None = None,
    start: Path | None = None,
    save_every: float = 180.0,
    dev_every: int = 200,
    stop_after: Callable[[int], bool] = lambda _: False,
) -> DeltaNet6Layer:
    """Train until ``plan.tokens`` real tokens were read, continuing a run found in ``out``.

    Args:
        data: folder with train/ and eval/.
        start: a checkpoint to begin from; None begins from the base's weights.
        save_every: seconds between saves.
        dev_every: steps between looks at STS-B dev.
        stop_after: asked after each step; True saves and returns early.
    """
    run = Run(out, {"stage": "distill", "start": str(start or ""), **asdict(plan), "config": config.to_dict()})
    torch.manual_seed(plan.seed)
    model = DeltaNet6Layer(base, start, config) if start else DeltaNet6Layer.untrained(base, config)
    teacher = Teacher(model.base_path)
    pool = load_pool(data, out.parent / "cache", model.tokenizer, tokens=plan.pool_tokens, seed=plan.seed)
    dev = read_pairs(data / "eval" / "stsb" / "en_dev.tsv")
    if start is None:
        calibrate(model, teacher, *to_tensors(model, pool, next(batches(pool, batch_tokens=16384, seed=plan.seed + 1))))
    optimizer = torch.optim.AdamW(_groups(model, plan.weight_decay), lr=plan.peak_lr, betas=(0.9, 0.98))
    step = run.resume(model, optimizer)
    seen = int(run.records()[-1]["tokens"]) if step else 0
    model.train()
    saved = time.monotonic()
    window: list[float] = []
    with tqdm(total=plan.tokens, initial=seen, unit="tok", unit_scale=True, desc=out.name) as bar:
        for batch in batches(pool, batch_tokens=plan.batch_tokens, seed=plan.seed, first=step):
            if seen >= plan.tokens:
                break
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(seen / plan.tokens, plan)
            ids, mask = to_tensors(model, pool, batch)
            loss, parts = distillation_loss(model, teacher, ids, mask, plan)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            step += 1
            real = int(mask.sum())
            seen += real
            bar.update(real)
            window.append(float(loss))
            record = {"step": step, "tokens": seen, "loss": float(loss), "grad_norm": float(norm), **parts}
            finished, stopping = seen >= plan.tokens, stop_after(step)
            if step % dev_every == 0 or finished:
                model.eval()
                pearson, spearman = correlations(cosines(model.encode, dev), dev.score)
                model.train()
                record |= {"dev_pearson": pearson, "dev_spearman": spearman}
                bar.set_postfix(loss=f"{np.mean(window):.3f}", dev=f"{pearson:.4f}")
                window.clear()
            run.log(record)
            if finished or stopping or time.monotonic() - saved > save_every:
                run.save(step, model, optimizer)
                saved = time.monotonic()
            if stopping:
                break
    return model.eval()


def distillation_loss(
    model: DeltaNet6Layer, teacher: Teacher, ids: Tensor, mask: Tensor, plan: DistillPlan
) -> tuple[Tensor, dict[str, float]]:
    """Σ relative hidden MSE + 5·(1 − cos) + 20·(similarity-matrix MSE), and its parts for the log."""
    goal, goal_hidden = teacher.embed(ids, mask)
    vectors, hidden = model.embed(ids, mask)
    states = relative_hidden_mse(hidden[1:], goal_hidden[1:], mask)
    cosine = cosine_distance(vectors, goal)
    similarity = similarity_mse(vectors, goal)
    loss = states + plan.cosine_weight * cosine + plan.similarity_weight * similarity
    return loss, {"hidden": float(states), "cosine": float(cosine), "similarity": float(similarity)}


def learning_rate(progress: float, plan: DistillPlan) -> float:
    """Linear warm-up, then half a cosine down to ``final_lr``; progress in 0..1."""
    if progress < plan.warmup:
        return plan.peak_lr * (progress + 1e-3) / (plan.warmup + 1e-3)
    done = min(1.0, (progress - plan.warmup) / (1.0 - plan.warmup))
    return plan.final_lr + 0.5 * (plan.peak_lr - plan.final_lr) * (1.0 + math.cos(math.pi * done))


def to_tensors(model: DeltaNet6Layer, pool: Pool, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Ids and mask of the pool's sequences, (B, T) each."""
    return model.padded([pool[index].astype(np.int64).tolist() for index in indices])


def _groups(model: DeltaNet6Layer, weight_decay: float) -> list[dict[str, object]]:
    """One group a parameter, in the order of ``trained_state``: decay for matrices only."""
    return [
        {"params": [p], "weight_decay": weight_decay if p.ndim > 1 and min(p.shape) > 32 else 0.0}
        for p in model.trained_state().values()
    ]
