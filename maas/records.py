"""What maas answers with. REST serialises these models, the SDK parses them back, the brain returns them."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Event = Literal["ADD", "UPDATE", "DELETE", "NONE"]
Mode = Literal["hybrid", "dense", "lexical"]
Dedupe = Literal["exact", "semantic", "off"]
Role = Literal["user", "assistant", "system", "tool"]
DocumentState = Literal["reading", "done", "interrupted", "failed"]
Outcome = Literal["done", "refused"]
KeyScope = Literal["read", "write", "admin"]

DEFAULT_TENANT = "default"


@dataclass(frozen=True, slots=True)
class Scope:
    """Whose memories: no query runs without both."""

    tenant: str
    user_id: str


class Record(BaseModel):
    """Base of all answers: immutable; a client ignores fields a newer server adds."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Memory(Record):
    """One memory as it stands now. All times are UTC."""

    id: str
    user_id: str
    text: str
    metadata: dict[str, Any] = Field(default_factory=dict)
    agent_id: str | None = None
    session_id: str | None = None
    role: Role | None = None
    name: str | None = Field(None, description="Who said it, for a turn of a conversation.")
    key: str | None = Field(None, description="The caller's own id; unique per user.")
    importance: float | None = None
    created_at: datetime = Field(description="When it was said; given by the caller, else the time of storing.")
    updated_at: datetime = Field(description="When its row last changed.")
    expires_at: datetime | None = None
    document_id: str | None = Field(None, description="The document this is a passage of.")
    start: int | None = Field(None, description="Where the passage begins in the document, in characters.")
    end: int | None = Field(None, description="Where it ends; the next passage begins there.")
    superseded_by: str | None = None
    superseded_at: datetime | None = Field(None, description="When what replaced it was said.")
    version: int = 1

    def same_as(self, other: Memory) -> bool:
        """Equal also in JSON, where ``true`` and ``1`` are two values; to Python they are one."""
        metadata = [json.dumps(memory.metadata, sort_keys=True) for memory in (self, other)]
        return self == other and metadata[0] == metadata[1]


class Similar(Record):
    """An existing memory close to the one being stored."""

    id: str
    score: float


class StoreResult(Record):
    """What became of one stored item."""

    id: str
    text: str
    event: Event
    similar: list[Similar] = Field(default_factory=list)


class StoreResponse(Record):
    results: list[StoreResult]


class SearchHit(Memory):
    """A recalled memory; ``score`` is in 0..1, higher is better, in every mode."""

    score: float
    before: str | None = Field(None, description="Of a passage: the text of the one before it.")
    after: str | None = Field(None, description="Of a passage: the text of the one after it.")
    explain: dict[str, float] | None = Field(
        None,
        description="When asked for: the log-odds of each part, and of the factors by which time, recency, importance"
        " and asking multiplied the odds.",
    )


class NamedPeriod(Record):
    """A time that the question names: from ``start`` up to, and without, ``end``."""

    phrase: str
    start: datetime
    end: datetime


class RecallResponse(Record):
    results: list[SearchHit]
    periods: list[NamedPeriod] = Field(default_factory=list, description="Times that the question names.")
    took_ms: float


class ContextLine(Record):
    """A memory that the block holds, in the block's order."""

    id: str
    score: float
    created_at: datetime
    cut: bool = Field(False, description="Whether only a part of its text had room.")


class ContextResponse(Record):
    """A block of memories to be put into a prompt; ``text`` is empty if nothing was found or had room."""

    text: str
    memories: list[ContextLine]
    tokens: int = Field(description="Estimated from the characters, without a tokenizer; see docs/api.md.")
    characters: int
    took_ms: float


class Page(Record):
    """One page of a list; ``next_cursor`` is null on the last."""

    results: list[Memory]
    next_cursor: str | None = None


class HistoryEntry(Record):
    """One version of a memory, with who wrote it and when."""

    memory_id: str
    version: int
    event: Event
    text: str
    metadata: dict[str, Any] = Field(default_factory=dict)
    importance: float | None = None
    expires_at: datetime | None = None
    at: datetime = Field(description="When it was written.")
    valid_from: datetime = Field(description="Since when it is what was known, in the time of what is remembered.")
    actor: str


class Document(Record):
    """A long text kept as passages, each a memory with this id as ``document_id`` and ``session_id``."""

    id: str
    user_id: str
    title: str | None = None
    metadata: dict[str, Any] = Field(default_factory=dict)
    agent_id: str | None = None
    importance: float | None = None
    created_at: datetime
    stored_at: datetime
    expires_at: datetime | None = None
    characters: int
    passages: int
    read_passages: int = Field(description="Passages that are embedded and can be recalled.")
    state: DocumentState = Field(description="interrupted: store it again, or start the server, and it is read on.")
    error: str | None = None
    vector: list[float] | None = Field(None, description="Of the whole document; only where one document is asked for.")


