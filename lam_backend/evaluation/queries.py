"""Queries made from a book without a language model: sentences from which words were taken."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from lam_backend.evaluation.bm25 import STOP_WORDS

_SENTENCE = re.compile(r"(?<=[.!?])[\"'”’)]*\s+")
_WORD = re.compile(r"[A-Za-z]+")
SHORTEST, LONGEST = 10, 40
"""Words of a sentence that may become a query."""


def whole_sentences(text: str) -> list[str]:
    """Sentences of usable length, white space collapsed; the first and last may be cut by the text's bounds."""
    found = [" ".join(sentence.split()) for sentence in _SENTENCE.split(text)]
    return [sentence for sentence in found[1:-1] if SHORTEST <= len(sentence.split()) <= LONGEST]


def thinned(sentence: str, share: float, generator: np.random.Generator) -> str:
    """The sentence without ``share`` of its content words (at least one), in order."""
    words = sentence.split()
    content = [
        i for i, word in enumerate(words) if (found := _WORD.search(word)) and found[0].lower() not in STOP_WORDS
    ]
    if not content:
        return sentence
    count = max(1, round(share * len(content)))
    dropped = set(generator.choice(content, size=min(count, len(content)), replace=False).tolist())
    return " ".join(word for i, word in enumerate(words) if i not in dropped)


def passage_queries(
    passages: Sequence[str], count: int, seed: int, share: float = 1 / 3
) -> tuple[list[str], list[dict[int, float]]]:
    """Up to ``count`` thinned sentences, each from another passage, and the passage that holds it.

    Raises:
        ValueError: no passage holds a whole sentence of usable length.
    """
    generator = np.random.default_rng(seed)
    queries, relevant = [], []
    for index in generator.permutation(len(passages)).tolist():
        if found := whole_sentences(passages[index]):
            queries.append(thinned(found[int(generator.integers(len(found)))], share, generator))
            relevant.append({index: 1.0})
        if len(queries) == count:
            break
    if not queries:
        raise ValueError(f"none of {len(passages)} passages holds a whole sentence of {SHORTEST} to {LONGEST} words")
    return queries, relevant
