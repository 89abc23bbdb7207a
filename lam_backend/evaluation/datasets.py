"""The evaluation sets as they lie on disk: collections with judgements, conversations, meetings, books."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lam_backend.evaluation.sts import Pairs, read_pairs
from lam_backend.text_file import lines

STS_YEARS = (12, 13, 14, 15)


@dataclass(frozen=True, slots=True)
class Collection:
    """Documents, queries, and for each query its relevant documents (index → grade > 0)."""

    documents: list[str]
    queries: list[str]
    relevant: list[dict[int, float]]


@dataclass(slots=True)
class Conversation:
    """Sessions of turns; questions about them with the indices of the turns that answer them (over all sessions)."""

    name: str
    sessions: list[list[str]] = field(default_factory=list)
    questions: list[str] = field(default_factory=list)
    relevant: list[dict[int, float]] = field(default_factory=list)

    @property
    def turns(self) -> list[str]:
        return [turn for session in self.sessions for turn in session]


@dataclass(frozen=True, slots=True)
class Meeting:
    """Turns of one meeting; queries with the inclusive ranges of turns that answer them."""

    name: str
    turns: list[str]
    queries: list[tuple[str, list[tuple[int, int]]]]


def existing(path: Path) -> Path:
    """``path`` or its .gz.

    Raises:
        FileNotFoundError: neither is there.
    """
    for candidate in (path, path.with_name(path.name + ".gz")):
        if candidate.is_file():
            return candidate
    raise FileNotFoundError(f"{path} is missing (with or without .gz); --data names the folder that holds eval/")


def read_stsb(data: Path, split: str) -> Pairs:
    """STS benchmark, English; split is train, dev or test."""
    return read_pairs(existing(data / "eval" / "stsb" / f"en_{split}.tsv"))


def read_sts_year(data: Path, year: int) -> Pairs:
    """SemEval STS of 2012 … 2015: rows ``subset score sentence1 sentence2``, all subsets together."""
    return read_pairs(existing(data / "eval" / "sts12-15" / f"sts{year}.tsv"), first_column=1)


def read_collection(folder: Path, judgements: str) -> Collection:
    """corpus.jsonl, queries.jsonl and a table ``query-id corpus-id score``; only judged queries are kept.

    A document is its title and text; a text that begins with its title is taken alone.
    """
    ids: dict[str, int] = {}
    documents: list[str] = []
    for row in _json(folder / "corpus.jsonl"):
        ids[row["_id"]] = len(documents)
        title, text = row.get("title") or "", row["text"]
        documents.append(text if text.startswith(title) else f"{title} {text}")
    grades: dict[str, dict[int, float]] = {}
    for number, line in enumerate(lines(existing(folder / judgements)), 1):
        fields = line.split("\t")
        if number == 1 and fields[0] == "query-id":
            continue
        if len(fields) != 3 or fields[1] not in ids:
            raise ValueError(f"{folder / judgements}:{number} is {line!r}; expected query-id, known corpus-id, score")
        if float(fields[2]) > 0:
            grades.setdefault(fields[0], {})[ids[fields[1]]] = float(fields[2])
    texts = {row["_id"]: row["text"] for row in _json(folder / "queries.jsonl")}
    return Collection(documents, [texts[query] for query in grades], list(grades.values()))


def read_locomo(data: Path) -> list[Conversation]:
    """LoCoMo by turns, ``Speaker: text [image: caption]``; questions without evidence are left out."""
    folder = data / "eval" / "locomo"
    conversations: dict[str, Conversation] = {}
    places: dict[tuple[str, str], int] = {}
    session: dict[str, Any] = {}
    for row in _json(folder / "docs.jsonl"):
        name = row["conv_id"]
        conversation = conversations.setdefault(name, Conversation(name))
        if session.get(name) != row["session"]:
            session[name] = row["session"]
            conversation.sessions.append([])
        places[name, row["doc_id"]] = sum(map(len, conversation.sessions))
        caption = row.get("image_caption")
        spoken = f"{row['text']} [image: {caption}]" if caption else row["text"]
        conversation.sessions[-1].append(f"{row['speaker']}: {spoken}")
    for row in _json(folder / "queries.jsonl"):
        name = row["conv_id"]
        evidence = {places[name, turn]: 1.0 for turn in row["evidence"] if (name, turn) in places}
        if evidence:
            conversations[name].questions.append(row["question"])
            conversations[name].relevant.append(evidence)
    return list(conversations.values())


def read_qmsum(data: Path, split: str = "test") -> list[Meeting]:
    """QMSum's meetings of one split with their specific queries."""
    folder = data / "eval" / "qmsum"
    queries: dict[str, list[tuple[str, list[tuple[int, int]]]]] = {}
    for row in _json(folder / "queries.jsonl"):
        if row["split"] == split and row.get("spans"):
            spans = [(int(first), int(last)) for first, last in row["spans"]]
            queries.setdefault(row["meeting"], []).append((row["query"], spans))
    found = [row for row in _json(folder / "meetings.jsonl") if row["split"] == split and row["meeting"] in queries]
    return [Meeting(row["meeting"], row["turns"], queries[row["meeting"]]) for row in found]


def book_files(data: Path) -> list[Path]:
    """The whole books, by name."""
    folder = data / "eval" / "long_books"
    books = sorted(path for path in folder.glob("*.txt*") if path.name != "SOURCE.txt")
    if not books:
        raise FileNotFoundError(f"{folder} holds no book (*.txt, *.txt.gz); --data names the folder that holds eval/")
    return books


def read_book(path: Path) -> str:
    return "\n".join(lines(path))


def _json(path: Path) -> Iterator[dict[str, Any]]:
    return (json.loads(line) for line in lines(existing(path)) if line)
