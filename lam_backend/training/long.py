"""Stage 2: texts of several segments, so that carried memories help and never harm."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from lam_backend.model import DeltaNet6Layer
from lam_backend.training import sources
from lam_backend.training.blocklist import Blocklist
from lam_backend.training.loop import Loss, Pace, Schedule, fit
from lam_backend.training.losses import relative_hidden_mse
from lam_backend.training.run import Run
from lam_backend.training.teacher import Teacher

PASSAGE = 128
"""Tokens of a passage whose vector is compared with the teacher's."""


@dataclass(frozen=True, slots=True)
class LongPlan:
    """Arguments of the long stage. ``foreign_memory`` is the share of texts that begin with another text's memory."""

    tokens: int = 500_000
    longest: int = 2048
    texts: int = 4_000
    batch_texts: int = 2
    foreign_memory: float = 0.3
    peak_lr: float = 1e-4
    final_lr: float = 1e-6
    warmup: float = 0.05
    weight_decay: float = 0.01
    cosine_weight: float = 5.0
    seed: int = 0


class LongReading:
    """Hidden states and passage vectors of each segment against the teacher, who reads that segment alone."""

    def __init__(self, teacher: Teacher, texts: Sequence[NDArray[np.uint16]], plan: LongPlan) -> None:
        self._teacher, self._texts, self._plan = teacher, texts, plan

    def batches(self, first: int) -> Iterator[tuple[list[int], list[int]]]:
        """Text numbers, and those of the texts whose memory they begin with: mostly none."""
        step = first
        while True:
            rng = np.random.default_rng([self._plan.seed, step])
            chosen, others = rng.integers(0, len(self._texts), (2, self._plan.batch_texts)).tolist()
            yield chosen, others if rng.random() < self._plan.foreign_memory else []
            step += 1

    def loss(self, model: DeltaNet6Layer, batch: tuple[list[int], list[int]]) -> Loss:
        chosen, others = batch
        length = model.config.segment_length
        states = self._memory_of(model, others) if others else None
        totals, parts, read = [], {"hidden": 0.0, "passage": 0.0}, 0
        shortest = min(len(self._texts[index]) for index in chosen)
        for start in range(0, max(length, shortest - shortest % length), length):
            rows = [self._texts[index][start : start + length].astype(np.int64).tolist() for index in chosen]
            ids, mask = model.padded(rows)
            _, goal = self._teacher.embed(ids, mask)
            hidden, states = model(ids, mask, states)
            near = relative_hidden_mse(hidden[1:], goal[1:], mask)
            passage = _passage_distance(hidden[-1], goal[-1], mask)
            totals.append(near + self._plan.cosine_weight * passage)
            parts["hidden"] += near.item()
            parts["passage"] += passage.item()
            read += int(mask.sum())
        count = len(totals)
        return Loss(torch.stack(totals).mean(), {key: value / count for key, value in parts.items()}, read)

    @torch.no_grad()
    def _memory_of(self, model: DeltaNet6Layer, others: list[int]) -> list[Tensor]:
        """What reading the first segment of other texts leaves behind: a memory that has nothing to do with a text."""
        rows = [self._texts[i][: model.config.segment_length].astype(np.int64).tolist() for i in others]
        states: list[Tensor] = model(*model.padded(rows))[1]
        return states


def _passage_distance(student: Tensor, teacher: Tensor, mask: Tensor) -> Tensor:
    """Mean 1 − cos of the passages' mean vectors; hidden states (B, T, D), mask (B, T)."""
    distances = []
    for start in range(0, student.shape[1], PASSAGE):
        keep = mask[:, start : start + PASSAGE, None].to(student.dtype)
        real = keep.sum(1).squeeze(-1) > 0
        means = [(h[:, start : start + PASSAGE] * keep).sum(1)[real] for h in (student, teacher)]
        distances.append(1.0 - F.cosine_similarity(means[0], means[1], dim=-1))
    return torch.cat(distances).mean()


def long_texts(data: Path, model: DeltaNet6Layer, plan: LongPlan) -> list[NDArray[np.uint16]]:
    """Runs of paragraphs and turns as they follow each other, from one segment to ``longest`` tokens; [CLS] first."""
    blocklist = Blocklist.read(data / "eval" / "blocklist_sha1.txt.gz")
    rng = np.random.default_rng([plan.seed, 7])
    kept: list[NDArray[np.uint16]] = []
    for name, share in (("wikipedia_en_sample", 0.4), ("books_sample", 0.3), ("topical_chat", 0.3)):
        wanted = len(kept) + int(plan.texts * share)
        block: list[int] = []
        length = 0
        for text in blocklist.allowed(sources.read(data, name)):
            length = length or int(rng.integers(model.config.segment_length, plan.longest)) + 1
            block.extend(model.tokenizer.ids([text])[0])
            if len(block) >= length:
                kept.append(np.array([model.tokenizer.cls_id, *block[: length - 1]], dtype=np.uint16))
                block, length = [], 0
            if len(kept) >= wanted:
                break
    return kept


def train_long(
    data: Path, out: Path, plan: LongPlan, start: Path, *, base: Path | None = None, pace: Pace | None = None
) -> DeltaNet6Layer:
    """Continue the checkpoint ``start`` on long texts until ``plan.tokens`` were read."""
    torch.manual_seed(plan.seed)
    model = DeltaNet6Layer(base, start)
    run = Run(out, {"stage": "long", "start": str(start), **asdict(plan)})
    objective = LongReading(Teacher(model.base_path), long_texts(data, model, plan), plan)
    schedule = Schedule(plan.tokens, plan.peak_lr, plan.final_lr, plan.warmup, plan.weight_decay)
    fit(run, model, objective, schedule, data, pace or Pace())
    return model
