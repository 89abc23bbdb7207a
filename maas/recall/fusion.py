"""One score from many parts: weighted evidence, added up, and read as a probability.

Every part is on an absolute scale of 0..1 and keeps it: a convex combination (Bruch, Gai & Ingber, "An Analysis of
Fusion Functions for Hybrid Retrieval", 2022) needs no second hit to compare with, which ranks and z-scores do. How far
the sum stands out from the memories that only share a topic goes through a logistic curve fitted once for each mode
(Platt, "Probabilistic Outputs for Support Vector Machines", 1999): a score is how likely the memory answers the
question, whatever the mode, the user and the encoder.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from maas.records import Mode

Values = NDArray[np.float64]

# Weights beside the words of turn and neighbours, which weigh 1. docs/recall.md says how they were chosen.
TURN = 0.1
CONTEXT = 0.6
SPEAKER = 0.03
ASSISTANT = -0.1


# The memories from the 11th to the 30th best are taken for what the topic alone earns.
_FIRST, _LAST = 10, 30


@dataclass(frozen=True, slots=True)
class Curve:
    """Evidence → probability: 1 / (1 + exp(−slope · (evidence − background − middle))).

    Attributes:
        topic: the background of a store too small to show one; so small, its sessions do not tell memories apart yet.
    """

    slope: float
    middle: float
    topic: float

    def background(self, evidence: Values, memories: int) -> float:
        """What the topic alone earns among candidates (n,) of a user with so many memories; the rest earned 0."""
        shown = np.sort(evidence)[::-1][_FIRST:_LAST]
        missing = _LAST - _FIRST - len(shown)
        silent = min(missing, max(0, memories - max(len(evidence), _FIRST)))
        return float(shown.sum() + self.topic * (missing - silent)) / (_LAST - _FIRST)

    def probabilities(self, evidence: Values, background: float) -> Values:
        scores: Values = 1 / (1 + np.exp(-self.slope * (evidence - background - self.middle)))
        return scores

    def contributions(self, parts: Mapping[str, float], background: float) -> dict[str, float]:
        """Log-odds of each part and of having no evidence at all; their sum is the log-odds of the score."""
        shares = {name: self.slope * part for name, part in parts.items()}
        return shares | {"prior": -self.slope * (background + self.middle)}


CURVES: dict[Mode, Curve] = {
    "hybrid": Curve(6.2, 0.57, 0.35),
    "dense": Curve(15.0, 0.25, 0.38),
    "lexical": Curve(7.7, 0.43, 0.14),
}


def cosines(values: NDArray[np.floating]) -> Values:
    """Cosines (n,) → evidence in 0..1: opposite or missing (NaN) is 0."""
    return np.clip(np.nan_to_num(values.astype(np.float64), nan=0.0), 0.0, 1.0)
