"""Pairs of texts that mean the same or answer each other, for contrast within a batch."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np

from lam_backend.training import sources
from lam_backend.training.blocklist import Blocklist

Pair = tuple[str, str]
MAX_CHARACTERS = 300
SHARES = {"snli": 0.25, "qa": 0.25, "trivia": 0.1, "gloss": 0.15, "split": 0.1, "turns": 0.15}
"""Share of each kind among all pairs."""


def _snli(data: Path) -> Iterator[Pair]:
    for part in ("dev", "test"):
        for row in sources.rows(data / "train" / "snli_devtest" / f"{part}.tsv.gz"):
            if row[0] == "entailment":
                yield row[1], row[2]


def _qa(data: Path) -> Iterator[Pair]:
    return ((row[0], row[1]) for row in sources.rows(data / "train" / "medquad" / "qa.tsv.gz") if len(row) > 1)


def _trivia(data: Path) -> Iterator[Pair]:
    for row in sources.rows(data / "train" / "open_trivia_qa" / "qa.tsv.gz"):
        if len(row) > 1 and len(row[1]) > 12:
            yield row[0], row[1]


def _gloss(data: Path) -> Iterator[Pair]:
    for row in sources.rows(data / "train" / "wordnet31" / "glosses.tsv.gz"):
        yield row[1], row[2]


def _split(data: Path) -> Iterator[Pair]:
    return ((row[0], row[1]) for row in sources.rows(data / "train" / "wikisplit_ppdb" / "wikisplit.tsv.gz"))


def _turns(data: Path) -> Iterator[Pair]:
    for turns in sources.topical_turns(data / "train" / "topical_chat"):
        yield from pairwise(turn.strip() for turn in turns)


READERS = {"snli": _snli, "qa": _qa, "trivia": _trivia, "gloss": _gloss, "split": _split, "turns": _turns}


def load_pairs(data: Path, *, count: int, seed: int) -> dict[str, list[Pair]]:
    """About ``count`` pairs by kind; a pair with a blocked side is left out."""
    blocklist = Blocklist.read(data / "eval" / "blocklist_sha1.txt.gz")
    chosen: dict[str, list[Pair]] = {}
    for index, (kind, share) in enumerate(SHARES.items()):
        rng = np.random.default_rng([seed, index])
        found = [(a[:MAX_CHARACTERS], b[:MAX_CHARACTERS]) for a, b in READERS[kind](data) if a and b]
        wanted = int(count * share)
        order = rng.permutation(len(found))[: 2 * wanted]
        kept = (found[i] for i in order if not any(blocklist.blocks(side) for side in found[i]))
        chosen[kind] = [pair for pair, _ in zip(kept, range(wanted), strict=False)]
    return chosen