class DocumentPage(Record):
    results: list[Document]
    next_cursor: str | None = None


class History(Record):
    results: list[HistoryEntry]


class Deleted(Record):
    id: str
    event: Event = "DELETE"


class BackupRecord(Record):
    """A backup that was made of the whole database."""

    name: str = Field(description="Name of the file.")
    made_at: datetime


class ErasureReceipt(Record):
    """What belonged to the user before and after the erasure: rows by table, words indexed, vectors cached."""

    user_id: str
    erased_at: datetime
    before: dict[str, int]
    after: dict[str, int]
    backups: list[BackupRecord] = Field(
        default_factory=list, description="Made before, so they may still hold this user; delete or replace them."
    )
    sha256: str = Field("", description="Of the fields above, as canonical JSON; the audit log keeps it.")
    wiped: bool = Field(
        False, description="False: a reader still held old pages on disk; the next purge overwrites them."
    )

    def digest(self) -> str:
        """SHA-256 of the receipt's facts; equal to ``sha256`` unless somebody changed them."""
        facts = self.model_dump(mode="json", exclude={"sha256", "wiped"})
        return hashlib.sha256(json.dumps(facts, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


class PurgeReport(Record):
    """What a purge removed for good."""

    expired: int = Field(description="Memories past their expires_at.")
    audit_entries: int = Field(description="Audit entries older than audit.keep_days.")
    wiped: bool = Field(description="Whether nothing deleted is left on disk.")


class AuditEntry(Record):
    """Who did, or was refused, what. Never the text of a memory."""

    number: int = 0
    at: datetime
    actor: str = Field(description="Id of the key, or cli, embedded, local, upkeep.")
    action: str
    outcome: Outcome = "done"
    user_id: str | None = Field(None, description="An erased user's id is replaced by a digest of it.")
    subject: str | None = Field(None, description="Id of the one memory, key or receipt it was about.")
    count: int = 1


class AuditPage(Record):
    """Newest first."""

    results: list[AuditEntry]
    next_cursor: int | None = None


class ImportReport(Record):
    imported: int
    skipped: int = Field(description="Already there with the same id.")
    reembedded: int = Field(description="Came without a vector of this embedder and were encoded here.")


class ApiKey(Record):
    """A key without its secret."""

    id: str
    tenant: str
    name: str
    scopes: list[KeyScope]
    user_id: str | None = None
    created_at: datetime
    expires_at: datetime | None = None
    revoked_at: datetime | None = None


class NewApiKey(ApiKey):
    """A key just made: ``key`` is shown here once and stored nowhere."""

    key: str


class KeyList(Record):
    results: list[ApiKey]


class UserSummary(Record):
    """A user of a tenant, and how much is kept of them."""

    user_id: str
    memories: int = Field(description="Passages of documents included.")
    documents: int
    latest: datetime | None = Field(None, description="When the newest memory was said.")


class UserPage(Record):
    """By id; ``next_cursor`` is null on the last page."""

    results: list[UserSummary]
    next_cursor: str | None = None


class NewSession(Record):
    """Somebody has just signed in: ``token`` is told once, and its hash is kept."""

    token: str
    key: ApiKey
    expires_at: datetime


class Surroundings(Record):
    """What lies around a memory: the turns of its session before and after it, and the nearest in meaning."""

    before: list[Memory] = Field(default_factory=list, description="The earliest first.")
    after: list[Memory] = Field(default_factory=list)
    nearest: list[SearchHit] = Field(default_factory=list, description="``score`` is the cosine.")


class Place(Record):
    """A memory on a map: ``x`` and ``y`` are in -1..1."""

    x: float
    y: float
    memory: Memory


class Landscape(Record):
    """Memories laid out so that what is alike in meaning lies close."""

    places: list[Place] = Field(description="Newest first.")
    total: int = Field(description="Memories of the user; the places are the newest of them.")
    shown_variance: float = Field(description="The share of the differences in meaning that two axes can show.")


class ReindexStatus(Record):
    """Progress of re-embedding to the current embedder's fingerprint."""

    state: Literal["idle", "running", "interrupted", "done", "failed"]
    fingerprint: str = Field(description="The space recall answers from once done: the current embedder's.")
    done: int = Field(description="Memories that have a vector in that space.")
    total: int
    started_at: datetime | None = None
    finished_at: datetime | None = None
    error: str | None = None


class Embeddings(Record):
    """Answer of ``POST /encode``."""

    embeddings: list[list[float]]
    model: str
    dim: int
    fingerprint: str = Field(description="Identity of the vector space: vectors are comparable exactly if it is equal.")


class EncoderModel(Record):
    """One of ``GET /v1/models``: OpenAI's fields, and what another maas must know to encode here."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str
    fingerprint: str = Field(min_length=1)
    dim: int = Field(ge=1)
    max_tokens: int | None = Field(description="Tokens of a text that are read at most; null: all.")
    contextual: bool = Field(description="Whether texts can be read in their context.")
