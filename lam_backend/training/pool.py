"""A pool of token sequences to train on, sampled once from the sources and kept on disk."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lam_backend.tokenizer import Tokenizer
from lam_backend.training import sources
from lam_backend.training.blocklist import Blocklist, sentences

SHARES: Mapping[str, float] = {
    "wikipedia_en_sample": 0.22,
    "wikinews_en": 0.14,
    "books_sample": 0.14,
    "snli_devtest": 0.08,
    "sgd_dialogues": 0.08,
    "topical_chat": 0.08,
    "wordnet31": 0.07,
    "medquad": 0.05,
    "open_trivia_qa": 0.05,
    "foldoc_jargon": 0.03,
    "clinc150": 0.02,
    "banking77": 0.01,
    "climate_fever": 0.01,
    "wikisplit_ppdb": 0.02,
}
"""Share of each source in the pool's tokens."""
CONSECUTIVE = frozenset(
    {"wikipedia_en_sample", "wikinews_en", "books_sample", "sgd_dialogues", "topical_chat", "medquad", "foldoc_jargon"}
)
"""Sources whose texts follow each other as somebody wrote or said them."""
RUN_SHARE = 0.09
"""How often a text of theirs is continued by those after it: about four tenths of these sources' tokens.

Without, nine tokens of ten stood in texts of at most 128, and documents were read worse than the teacher reads them.
"""
RUN_CHARACTERS = (500, 2400)
_FORMAT = 2


@dataclass(frozen=True, slots=True)
class Pool:
    """Token sequences with [CLS] and [SEP]: ``ids[starts[i]:starts[i + 1]]``."""

    ids: NDArray[np.uint16]
    starts: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.starts) - 1

    def __getitem__(self, index: int) -> NDArray[np.uint16]:
        return self.ids[self.starts[index] : self.starts[index + 1]]

    @property
    def lengths(self) -> NDArray[np.int64]:
        return np.diff(self.starts)


def load_pool(data: Path, cache: Path, tokenizer: Tokenizer, *, tokens: int, longest: int, seed: int) -> Pool:
    """About ``tokens`` tokens in the shares of ``SHARES``, texts cut at ``longest``.

    A function of its arguments, the blocklist and the tokenizer: a kept pool of other ones is not taken.

    Raises:
        FileNotFoundError, ValueError: no whole blocklist, or no text that may be read.
    """
    blocklist = Blocklist.read(data / "eval" / "blocklist_sha1.txt.gz")
    request = {
        "format": _FORMAT,
        "shares": dict(SHARES),
        "tokens": tokens,
        "longest": longest,
        "seed": seed,
        "data": str(data.resolve()),
        "blocklist": blocklist.identity,
        "tokenizer": tokenizer.identity,
    }
    digest = hashlib.sha256(json.dumps(request, sort_keys=True).encode()).hexdigest()[:12]
    file = cache / f"pool-{digest}.npz"
    if file.is_file():
        with np.load(file, allow_pickle=False) as held:
            return Pool(held["ids"], held["starts"])
    pool = _sample(data, blocklist, tokenizer, tokens, longest, seed)
    cache.mkdir(parents=True, exist_ok=True)
    partial = file.with_suffix(f".{os.getpid()}.npz")  # runs side by side may sample the same pool
    np.savez(partial, ids=pool.ids, starts=pool.starts)
    partial.replace(file)
    return pool


def _sample(data: Path, blocklist: Blocklist, tokenizer: Tokenizer, tokens: int, longest: int, seed: int) -> Pool:
    chosen: list[NDArray[np.uint16]] = []
    for index, (name, share) in enumerate(SHARES.items()):
        rng = np.random.default_rng([seed, index])
        texts = list(sources.read(data, name))
        budget = int(tokens * share)
        for start in range(0, len(order := rng.permutation(len(texts))), 2048):
            spans: list[str] = []
            for i in order[start : start + 2048]:
                if name in CONSECUTIVE and rng.random() < RUN_SHARE:
                    spans.append(_continued(texts, int(i), blocklist, rng))
                else:
                    spans.append(_span(texts[i], rng))
            for ids in tokenizer.ids(list(blocklist.allowed(spans))):
                if len(ids) >= 3:
                    chosen.append(np.array(tokenizer.wrapped(ids[: longest - 2]), dtype=np.uint16))
                    budget -= len(chosen[-1])
            if budget <= 0:
                break
    if not chosen:
        raise ValueError(f"{data / 'train'} holds no text to read: {blocklist.dropped} were blocked")
    shuffled = [chosen[i] for i in np.random.default_rng([seed, len(SHARES)]).permutation(len(chosen))]
    starts = np.concatenate(([0], np.cumsum([len(ids) for ids in shuffled])))
    return Pool(np.concatenate(shuffled), starts.astype(np.int64))


def _span(text: str, rng: np.random.Generator) -> str:
    """One sentence (60 %), two to five (25 %), or the whole text: lengths from 8 tokens to a segment."""
    pieces = sentences(text)
    roll = rng.random()
    if len(pieces) < 2 or roll > 0.85:
        return text
    count = 1 if roll < 0.6 else int(rng.integers(2, 6))
    first = int(rng.integers(0, max(1, len(pieces) - count + 1)))
    return " ".join(pieces[first : first + count])


def _continued(texts: Sequence[str], first: int, blocklist: Blocklist, rng: np.random.Generator) -> str:
    """The text and those after it up to a drawn length, 100 tokens to a segment; blocked ones left out."""
    wanted = int(rng.integers(*RUN_CHARACTERS))
    found: list[str] = []
    length = 0
    for text in blocklist.allowed(texts[first : first + 64]):
        found.append(text)
        length += len(text) + 1
        if length >= wanted:
            break
    return " ".join(found)[:wanted]


def batches(pool: Pool, *, batch_tokens: int, seed: int, first: int = 0) -> Iterator[list[int]]:
    """Endless batches of pool indices, ≤ ``batch_tokens`` padded tokens, similar lengths together.

    A pure function of its arguments: ``first`` skips that many batches and continues identically.
    """
    lengths = pool.lengths
    number = 0
    epoch = 0
    while True:
        rng = np.random.default_rng([seed, epoch])
        order = rng.permutation(len(pool))
        for start in range(0, len(order), 8192):
            window = order[start : start + 8192]
            grouped = _grouped(window[np.argsort(lengths[window], kind="stable")], lengths, batch_tokens)
            for index in rng.permutation(len(grouped)):
                if number >= first:
                    yield grouped[index]
                number += 1
        epoch += 1


def _grouped(order: NDArray[np.int64], lengths: NDArray[np.int64], batch_tokens: int) -> list[list[int]]:
    groups: list[list[int]] = [[]]
    for index in order:
        if groups[-1] and (len(groups[-1]) + 1) * lengths[index] > batch_tokens:
            groups.append([])
        groups[-1].append(int(index))
    return groups
