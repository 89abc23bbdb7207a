"""Recall as of a time in the past: memories as they were known then, found by what they said then."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from maas.embedders.protocol import Vectors
from maas.items import indexed_text
from maas.recall.analysis import document_terms, query_terms
from maas.records import Memory
from maas.storage.values import Earlier

MAX_ENCODED = 1_000
"""So many of the memories that were changed since are encoded as they were; the others are found by words alone."""


@dataclass(frozen=True, slots=True)
class Past:
    """The view at ``as_of``.

    Attributes:
        versions: by row, what memories that were changed since had said.
        vectors: theirs, (dim,) each, of those that hold most of the question's words; none in lexical mode.
    """

    as_of: datetime
    versions: Mapping[int, Earlier]
    vectors: Mapping[int, NDArray[np.float32]] = field(default_factory=dict)

    @classmethod
    def encoded(
        cls,
        as_of: datetime,
        versions: Mapping[int, Earlier],
        question: str,
        encode: Callable[[Sequence[str]], Vectors] | None,
    ) -> Past:
        """``encode`` is None in lexical mode."""
        past = cls(as_of, versions)
        if encode is None or not versions:
            return past
        seqs = list(versions)
        if len(seqs) > MAX_ENCODED:
            shares = past.word_shares(np.array(seqs, np.int64), question)
            seqs = [seqs[place] for place in np.argsort(-shares, kind="stable")[:MAX_ENCODED].tolist()]
        return cls(as_of, versions, dict(zip(seqs, encode([_indexed(versions[seq]) for seq in seqs]), strict=True)))

    def cosines(self, seqs: NDArray[np.int64], query: NDArray[np.float32]) -> NDArray[np.float64]:
        """Of ``query`` (dim,) with the vectors of ``seqs`` (n,); NaN where there is none."""
        found = (self.vectors.get(seq) for seq in seqs.tolist())
        return np.array([np.nan if vector is None else float(vector @ query) for vector in found])

    def word_shares(self, seqs: NDArray[np.int64], question: str) -> NDArray[np.float64]:
        """Share of the question's words that each of ``seqs`` (n,) held then.

        Unlike BM25 it knows nothing of rare words: what a memory no longer says is in no index.
        """
        wanted = set(query_terms(question))
        held = [wanted.intersection(document_terms(_indexed(self.versions[seq]))) for seq in seqs.tolist()]
        return np.array([len(found) / max(1, len(wanted)) for found in held])

    def as_known(self, seq: int, memory: Memory) -> Memory:
        """``memory`` as it was: its text of then, and not replaced yet."""
        update: dict[str, object] = {}
        if (earlier := self.versions.get(seq)) is not None:
            version = earlier.entry
            update = {name: getattr(version, name) for name in ("text", "metadata", "importance", "version")}
            update |= {"updated_at": version.at, "created_at": min(memory.created_at, version.valid_from)}
        if memory.superseded_at is not None and memory.superseded_at > self.as_of:
            update |= {"superseded_by": None, "superseded_at": None}
        return memory.model_copy(update=update) if update else memory


def _indexed(earlier: Earlier) -> str:
    return indexed_text(earlier.entry.text, earlier.name)
