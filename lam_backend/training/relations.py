"""A stronger encoder's vectors of training texts, computed once and kept on disk; only their angles are learnt."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from lam_backend.training import sources
from lam_backend.training.blocklist import Blocklist, sentences

SHARES = {
    "snli_devtest": 0.3,
    "wikinews_en": 0.2,
    "topical_chat": 0.15,
    "wikipedia_en_sample": 0.1,
    "books_sample": 0.05,
    "open_trivia_qa": 0.1,
    "wordnet31": 0.1,
}
MAX_CHARACTERS = 400
_BATCH = 256


@dataclass(frozen=True, slots=True)
class Relations:
    """``texts`` (n) and the stronger encoder's unit vectors (n, its own dim), float16."""

    texts: list[str]
    vectors: NDArray[np.float16]

    def __len__(self) -> int:
        return len(self.texts)

    def joined(self, vectors: NDArray[np.float32], part: float) -> Relations:
        """Vectors whose cosines mix these' and, by ``part``, those of another encoder's unit ``vectors`` (n, D)."""
        both = np.hstack((math.sqrt(1 - part) * self.vectors.astype(np.float32), math.sqrt(part) * vectors))
        return Relations(self.texts, both.astype(np.float16))


def load_relations(data: Path, cache: Path, encoder: Path, *, count: int, seed: int) -> Relations:
    """``count`` sentences of the training sources with ``encoder``'s vectors; an interrupted encoding resumes."""
    texts = relation_texts(data, count=count, seed=seed)
    digest = hashlib.sha256(json.dumps([encoder.name, texts]).encode()).hexdigest()[:12]
    folder = cache / f"relations-{digest}"
    folder.mkdir(parents=True, exist_ok=True)
    model = None
    parts = []
    for start in tqdm(range(0, len(texts), _BATCH), desc=f"{encoder.name} vectors", unit="batch"):
        file = folder / f"{start:08}.npy"
        if not file.is_file():
            if model is None:
                from sentence_transformers import SentenceTransformer

                model = SentenceTransformer(str(encoder), device="cpu", local_files_only=True)
            found = model.encode(texts[start : start + _BATCH], normalize_embeddings=True, show_progress_bar=False)
            partial = file.with_suffix(".partial")
            with partial.open("wb") as opened:
                np.save(opened, found.astype(np.float16))
            partial.replace(file)
        parts.append(np.load(file, allow_pickle=False))
    return Relations(texts, np.concatenate(parts))


def relation_texts(data: Path, *, count: int, seed: int) -> list[str]:
    """Single sentences in the shares of ``SHARES``, none of them on the blocklist, neighbours kept together.

    Sentences that follow each other are related to a degree, which is what a batch of similarities can teach.
    """
    blocklist = Blocklist.read(data / "eval" / "blocklist_sha1.txt.gz")
    chosen: list[str] = []
    for index, (name, share) in enumerate(SHARES.items()):
        rng = np.random.default_rng([seed, 100 + index])
        pool = list(sources.read(data, name))
        wanted = len(chosen) + int(count * share)
        for start in rng.permutation(max(1, len(pool) // 8)) * 8:
            found = [s for text in pool[start : start + 8] for s in sentences(text)[:2]]
            chosen.extend(s[:MAX_CHARACTERS] for s in blocklist.allowed(found) if len(s) > 15)
            if len(chosen) >= wanted:
                break
        del chosen[wanted:]
    return chosen
