"""Passages of a hundred words and more, and the short texts that ask for them.

A headline asks for its story, a question for its answer, and a sentence for the passage that it was taken out of.
What stands beside the passage in the same article is what it must not find.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lam_backend.training import sources
from lam_backend.training.blocklist import Blocklist, sentences
from lam_backend.training.questions import question
from lam_backend.training.shares import drawn

SHARES = {"answer": 0.3, "news": 0.25, "article": 0.45}
"""Share of each kind of document."""
LEAST_CHARACTERS = 300
SENTENCE_CHARACTERS = (30, 300)
KEPT = 0.1
"""How often the sentence that asks stays in its passage, so that equal words are told to matter too."""
TITLES = 0.75
"""How often the title of a document that has one asks."""
KEYWORDS = 0.25
"""How often a few of the sentence's words ask instead of the sentence."""


@dataclass(frozen=True, slots=True)
class Document:
    """One or two passages that follow each other, and the text that asks for the first; "" where there is none."""

    title: str
    passages: tuple[str, ...]


def asked(
    document: Document, synonyms: Mapping[str, Sequence[str]], rng: np.random.Generator
) -> tuple[str, int, tuple[str, ...]]:
    """A query, which of the passages it asks for, and the passages to be read: the query's sentence may be gone."""
    place = int(rng.integers(len(document.passages)))
    pieces = sentences(document.passages[place])
    fit = [i for i, piece in enumerate(pieces) if SENTENCE_CHARACTERS[0] <= len(piece) <= SENTENCE_CHARACTERS[1]]
    if document.title and (rng.random() < TITLES or not fit or len(pieces) < 2):
        return document.title, 0, document.passages
    if not fit or len(pieces) < 2:
        return pieces[0], place, document.passages
    taken = int(rng.choice(fit))
    query = pieces[taken]
    if rng.random() < KEYWORDS:
        query = question(query, "", synonyms, rng) or query
    if rng.random() < KEPT:
        return query, place, document.passages
    rest = " ".join(pieces[:taken] + pieces[taken + 1 :])
    return query, place, (*document.passages[:place], rest, *document.passages[place + 1 :])


def load_documents(data: Path, *, count: int, characters: int, seed: int) -> list[Document]:
    """About ``count`` documents by ``SHARES``; a passage has at most ``characters``, blocked texts are dropped."""
    blocklist = Blocklist.read(data / "eval" / "blocklist_sha1.txt.gz")
    readers = {"answer": _answers, "news": _news, "article": _articles}

    def documents(kind: str, found: tuple[str, list[str]], rng: np.random.Generator) -> Iterator[Document]:
        title, paragraphs = found
        if title and blocklist.blocks(title):
            return
        passages = _passages(list(blocklist.allowed(paragraphs)), int(rng.integers(characters // 3, characters)))
        if passages:
            yield Document(title, tuple(passages[: 1 if kind == "answer" else 2]))

    return drawn(SHARES, count, (seed, 300), lambda kind: readers[kind](data / "train"), documents)


def _answers(folder: Path) -> Iterator[tuple[str, list[str]]]:
    return ((row[0], [row[1]]) for row in sources.rows(folder / "medquad" / "qa.tsv.gz") if len(row) > 1)


def _news(folder: Path) -> Iterator[tuple[str, list[str]]]:
    return sources.news(folder / "wikinews_en")


def _articles(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """Encyclopaedia articles; their titles name a thing and ask nothing."""
    return (("", paragraphs) for _, paragraphs in sources.articles(folder / "wikipedia_en_sample"))


def _passages(paragraphs: Sequence[str], characters: int) -> list[str]:
    """Paragraphs put together to about ``characters``; what is shorter than ``LEAST_CHARACTERS`` is left out."""
    found: list[str] = []
    block = ""
    for paragraph in paragraphs:
        block = f"{block} {paragraph}".strip()
        if len(block) >= characters:
            found.append(block[:characters])
            block = ""
    return [text for text in (*found, block) if len(text) >= LEAST_CHARACTERS]
