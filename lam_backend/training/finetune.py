"""Stage 3: past the teacher. Graded pairs, a stronger teacher's similarities, contrast, questions, and an anchor."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from lam_backend.evaluation.sts import Pairs, read_pairs
from lam_backend.model import DeltaNet6Layer
from lam_backend.training.blocklist import Blocklist
from lam_backend.training.loop import Loss, Pace, Schedule, fit
from lam_backend.training.pairs import load_pairs
from lam_backend.training.passages import Document, load_documents
from lam_backend.training.questions import load_synonyms, load_windows
from lam_backend.training.relations import load_relations
from lam_backend.training.run import Run
from lam_backend.training.tasks import (
    GradedPairs,
    QueriesToPassages,
    QuestionsToTurns,
    Rows,
    SimilarityOf,
    Task,
    TwoSides,
    VectorsOf,
)
from lam_backend.training.teacher import Teacher


@dataclass(frozen=True, slots=True)
class FinetunePlan:
    """Arguments of the last stage; shares say how often a step learns from each kind of batch."""

    tokens: int = 600_000
    batch_pairs: int = 32
    batch_texts: int = 64
    batch_windows: int = 6
    batch_documents: int = 8
    sts_share: float = 0.4
    relation_share: float = 0.25
    pair_share: float = 0.1
    question_share: float = 0.25
    passage_share: float = 0.15
    teacher_share: float = 0.15
    anchor_weight: float = 1.0
    square_weight: float = 4.0
    relation_weight: float = 20.0
    pair_weight: float = 0.2
    question_weight: float = 0.3
    passage_weight: float = 0.3
    teacher_weight: float = 1.0
    pair_count: int = 60_000
    relation_texts: int = 30_000
    own_part: float = 0.5
    window_count: int = 12_000
    window_characters: int = 900
    document_count: int = 12_000
    passage_characters: int = 1_800
    peak_lr: float = 5e-5
    final_lr: float = 1e-6
    warmup: float = 0.05
    weight_decay: float = 0.01
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Lesson:
    """A task, how often a step takes it, and how much its loss weighs."""

    task: Task
    share: float
    weight: float


@dataclass(frozen=True, slots=True)
class Step:
    """What one step learns from; ``number`` seeds all that is drawn in it."""

    number: int
    lesson: str
    rows: Rows


class Finetuning:
    """Mixes the lessons; each is held to the start's vectors, if there is one, by ``anchor_weight``·(1 − cos)."""

    def __init__(self, start: DeltaNet6Layer | None, lessons: Mapping[str, Lesson], plan: FinetunePlan) -> None:
        self._start = None if start is None else start.eval().requires_grad_(False)
        self._lessons = {name: lesson for name, lesson in lessons.items() if len(lesson.task) and lesson.share > 0}
        if not self._lessons:
            raise ValueError("every lesson has a share of 0, or nothing to read; give one a --…-share above 0")
        self._plan = plan

    def batches(self, first: int) -> Iterator[Step]:
        names = sorted(self._lessons)
        shares = np.array([self._lessons[name].share for name in names])
        number = first
        while True:
            rng = np.random.default_rng([self._plan.seed, number])
            name = names[rng.choice(len(names), p=shares / shares.sum())]
            task = self._lessons[name].task
            yield Step(number, name, rng.choice(len(task), min(task.batch, len(task)), replace=False))
            number += 1

    def loss(self, model: DeltaNet6Layer, batch: Step) -> Loss:
        lesson = self._lessons[batch.lesson]
        rng = np.random.default_rng([self._plan.seed, batch.number, 1])
        found = lesson.task.run(model, self._start, batch.rows, rng)
        total = lesson.weight * found.learnt + self._plan.anchor_weight * found.anchor
        kind = batch.lesson.split("/")[0]
        return Loss(total, {kind: found.learnt.item(), "anchor": found.anchor.item()}, found.tokens)


