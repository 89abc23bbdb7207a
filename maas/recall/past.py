"""Recall as of a time in the past: memories as they were known then, found by what they said then."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from maas.embedders.protocol import Vectors
from maas.recall.analysis import document_terms, query_terms
from maas.records import HistoryEntry, Memory

MAX_CHANGED = 1_000
"""Memories changed since that are read again; each costs an encoding."""


@dataclass(frozen=True, slots=True)
class Past:
    """The view at ``as_of``.

    Attributes:
        versions: by row, what memories that were changed since had said.
        vectors: theirs, (dim,) each; none in lexical mode.
    """

    as_of: datetime
    versions: Mapping[int, HistoryEntry]
    vectors: Mapping[int, NDArray[np.float32]] = field(default_factory=dict)

    @classmethod
    def encoded(
        cls, as_of: datetime, versions: Mapping[int, HistoryEntry], encode: Callable[[Sequence[str]], Vectors] | None
    ) -> Past:
        if encode is None or not versions:
            return cls(as_of, versions)
        vectors = encode([version.text for version in versions.values()])
        return cls(as_of, versions, dict(zip(versions, vectors, strict=True)))

    def cosines(self, seqs: NDArray[np.int64], query: NDArray[np.float32]) -> NDArray[np.float64]:
        """Of ``query`` (dim,) with the vectors of ``seqs`` (n,)."""
        return np.array([float(self.vectors[seq] @ query) for seq in seqs.tolist()])

    def word_shares(self, seqs: NDArray[np.int64], question: str) -> NDArray[np.float64]:
        """Share of the question's words that each of ``seqs`` (n,) held then.

        Unlike BM25 it knows nothing of rare words: what a memory no longer says is in no index.
        """
        wanted = set(query_terms(question))
        held = [wanted.intersection(document_terms(self.versions[seq].text)) for seq in seqs.tolist()]
        return np.array([len(found) / max(1, len(wanted)) for found in held])

    def as_known(self, seq: int, memory: Memory) -> Memory:
        """``memory`` as it was: its text of then, and not replaced yet."""
        update: dict[str, object] = {}
        if (version := self.versions.get(seq)) is not None:
            update = {name: getattr(version, name) for name in ("text", "metadata", "importance", "version")}
            update |= {"updated_at": version.at, "created_at": min(memory.created_at, version.valid_from)}
        if memory.superseded_at is not None and memory.superseded_at > self.as_of:
            update |= {"superseded_by": None, "superseded_at": None}
        return memory.model_copy(update=update) if update else memory
