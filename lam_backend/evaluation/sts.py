"""Semantic textual similarity: correlation of cosine with people's scores."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.stats import pearsonr, spearmanr

from lam_backend.text_file import lines

Encode = Callable[[Sequence[str]], NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class Pairs:
    """Sentence pairs with gold scores (0..5)."""

    first: list[str]
    second: list[str]
    score: NDArray[np.float64]


def read_pairs(path: Path, first_column: int = 0) -> Pairs:
    """Rows ``score<TAB>sentence1<TAB>sentence2``, plain or gzipped, the score in ``first_column``.

    Raises:
        ValueError: a row of another shape, with its number.
    """
    first, second, score = [], [], []
    for number, row in enumerate(lines(path), 1):
        fields = row.split("\t")[first_column:]
        if len(fields) < 3:
            raise ValueError(f"{path}:{number} has {len(fields)} fields; expected score, sentence1, sentence2")
        try:
            score.append(float(fields[0]))
        except ValueError:
            if number == 1:
                continue
            raise ValueError(f"{path}:{number} starts with {fields[0]!r}; expected a score") from None
        first.append(fields[1])
        second.append(fields[2])
    return Pairs(first, second, np.array(score))


def cosines(encode: Encode, pairs: Pairs) -> NDArray[np.float64]:
    """Cosine of each pair, (n,)."""
    vectors = encode([*pairs.first, *pairs.second]).astype(np.float64)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True).clip(min=1e-12)
    half = len(pairs.first)
    similarity: NDArray[np.float64] = (vectors[:half] * vectors[half:]).sum(axis=1)
    return similarity


def correlations(similarity: NDArray[np.float64], score: NDArray[np.float64]) -> tuple[float, float]:
    """Pearson and Spearman."""
    return float(pearsonr(similarity, score)[0]), float(spearmanr(similarity, score)[0])
