"""The texts that released weights may be trained on, by folder of ``train/``. Nothing else is read."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from lam_backend.text_file import lines

MAX_GAP_RATIO = 0.005
"""Wikinews articles above it have lost linked words."""


def _json(path: Path) -> Iterator[dict[str, Any]]:
    return (json.loads(line) for line in lines(path))


def rows(path: Path) -> Iterator[list[str]]:
    """Fields of a tab-separated file, its heading left out."""
    content = lines(path)
    next(content, None)
    return (line.split("\t") for line in content)


def _paragraphs(text: str) -> Iterator[str]:
    return (line.strip() for line in text.split("\n") if len(line) > 40)


def articles(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """Title and paragraphs of each encyclopaedia article."""
    return ((article["title"], list(_paragraphs(article["text"]))) for article in _json(folder / "articles.jsonl.gz"))


def news(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """Headline and paragraphs of each story that has lost no words."""
    for article in _json(folder / "articles.jsonl.gz"):
        if article.get("gap_ratio", 1.0) <= MAX_GAP_RATIO:
            yield article["title"], list(_paragraphs(article["text"]))


def _wikipedia(folder: Path) -> Iterator[str]:
    return (paragraph for _, paragraphs in articles(folder) for paragraph in paragraphs)


def _wikinews(folder: Path) -> Iterator[str]:
    for title, paragraphs in news(folder):
        yield title
        yield from paragraphs


def _books(folder: Path) -> Iterator[str]:
    return (item["text"] for item in _json(folder / "paragraphs.jsonl.gz"))


def _jargon(folder: Path) -> Iterator[str]:
    return (item["text"] for item in _json(folder / "paragraphs.jsonl.gz") if item["src"] in ("foldoc", "jargon"))


def sgd_turns(folder: Path) -> Iterator[list[str]]:
    """Dialogues as lists of turns, the ``U:`` and ``S:`` marks removed."""
    for part in ("train", "dev", "test"):
        for dialogue in _json(folder / f"{part}.jsonl.gz"):
            yield [turn[2:].strip() for turn in dialogue["turns"]]


def topical_turns(folder: Path) -> Iterator[list[str]]:
    return (conversation["turns"] for conversation in _json(folder / "conversations.jsonl.gz"))


def _turns(dialogues: Callable[[Path], Iterator[list[str]]]) -> Callable[[Path], Iterator[str]]:
    return lambda folder: (turn for turns in dialogues(folder) for turn in turns)


def _columns(name: str, *columns: int) -> Callable[[Path], Iterator[str]]:
    return lambda folder: (row[c] for row in rows(folder / name) for c in columns if len(row) > c and row[c])


def _wordnet(folder: Path) -> Iterator[str]:
    for row in rows(folder / "glosses.tsv.gz"):
        yield f"{row[1]}: {row[2]}"
        yield from (example for example in (row[3].split(" || ") if len(row) > 3 else []) if example)


def _snli(folder: Path) -> Iterator[str]:
    for part in ("dev", "test"):
        yield from _columns(f"{part}.tsv.gz", 1, 2)(folder)


def _intents(*names: str) -> Callable[[Path], Iterator[str]]:
    return lambda folder: (text for name in names for text in _columns(name, 0)(folder))


def _climate(folder: Path) -> Iterator[str]:
    for claim in _json(folder / "claims.jsonl.gz"):
        yield claim["claim"]
        yield from (evidence["evidence"] for evidence in claim["evidences"])


READERS: dict[str, Callable[[Path], Iterator[str]]] = {
    "wikipedia_en_sample": _wikipedia,
    "wikinews_en": _wikinews,
    "books_sample": _books,
    "foldoc_jargon": _jargon,
    "sgd_dialogues": _turns(sgd_turns),
    "topical_chat": _turns(topical_turns),
    "medquad": _columns("qa.tsv.gz", 0, 1),
    "open_trivia_qa": _columns("qa.tsv.gz", 0),
    "wordnet31": _wordnet,
    "snli_devtest": _snli,
    "clinc150": _intents("train.tsv.gz", "val.tsv", "test.tsv"),
    "banking77": _intents("train.tsv.gz", "test.tsv"),
    "climate_fever": _climate,
    "wikisplit_ppdb": _columns("wikisplit.tsv.gz", 0),
}


def read(data: Path, name: str) -> Iterator[str]:
    """Texts of one training folder.

    Raises:
        KeyError: a folder that the licence rule does not list.
        FileNotFoundError: the folder is not there.
    """
    reader = READERS[name]
    folder = data / "train" / name
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is missing; --data names the folder that holds train/ and eval/")
    return reader(folder)
