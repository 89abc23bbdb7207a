"""What the last stage learns: kinds of batch, each with its loss and its distance from where the stage began."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from lam_backend.evaluation.sts import Pairs
from lam_backend.model import DeltaNet6Layer
from lam_backend.training.losses import cosent, cosine_distance, info_nce, similarity_mse
from lam_backend.training.pairs import Pair
from lam_backend.training.passages import Document, asked
from lam_backend.training.questions import Window, question
from lam_backend.training.relations import Relations
from lam_backend.training.teacher import Teacher

QUESTIONS_A_WINDOW = 4
RUN = 4
TEMPERATURE = 0.05
Rows = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a batch costs: its own loss, mean 1 − cos to the start's vectors (0 without), and the real tokens read."""

    learnt: Tensor
    anchor: Tensor
    tokens: int


class Task(Protocol):
    """One kind of batch: ``len`` items, of which a step draws ``batch``."""

    @property
    def batch(self) -> int: ...

    def __len__(self) -> int: ...

    def run(
        self, model: DeltaNet6Layer, start: DeltaNet6Layer | None, rows: Rows, rng: np.random.Generator
    ) -> Outcome: ...


def segments(model: DeltaNet6Layer, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Ids and mask (n, T) of texts cut to a segment."""
    room = model.config.segment_length - 2
    return model.padded([model.tokenizer.wrapped(ids[:room]) for ids in model.tokenizer.ids(texts)])


def embedded(model: DeltaNet6Layer, start: DeltaNet6Layer | None, texts: Sequence[str]) -> tuple[Tensor, Tensor, int]:
    """Unit vectors (n, D) of texts cut to a segment, their mean distance from the start's if any, the tokens read."""
    ids, mask = segments(model, texts)
    vectors, _ = model.embed(ids, mask)
    if start is None:
        return vectors, vectors.new_zeros(()), int(mask.sum())
    with torch.no_grad():
        before, _ = start.embed(ids, mask)
    return vectors, cosine_distance(vectors, before), int(mask.sum())


@dataclass(frozen=True, slots=True)
class GradedPairs:
    """Pairs with a gold similarity: their order (CoSENT) and their values."""

    pairs: Pairs
    batch: int
    square_weight: float

    def __len__(self) -> int:
        return len(self.pairs.first)

    def run(self, model: DeltaNet6Layer, start: DeltaNet6Layer | None, rows: Rows, rng: np.random.Generator) -> Outcome:
        texts = [side[row] for side in (self.pairs.first, self.pairs.second) for row in rows]
        vectors, anchor, tokens = embedded(model, start, texts)
        left, right = vectors.chunk(2)
        similarity = (left * right).sum(-1)
        score = torch.from_numpy(self.pairs.score[rows]).float() / 5.0
        error = (similarity - score).square().mean()
        return Outcome(cosent(similarity, score) + self.square_weight * error, anchor, tokens)


@dataclass(frozen=True, slots=True)
class SimilarityOf:
    """A stronger encoder's similarities: of all texts in the batch, and once more of those that follow each other.

    A batch is made of runs of ``RUN`` texts that follow each other in their source. Two texts drawn at random have
    nothing in common, and nothing about degrees of likeness is learnt from them.
    """

    relations: Relations
    batch: int

    def __len__(self) -> int:
        return len(self.relations)

    def run(self, model: DeltaNet6Layer, start: DeltaNet6Layer | None, rows: Rows, rng: np.random.Generator) -> Outcome:
        first = rows[: max(1, len(rows) // RUN)]
        rows = np.minimum(first[:, None] + np.arange(RUN), len(self) - 1).ravel()
        vectors, anchor, tokens = embedded(model, start, [self.relations.texts[row] for row in rows])
        goal = torch.from_numpy(self.relations.vectors[rows].astype(np.float32))
        near = torch.block_diag(*[torch.ones(RUN, RUN)] * len(first)).bool()
        return Outcome(similarity_mse(vectors, goal) + similarity_mse(vectors, goal, near), anchor, tokens)


@dataclass(frozen=True, slots=True)
class TwoSides:
    """Texts that belong together, told apart from the others of the batch."""

    pairs: Sequence[Pair]
    batch: int

    def __len__(self) -> int:
        return len(self.pairs)

    def run(self, model: DeltaNet6Layer, start: DeltaNet6Layer | None, rows: Rows, rng: np.random.Generator) -> Outcome:
        texts = [self.pairs[row][side] for side in (0, 1) for row in rows]
        vectors, anchor, tokens = embedded(model, start, texts)
        left, right = vectors.chunk(2)
        return Outcome(info_nce(left, right, TEMPERATURE), anchor, tokens)


@dataclass(frozen=True, slots=True)
class QueriesToPassages:
    """The passage that a headline, a question or one of its own sentences asks for, told apart from the batch's."""

    documents: Sequence[Document]
    synonyms: Mapping[str, Sequence[str]]
    batch: int

    def __len__(self) -> int:
        return len(self.documents)

    def run(self, model: DeltaNet6Layer, start: DeltaNet6Layer | None, rows: Rows, rng: np.random.Generator) -> Outcome:
        queries: list[str] = []
        answers: list[int] = []
        passages: list[str] = []
        for row in rows:
            query, place, read = asked(self.documents[row], self.synonyms, rng)
            queries.append(query)
            answers.append(len(passages) + place)
            passages += read
        left, anchor, tokens = embedded(model, start, queries)
        right, drift, more = embedded(model, start, passages)
        loss = F.cross_entropy(left @ right.T / TEMPERATURE, torch.tensor(answers))
        return Outcome(loss, (anchor + drift) / 2, tokens + more)


@dataclass(frozen=True, slots=True)
class VectorsOf:
    """The first teacher's vectors and similarities of passages, which the other lessons pull the model away from."""

    teacher: Teacher
    documents: Sequence[Document]
    batch: int
    cosine_weight: float = 5.0
    similarity_weight: float = 20.0

    def __len__(self) -> int:
        return len(self.documents)

    def run(self, model: DeltaNet6Layer, start: DeltaNet6Layer | None, rows: Rows, rng: np.random.Generator) -> Outcome:
        texts = [text for row in rows for text in (self.documents[row].title, *self.documents[row].passages) if text]
        ids, mask = segments(model, texts)
        goal, _ = self.teacher.embed(ids, mask)
        vectors, _ = model.embed(ids, mask)
        learnt = self.cosine_weight * cosine_distance(vectors, goal)
        learnt = learnt + self.similarity_weight * similarity_mse(vectors, goal)
        return Outcome(learnt, vectors.new_zeros(()), int(mask.sum()))


@dataclass(frozen=True, slots=True)
class QuestionsToTurns:
    """The turn a question was made from, told apart from all turns of the batch, its own conversation's among them.

    In half of the steps a turn is read alone, in the others within its window, as late chunking reads it.
    """

    windows: Sequence[Window]
    synonyms: Mapping[str, Sequence[str]]
    batch: int

    def __len__(self) -> int:
        return len(self.windows)

    def run(self, model: DeltaNet6Layer, start: DeltaNet6Layer | None, rows: Rows, rng: np.random.Generator) -> Outcome:
        windows = [self.windows[row] for row in rows]
        questions, answers = self._asked(windows, rng)
        asked, anchor, tokens = embedded(model, start, questions)
        if rng.random() < 0.5:
            turns, drift, read = embedded(model, start, [turn for window in windows for turn in window.turns])
        else:
            turns, drift, read = self._in_context(model, start, windows)
        loss = F.cross_entropy(asked @ turns.T / TEMPERATURE, torch.tensor(answers))
        return Outcome(loss, (anchor + drift) / 2, tokens + read)

    def _asked(self, windows: Sequence[Window], rng: np.random.Generator) -> tuple[list[str], list[int]]:
        questions: list[str] = []
        answers: list[int] = []
        first = 0
        for window in windows:
            made = 0
            for place in rng.permutation(len(window.turns)):
                text = question(window.turns[place], window.speakers[place], self.synonyms, rng)
                if text is not None and made < QUESTIONS_A_WINDOW:
                    questions.append(text)
                    answers.append(first + int(place))
                    made += 1
            first += len(window.turns)
        return questions or [windows[0].turns[0]], answers or [0]

    @staticmethod
    def _in_context(
        model: DeltaNet6Layer, start: DeltaNet6Layer | None, windows: Sequence[Window]
    ) -> tuple[Tensor, Tensor, int]:
        room = model.config.segment_length - 2
        texts, owners = [], []
        unit = 0
        for window in windows:
            ids = model.tokenizer.ids(window.turns)
            texts.append(model.tokenizer.wrapped([token for turn in ids for token in turn][:room]))
            owners.append([unit + place for place, turn in enumerate(ids) for _ in turn][:room])
            unit += len(ids)
        tokens, mask = model.padded(texts)
        owner = torch.full(tokens.shape, unit)  # what belongs to no turn is summed up behind the last one
        for row, held in enumerate(owners):
            owner[row, 1 : len(held) + 1] = torch.tensor(held)

        def turn_vectors(encoder: DeltaNet6Layer) -> Tensor:
            hidden, _ = encoder.read(tokens, mask)
            sums = hidden.new_zeros(unit + 1, hidden.shape[-1]).index_add(0, owner.flatten(), hidden.flatten(0, 1))
            return F.normalize(sums[:unit], dim=-1)

        vectors = turn_vectors(model)
        if start is None:
            return vectors, vectors.new_zeros(()), int(mask.sum())
        with torch.no_grad():
            before = turn_vectors(start)
        return vectors, cosine_distance(vectors, before), int(mask.sum())
