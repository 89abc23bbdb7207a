"""Recall put to the proof: what is stored must be found, by its own vector and by its own words."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import numpy as np

from maas.items import indexed_text
from maas.recall.analysis import query_terms
from maas.records import Memory, Scope
from maas.storage.protocol import MemoryStore, ReadTransaction
from maas.storage.values import Exported, Where

SAMPLED_USERS = 20
SAMPLED_TEXTS = 20
_ITSELF = 0.98  # cosine of a stored vector with itself, in float16
_TERMS = 8


@dataclass(frozen=True, slots=True)
class Proof:
    """How many memories were looked for, and how many of them were not found."""

    sampled: int
    lost_vectors: int
    lost_words: int

    @property
    def holds(self) -> bool:
        return not self.lost_vectors and not self.lost_words


def prove(store: MemoryStore, now: datetime) -> Proof:
    """Look for some memories of some users, in indexes built from the database."""
    sampled = vectors = words = 0
    with store.read() as transaction:
        for scope in list(transaction.users())[:SAMPLED_USERS]:
            rows = [row for row in transaction.export(scope, limit=SAMPLED_TEXTS) if _live(row.memory, now)]
            for row in rows:
                sampled += 1
                vectors += not _found_by_vectors(transaction, scope, row, now)
                words += not _found_by_words(transaction, scope, row.memory, now)
    return Proof(sampled, vectors, words)


def _live(memory: Memory, now: datetime) -> bool:
    return memory.expires_at is None or memory.expires_at > now


def _found_by_vectors(transaction: ReadTransaction, scope: Scope, row: Exported, now: datetime) -> bool:
    where = Where(now=now, include_superseded=True)
    for fingerprint, vector in row.vectors.items():
        (hits,) = transaction.dense(scope, fingerprint, vector[None, :].astype(np.float32), 1, where)
        if not len(hits.scores) or float(hits.scores[0]) < _ITSELF:
            return False
    return bool(row.vectors)


def _found_by_words(transaction: ReadTransaction, scope: Scope, memory: Memory, now: datetime) -> bool:
    terms = query_terms(indexed_text(memory.text, memory.name))[:_TERMS]
    if not terms:
        return True
    everything = transaction.coverage(scope, "").memories
    hits = transaction.lexical(scope, terms, everything, Where(now=now, include_superseded=True))
    return memory.id in {found.id for found in transaction.by_seq(scope, hits.seqs.tolist()).values()}
