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
"""So many of the memories that were changed since are encoded as they were; the others are found by words alone,
and in dense mode not at all."""


@dataclass(frozen=True, slots=True)
class Past:
    """The view at ``as_of``.

    Attributes:
        versions: by row, what memories that were changed since had been.
        seqs: those rows (n,) of them that have another text now.
        word_shares: of these, the share of the question's words that each held then, (n,). Unlike BM25 it knows nothing
            of rare words: what a memory no longer says is in no index.
        vectors: theirs, (dim,) each, of those that held most of the question's words; none in lexical mode.
    """

    as_of: datetime
    versions: Mapping[int, Earlier]
    seqs: NDArray[np.int64]
    word_shares: NDArray[np.float64]
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
        texts = {
            seq: indexed_text(earlier.entry.text, earlier.name)
            for seq, earlier in versions.items()
            if not earlier.same_text
        }
        wanted = set(query_terms(question))
        held = [len(wanted.intersection(document_terms(text))) for text in texts.values()]
        shares = np.array(held, np.float64) / max(1, len(wanted))
        seqs = np.array(list(texts), np.int64)
        vectors: dict[int, NDArray[np.float32]] = {}
        if encode is not None and texts:
            chosen = seqs[np.argsort(-shares, kind="stable")[:MAX_ENCODED]].tolist()
            vectors = dict(zip(chosen, encode([texts[seq] for seq in chosen]), strict=True))
        return cls(as_of, versions, seqs, shares, vectors)

    def cosines(self, query: NDArray[np.float32]) -> NDArray[np.float64]:
        """Of ``query`` (dim,) with the vectors of ``seqs``, (n,); NaN where there is none."""
        found = (self.vectors.get(seq) for seq in self.seqs.tolist())
        return np.array([np.nan if vector is None else float(vector @ query) for vector in found])

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
