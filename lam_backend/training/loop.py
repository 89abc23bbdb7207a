"""The one visible loop that every stage runs in: resume, step, look at dev, save."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor
from tqdm import tqdm

from lam_backend.evaluation.sts import correlations, cosines, read_pairs
from lam_backend.model import DeltaNet6Layer
from lam_backend.training.run import Run


@dataclass(frozen=True, slots=True)
class Schedule:
    """How far and how fast: linear warm-up, then half a cosine from ``peak_lr`` to ``final_lr`` over ``tokens``."""

    tokens: int
    peak_lr: float
    final_lr: float
    warmup: float
    weight_decay: float

    def learning_rate(self, seen: int) -> float:
        progress = seen / self.tokens
        if progress < self.warmup:
            return self.peak_lr * (progress + 1e-3) / (self.warmup + 1e-3)
        done = min(1.0, (progress - self.warmup) / (1.0 - self.warmup))
        return self.final_lr + 0.5 * (self.peak_lr - self.final_lr) * (1.0 + math.cos(math.pi * done))


@dataclass(frozen=True, slots=True)
class Loss:
    """A differentiable total, its parts for the log, and how many real tokens the student read."""

    total: Tensor
    parts: dict[str, float]
    tokens: int


class Objective(Protocol):
    """What a stage learns. Its batches are a pure function of the seed and the step."""

    def batches(self, first: int) -> Iterator[Any]:
        """Endless batches, beginning with number ``first``."""

    def loss(self, model: DeltaNet6Layer, batch: Any) -> Loss: ...


@dataclass(frozen=True, slots=True)
class Pace:
    """When to save (seconds), when to look at dev (steps), and whether to stop early after a step."""

    save_every: float = 180.0
    dev_every: int = 200
    stop_after: Callable[[int], bool] = lambda _: False


def fit(run: Run, model: DeltaNet6Layer, objective: Objective, schedule: Schedule, data: Path, pace: Pace) -> None:
    """Train until ``schedule.tokens`` were read, continuing exactly where the run's last save stands."""
    dev = read_pairs(data / "eval" / "stsb" / "en_dev.tsv")
    optimizer = torch.optim.AdamW(_groups(model, schedule.weight_decay), lr=schedule.peak_lr, betas=(0.9, 0.98))
    step = run.resume(model, optimizer)
    seen = int(run.records()[-1]["tokens"]) if step else 0
    model.train()
    saved = time.monotonic()
    with tqdm(total=schedule.tokens, initial=seen, unit="tok", unit_scale=True, desc=run.folder.name) as bar:
        for batch in objective.batches(step):
            if seen >= schedule.tokens:
                break
            for group in optimizer.param_groups:
                group["lr"] = schedule.learning_rate(seen)
            loss = objective.loss(model, batch)
            optimizer.zero_grad(set_to_none=True)
            loss.total.backward()
            norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            step += 1
            seen += loss.tokens
            bar.update(loss.tokens)
            record = {"step": step, "tokens": seen, "loss": loss.total.item(), "grad_norm": norm.item(), **loss.parts}
            finished, stopping = seen >= schedule.tokens, pace.stop_after(step)
            if step % pace.dev_every == 0 or finished:
                model.eval()
                pearson, spearman = correlations(cosines(model.encode, dev), dev.score)
                model.train()
                record |= {"dev_pearson": pearson, "dev_spearman": spearman}
                bar.set_postfix(loss=f"{record['loss']:.3f}", dev=f"{pearson:.4f}")
            run.log(record)
            if finished or stopping or time.monotonic() - saved > pace.save_every:
                run.save(step, model, optimizer)
                saved = time.monotonic()
            if stopping:
                break
    model.eval()


def _groups(model: DeltaNet6Layer, weight_decay: float) -> list[dict[str, object]]:
    """One group a parameter, in the order of ``trained_state``: decay for matrices only."""
    return [
        {"params": [p], "weight_decay": weight_decay if p.ndim > 1 and min(p.shape) > 32 else 0.0}
        for p in model.trained_state().values()
    ]
