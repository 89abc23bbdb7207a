"""Conversations and questions read from JSONL, plain or gzipped: the shapes of LoCoMo and BEAM as distributed here.

A document is one turn: ``conv_id``, ``doc_id``, ``text``; ``session`` or ``batch``; ``date`` or ``time_anchor``;
``speaker`` or ``role``; ``image_caption``. A query: ``conv_id``, ``qid``, ``question``, ``evidence`` (doc ids),
``category_name`` or ``category``.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from maas.errors import InvalidInputError
from maas.records import Role

DATE_FORMATS = (
    "%I:%M %p on %d %B, %Y",  # LoCoMo: 1:56 pm on 8 May, 2023
    "%B-%d-%Y",  # BEAM: March-15-2024
    "%B %d, %Y",
    "%d %B %Y",
    "%d %B, %Y",
    "%Y/%m/%d (%a) %H:%M",  # LongMemEval: 2023/05/20 (Sat) 02:21
    "%Y/%m/%d",
)
ROLES: dict[str, Role] = {"user": "user", "assistant": "assistant", "system": "system", "tool": "tool"}


@dataclass(frozen=True, slots=True)
class Turn:
    """One turn of a conversation, as it will be stored."""

    doc_id: str
    session: str
    text: str
    role: Role
    speaker: str | None
    said_at: datetime | None


@dataclass(frozen=True, slots=True)
class Question:
    qid: str
    text: str
    category: str
    evidence: frozenset[str]


@dataclass(frozen=True, slots=True)
class Conversation:
    conv_id: str
    turns: list[Turn] = field(default_factory=list)
    questions: list[Question] = field(default_factory=list)
    unanswerable: list[str] = field(default_factory=list)

    def sessions(self) -> dict[str, list[Turn]]:
        """Turns by session, in the order of the file."""
        sessions: dict[str, list[Turn]] = {}
        for turn in self.turns:
            sessions.setdefault(turn.session, []).append(turn)
        return sessions


@dataclass(frozen=True, slots=True)
class Dataset:
    """Conversations in file order, and what could not be used."""

    conversations: list[Conversation]
    without_evidence: int
    unknown_evidence: int
    unread_dates: int


def read_dataset(docs: Path, queries: Path, *, limit: int | None = None) -> Dataset:
    """Read both files; ``limit`` keeps the first conversations of the document file.

    Questions without evidence among the turns are counted and left out, as they have no score.

    Raises:
        InvalidInputError: a line that is no JSON object, a missing field, a doc id given twice, a query about an
            unknown conversation. The message names file and line.
    """
    conversations, unread_dates, known = _read_turns(docs, limit)
    without_evidence = unknown_evidence = 0
    for where, row in json_lines(queries):
        conv_id = str(_required(row, "conv_id", where))
        conversation = conversations.get(conv_id)
        if conversation is None:
            if conv_id not in known:
                raise InvalidInputError(f"{where}: conversation {conv_id!r} is not in {docs}")
            continue
        ids = {turn.doc_id for turn in conversation.turns}
        evidence = {str(doc_id) for doc_id in _required(row, "evidence", where)}
        unknown_evidence += len(evidence - ids)
        if not evidence & ids:
            without_evidence += 1
            if not evidence:
                conversation.unanswerable.append(str(_required(row, "question", where)))
            continue
        conversation.questions.append(
            Question(
                qid=str(row.get("qid", where)),
                text=str(_required(row, "question", where)),
                category=str(row.get("category_name") or row.get("category") or "all"),
                evidence=frozenset(evidence & ids),
            )
        )
    return Dataset(list(conversations.values()), without_evidence, unknown_evidence, unread_dates)


def _read_turns(docs: Path, limit: int | None) -> tuple[dict[str, Conversation], int, set[str]]:
    conversations: dict[str, Conversation] = {}
    seen: set[tuple[str, str]] = set()
    last_date: dict[str, datetime] = {}
    known: set[str] = set()
    unread = 0
    for where, row in json_lines(docs):
        conv_id, doc_id = str(_required(row, "conv_id", where)), str(_required(row, "doc_id", where))
        if (conv_id, doc_id) in seen:
            raise InvalidInputError(f"{where}: doc_id {doc_id!r} of {conv_id!r} was given before; expected it once")
        seen.add((conv_id, doc_id))
        if conv_id not in conversations:
            if limit is not None and len(conversations) >= limit:
                known.add(conv_id)
                continue
            conversations[conv_id] = Conversation(conv_id)
        if written := row.get("date") or row.get("time_anchor"):
            if said_at := parse_date(str(written)):
                last_date[conv_id] = said_at
            else:
                unread += 1
        speaker = row.get("speaker")
        conversations[conv_id].turns.append(
            Turn(
                doc_id=doc_id,
                session=str(row.get("session", row.get("batch", "1"))),
                text=_spoken(str(_required(row, "text", where)), row.get("image_caption")),
                role=ROLES.get(str(row.get("role", "user")), "user"),
                speaker=str(speaker) if speaker else None,
                # An anchor dates its turn and, until the next one, those after it.
                said_at=last_date.get(conv_id),
            )
        )
    if not conversations:
        raise InvalidInputError(f"{docs} holds no turn; expected one JSON object a line")
    return conversations, unread, known


def parse_date(written: str) -> datetime | None:
    """A date as the sets write it, taken as UTC; None if it is in no known form."""
    written = written.strip()
    try:
        parsed = datetime.fromisoformat(written)
        return parsed.replace(tzinfo=UTC) if parsed.tzinfo is None else parsed.astimezone(UTC)
    except ValueError:
        pass
    for form in DATE_FORMATS:
        try:
            return datetime.strptime(written, form).replace(tzinfo=UTC)
        except ValueError:
            continue
    return None


def _spoken(text: str, caption: str | None) -> str:
    return f"{text} [image: {caption}]" if caption else text


def _required(row: dict[str, Any], name: str, where: str) -> Any:
    if row.get(name) is None:
        raise InvalidInputError(f"{where}: has no {name!r}, only {', '.join(sorted(row))}")
    return row[name]


def json_lines(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Objects of a JSONL file, plain or gzipped, each with its place (``path:number``); empty lines are passed over.

    Raises:
        InvalidInputError: a file that cannot be read, or a line that is no JSON object.
    """
    opener = gzip.open if path.suffix == ".gz" else open
    try:
        with opener(path, "rt", encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                if not line.strip():
                    continue
                where = f"{path}:{number}"
                try:
                    row = json.loads(line)
                except ValueError as error:
                    raise InvalidInputError(f"{where}: no JSON ({error}); expected one object a line") from None
                if not isinstance(row, dict):
                    raise InvalidInputError(f"{where}: holds a {type(row).__name__}; expected an object")
                yield where, row
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise InvalidInputError(f"{path} cannot be read: {error}") from None