def finetune(
    data: Path,
    out: Path,
    plan: FinetunePlan,
    start: Path,
    *,
    base: Path | None = None,
    stronger: Path | None = None,
    pace: Pace | None = None,
) -> DeltaNet6Layer:
    """Continue the checkpoint ``start``.

    Args:
        stronger: folder of a stronger sentence encoder (all-mpnet-base-v2) whose similarities are learnt;
            None leaves that kind of batch out.
    """
    torch.manual_seed(plan.seed)
    model = DeltaNet6Layer(base, start)
    run = Run(out, {"stage": "finetune", "start": str(start), "stronger": str(stronger or ""), **asdict(plan)})
    anchor = DeltaNet6Layer(base, start) if plan.anchor_weight else None
    lessons = load_lessons(data, out.parent / "cache", plan, model, stronger)
    objective = Finetuning(anchor, lessons, plan)
    schedule = Schedule(plan.tokens, plan.peak_lr, plan.final_lr, plan.warmup, plan.weight_decay)
    fit(run, model, objective, schedule, data, pace or Pace())
    return model


def load_lessons(
    data: Path, cache: Path, plan: FinetunePlan, start: DeltaNet6Layer, stronger: Path | None
) -> dict[str, Lesson]:
    """All kinds of batch that ``plan`` gives a share, by name; kinds of pair share theirs by their size.

    What is learnt of similarities is a mean of the stronger encoder's and, by ``own_part``, of the start's own: the
    two err apart, and their mean orders STS-B dev better than either.
    """
    lessons: dict[str, Lesson] = {}
    sts = _allowed(read_pairs(data / "eval" / "stsb" / "en_train.tsv.gz"), data)
    lessons["sts"] = Lesson(GradedPairs(sts, plan.batch_pairs, plan.square_weight), plan.sts_share, 1.0)
    if stronger is not None and plan.relation_share:
        relations = load_relations(data, cache, stronger, count=plan.relation_texts, seed=plan.seed)
        if plan.own_part:
            relations = relations.joined(start.encode(relations.texts, normalize_embeddings=True), plan.own_part)
        task = SimilarityOf(relations, plan.batch_texts)
        lessons["relation"] = Lesson(task, plan.relation_share, plan.relation_weight)
    if plan.pair_share:
        pairs = load_pairs(data, count=plan.pair_count, seed=plan.seed)
        total = sum(map(len, pairs.values()))
        for kind, found in pairs.items():
            share = plan.pair_share * len(found) / max(1, total)
            lessons[f"pair/{kind}"] = Lesson(TwoSides(found, plan.batch_pairs), share, plan.pair_weight)
    synonyms = load_synonyms(data) if plan.question_share or plan.passage_share else {}
    if plan.question_share:
        windows = load_windows(data, count=plan.window_count, characters=plan.window_characters, seed=plan.seed)
        asking = QuestionsToTurns(windows, synonyms, plan.batch_windows)
        lessons["question"] = Lesson(asking, plan.question_share, plan.question_weight)
    documents: list[Document] = []
    if plan.passage_share or plan.teacher_share:
        documents = load_documents(data, count=plan.document_count, characters=plan.passage_characters, seed=plan.seed)
    if plan.teacher_share:
        kept = VectorsOf(Teacher(start.base_path), documents, plan.batch_documents)
        lessons["teacher"] = Lesson(kept, plan.teacher_share, plan.teacher_weight)
    if plan.passage_share:
        reading = QueriesToPassages(documents, synonyms, plan.batch_documents)
        lessons["passage"] = Lesson(reading, plan.passage_share, plan.passage_weight)
    return lessons


def _allowed(pairs: Pairs, data: Path) -> Pairs:
    """STS-B train without the pairs that share a sentence with an evaluation set."""
    blocklist = Blocklist.read(data / "eval" / "blocklist_sha1.txt.gz")
    keep = [
        i for i, two in enumerate(zip(pairs.first, pairs.second, strict=True)) if not any(map(blocklist.blocks, two))
    ]
    return Pairs([pairs.first[i] for i in keep], [pairs.second[i] for i in keep], pairs.score[keep])
