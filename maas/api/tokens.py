"""Token counts for OpenAI's ``usage``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from maas.embedders.batching import BatchingEmbedder
from maas.embedders.protocol import Embedder

_WORDS_AND_MARKS = re.compile(r"\w+|[^\w\s]")


@runtime_checkable
class CountsTokens(Protocol):
    """An embedder that shares its tokenizer."""

    def count_tokens(self, texts: Sequence[str]) -> int:
        """Tokens of all ``texts`` together, as the model reads them."""


def count_tokens(embedder: Embedder, texts: Sequence[str]) -> int:
    """The embedder's own count; for one that keeps its tokenizer to itself, words and punctuation marks."""
    model = embedder.inner if isinstance(embedder, BatchingEmbedder) else embedder
    if isinstance(model, CountsTokens):
        return model.count_tokens(texts)
    return sum(len(_WORDS_AND_MARKS.findall(text)) for text in texts)
