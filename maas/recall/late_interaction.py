"""Late interaction: each telling word of the question meets the word of the memory that comes closest to it.

Khattab & Zaharia, "ColBERT" (2020): Σᵢ maxⱼ qᵢ·dⱼ over words in context, here weighted by how rare the question's words
are among the user's memories. A memory's words are encoded when it is asked for, not stored.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from maas.embedders.protocol import ContextualEmbedder, Embedder, contextual
from maas.errors import FieldError, InvalidInputError
from maas.recall.analysis import query_terms

# Beside the words of turn and neighbours, which weigh 1.
WEIGHT = 0.4
# So many of the best are looked at again.
POOL = 50
# Words of a memory that are read, and tokens of one pass over them.
_WORDS, _TOKENS = 256, 512


class LateInteraction:
    """One question, ready to be held against memories."""

    def __init__(self, embedder: ContextualEmbedder, question: str) -> None:
        self._embedder = embedder
        self._words = question.split()[:_WORDS]
        self._vectors = embedder.encode_in_context(self._words, _TOKENS)

    def closeness(self, texts: Sequence[str], weights: Mapping[str, float]) -> NDArray[np.float64]:
        """Weighted mean over the question's words of the best cosine in each of (n,) texts.

        Args:
            weights: of the question's terms; a word without a weighed term does not count.
        """
        asked = [max((weights.get(term, 0.0) for term in query_terms(word)), default=0.0) for word in self._words]
        total = sum(asked)
        if not total:
            return np.zeros(len(texts))
        share = np.array(asked) / total
        return np.array([self._best(text) @ share for text in texts], np.float64)

    def _best(self, text: str) -> NDArray[np.float32]:
        """For each word of the question the best cosine in the text."""
        words = self._embedder.encode_in_context(text.split()[:_WORDS], _TOKENS)
        best: NDArray[np.float32] = (self._vectors @ words.T).max(axis=1)
        return best


def late_interaction(embedder: Embedder, question: str) -> LateInteraction:
    """Raises InvalidInputError for an embedder that reads whole texts only."""
    reader = contextual(embedder)
    if reader is None:
        message = f"needs an encoder that reads words in context, and {embedder.name} does not; leave it out"
        raise InvalidInputError(f"rerank: {message}", errors=[FieldError("rerank", message)])
    return LateInteraction(reader, question)
