"""Stage 3: past the teacher. STS-B pairs, a stronger teacher's similarities, contrast, and an anchor."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lam_backend.evaluation.sts import Pairs, read_pairs
from lam_backend.model import DeltaNet6Layer
from lam_backend.training.blocklist import Blocklist
from lam_backend.training.loop import Loss, Pace, Schedule, fit
from lam_backend.training.losses import cosent, cosine_distance, info_nce, similarity_mse
from lam_backend.training.pairs import Pair, load_pairs
from lam_backend.training.relations import Relations, load_relations
from lam_backend.training.run import Run


@dataclass(frozen=True, slots=True)
class FinetunePlan:
    """Arguments of the last stage; shares say how often a step learns from each kind of batch."""

    tokens: int = 600_000
    batch_pairs: int = 32
    batch_texts: int = 64
    sts_share: float = 0.5
    relation_share: float = 0.3
    pair_share: float = 0.2
    anchor_weight: float = 1.0
    square_weight: float = 4.0
    relation_weight: float = 20.0
    pair_weight: float = 0.2
    pair_count: int = 60_000
    relation_texts: int = 40_000
    peak_lr: float = 5e-5
    final_lr: float = 1e-6
    warmup: float = 0.05
    weight_decay: float = 0.01
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Step:
    """What one step learns from: ``kind`` and the rows drawn of it."""

    kind: str
    rows: NDArray[np.int64]


class Finetuning:
    """Mixes the kinds of batch; every kind is held to the start's vectors by ``anchor_weight``·(1 − cos)."""

    def __init__(
        self,
        start: DeltaNet6Layer,
        sts: Pairs,
        pairs: dict[str, list[Pair]],
        relations: Relations | None,
        plan: FinetunePlan,
    ) -> None:
        self._start = start.eval().requires_grad_(False)
        self._sts, self._relations, self._plan = sts, relations, plan
        self._pairs = {f"pair/{kind}": found for kind, found in pairs.items() if found}

    def batches(self, first: int) -> Iterator[Step]:
        plan = self._plan
        sizes = {"sts": len(self._sts.first), **{kind: len(found) for kind, found in self._pairs.items()}}
        shares = {"sts": plan.sts_share}
        shares |= {kind: plan.pair_share * size / sum(map(len, self._pairs.values()))
                   for kind, size in sizes.items() if kind != "sts"}  # fmt: skip
        if self._relations is not None:
            sizes["relation"], shares["relation"] = len(self._relations), plan.relation_share
        kinds = sorted(kind for kind, share in shares.items() if share > 0)
        weights = np.array([shares[kind] for kind in kinds])
        step = first
        while True:
            rng = np.random.default_rng([plan.seed, step])
            kind = kinds[rng.choice(len(kinds), p=weights / weights.sum())]
            count = plan.batch_texts if kind == "relation" else plan.batch_pairs
            yield Step(kind, rng.choice(sizes[kind], min(count, sizes[kind]), replace=False))
            step += 1

    def loss(self, model: DeltaNet6Layer, batch: Step) -> Loss:
        texts = self._texts(batch)
        ids, mask = model.padded(
            [model.tokenizer.wrapped(i[: model.config.segment_length - 2]) for i in model.tokenizer.ids(texts)]
        )
        vectors, _ = model.embed(ids, mask)
        with torch.no_grad():
            before, _ = self._start.embed(ids, mask)
        anchor = cosine_distance(vectors, before)
        learnt = self._learnt(batch, vectors)
        total = learnt + self._plan.anchor_weight * anchor
        kind = batch.kind.split("/")[0]
        return Loss(total, {kind: learnt.item(), "anchor": anchor.item()}, int(mask.sum()))

    def _texts(self, batch: Step) -> list[str]:
        if batch.kind == "relation":
            assert self._relations is not None
            return [self._relations.texts[row] for row in batch.rows]
        if batch.kind == "sts":
            return [side[row] for side in (self._sts.first, self._sts.second) for row in batch.rows]
        found = self._pairs[batch.kind]
        return [found[row][side] for side in (0, 1) for row in batch.rows]

    def _learnt(self, batch: Step, vectors: Tensor) -> Tensor:
        plan = self._plan
        if batch.kind == "relation":
            assert self._relations is not None
            goal = torch.from_numpy(self._relations.vectors[batch.rows].astype(np.float32))
            return plan.relation_weight * similarity_mse(vectors, goal)
        left, right = vectors.chunk(2)
        if batch.kind == "sts":
            similarity = (left * right).sum(-1)
            score = torch.from_numpy(self._sts.score[batch.rows]).float() / 5.0
            return cosent(similarity, score) + plan.square_weight * (similarity - score).square().mean()
        return plan.pair_weight * info_nce(left, right)


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
    run = Run(out, {"stage": "finetune", "start": str(start), "stronger": str(stronger or ""), **asdict(plan)})
    torch.manual_seed(plan.seed)
    model = DeltaNet6Layer(base, start)
    relations = None
    if stronger is not None:
        relations = load_relations(data, out.parent / "cache", stronger, count=plan.relation_texts, seed=plan.seed)
    sts = _allowed(read_pairs(data / "eval" / "stsb" / "en_train.tsv.gz"), data)
    pairs = load_pairs(data, count=plan.pair_count, seed=plan.seed)
    objective = Finetuning(DeltaNet6Layer(base, start), sts, pairs, relations, plan)
    schedule = Schedule(plan.tokens, plan.peak_lr, plan.final_lr, plan.warmup, plan.weight_decay)
    fit(run, model, objective, schedule, data, pace or Pace())
    return model


def _allowed(pairs: Pairs, data: Path) -> Pairs:
    """STS-B train without the pairs that share a sentence with an evaluation set."""
    blocklist = Blocklist.read(data / "eval" / "blocklist_sha1.txt.gz")
    keep = [
        i for i, two in enumerate(zip(pairs.first, pairs.second, strict=True)) if not any(map(blocklist.blocks, two))
    ]
    return Pairs([pairs.first[i] for i in keep], [pairs.second[i] for i in keep], pairs.score[keep])
