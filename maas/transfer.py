"""Export and import of one user: JSON lines that carry everything, so that a memory survives a move.

{"maas_export": 1, "user_id": …, "exported_at": …, "memories": n}
{"document": {…}, "text_hash": …, "source": text or null, "vectors": {…}}
{"memory": {…}, "stored_at": …, "history": [{…}], "vectors": {fingerprint: base64 of little-endian float16}}
"""

from __future__ import annotations

import base64
import binascii
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import Field, ValidationError, model_validator

from maas.auditing import record
from maas.contexts import Contexts, context_space
from maas.embedders.protocol import Embedder, Vectors
from maas.errors import FieldError, InvalidInputError
from maas.idempotency import Repeatable
from maas.items import Vector, indexed_text, text_hash
from maas.recall.analysis import document_terms
from maas.records import Event, HistoryEntry, ImportReport, Memory, Role, Scope
from maas.requests import DocumentText, Identifier, MemoryText, Metadata, Request, Share, Timestamp, invalid_input
from maas.storage.protocol import DocumentRow, Exported, MemoryStore, NewMemory, WriteTransaction
from maas.storing import version_entry

FORMAT = 1
_PAGE = 500


class HeaderLine(Request):
    maas_export: Literal[1]
    user_id: Identifier
    exported_at: Timestamp
    memories: int = Field(ge=0)


class MemoryFields(Request):
    id: Identifier
    user_id: Identifier
    text: MemoryText
    metadata: Metadata = Field(default_factory=dict)
    agent_id: Identifier | None = None
    session_id: Identifier | None = None
    role: Role | None = None
    name: Identifier | None = None
    key: Identifier | None = None
    importance: Share | None = None
    created_at: Timestamp
    updated_at: Timestamp
    expires_at: Timestamp | None = None
    superseded_by: Identifier | None = None
    superseded_at: Timestamp | None = None
    document_id: Identifier | None = None
    start: int | None = Field(None, ge=0, lt=2**63)
    end: int | None = Field(None, ge=0, lt=2**63)
    version: int = Field(1, ge=1, lt=2**31)


class DocumentFields(Request):
    id: Identifier
    user_id: Identifier
    title: Identifier | None = None
    metadata: Metadata = Field(default_factory=dict)
    agent_id: Identifier | None = None
    importance: Share | None = None
    created_at: Timestamp
    stored_at: Timestamp
    expires_at: Timestamp | None = None
    characters: int = Field(ge=1)
    passages: int = Field(ge=1)
    read_passages: int = Field(ge=0)
    state: Literal["reading", "done"]


class DocumentLine(Request):
    """``source``: the whole text, while it is not read to its end; ``vectors``: of the whole document."""

    document: DocumentFields
    text_hash: Annotated[str, Field(pattern="^[0-9a-f]{32}$")]
    source: DocumentText | None = None
    vectors: dict[str, str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _readable(self) -> Self:
        if (self.source is None) == (self.document.state == "reading"):
            raise ValueError("a document has its source exactly while it is being read")
        return self


class VersionFields(Request):
    memory_id: Identifier
    version: int = Field(ge=1, lt=2**31)
    event: Event
    text: MemoryText
    metadata: Metadata = Field(default_factory=dict)
    importance: Share | None = None
    expires_at: Timestamp | None = None
    at: Timestamp
    valid_from: Timestamp | None = None
    actor: Identifier


class MemoryLine(Request):
    memory: MemoryFields
    stored_at: Timestamp
    history: list[VersionFields] = Field(default_factory=list)
    vectors: dict[str, str] = Field(default_factory=dict)


class Exporter:
    """Reads one user on one snapshot, a page at a time."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store

    def lines(self, scope: Scope, now: datetime) -> Iterator[dict[str, Any]]:
        with self._store.read() as transaction:
            # The first question fixes the snapshot that the header and every page are read from.
            count = transaction.coverage(scope, "").memories
            header = {"maas_export": FORMAT, "user_id": scope.user_id, "exported_at": now, "memories": count}
            yield HeaderLine.model_validate(header).model_dump(mode="json")
            after = ""
            while documents := transaction.documents(scope, _PAGE, after):
                for row in documents:
                    yield _document_line(row, transaction.document_source(scope, row.id))
                after = documents[-1].id
            after = ""
            while page := transaction.export(scope, after, _PAGE):
                yield from map(_line, page)
                after = page[-1].memory.id


@dataclass(frozen=True, slots=True)
class _Parsed:
    number: int
    line: MemoryLine
    vector: Vector | None
    context: Vector | None


class Importer:
    """Reads every line before it writes the first; sessions that came without vectors in context are read after."""

    def __init__(
        self,
        store: MemoryStore,
        encode: Callable[[Sequence[str]], Vectors],
        embedder: Embedder,
        tenant: str,
        actor: str,
    ) -> None:
        self._store = store
        self._encode = encode
        self._embedder = embedder
        self._tenant = tenant
        self._actor = actor

    def run(
        self,
        lines: Iterable[Mapping[str, Any]],
        user_id: str | None,
        now: datetime,
        idempotency_key: str | None = None,
    ) -> ImportReport:
        """Raises InvalidInputError, which names the line; nothing was written."""
        by_scope: dict[Scope, list[_Parsed]] = defaultdict(list)
        documents: list[tuple[Scope, DocumentLine]] = []
        for parsed in self._parse(lines):
            if isinstance(parsed, DocumentLine):
                documents.append((Scope(self._tenant, user_id or parsed.document.user_id), parsed))
            else:
                by_scope[Scope(self._tenant, user_id or parsed.line.memory.user_id)].append(parsed)
        sent = [parsed.line for own in by_scope.values() for parsed in own] if idempotency_key else []
        repeatable = Repeatable(self._tenant, idempotency_key, f"import {user_id}", sent)
        vectors = self._embed(by_scope)
        imported = skipped = reembedded = 0
        with self._store.write() as transaction:
            answered = repeatable.replay(transaction, now)
            if answered is not None:
                return ImportReport.model_validate(answered)
            _add_documents(transaction, documents, now)
            for scope, own in by_scope.items():
                there = transaction.existing_ids(scope, [parsed.line.memory.id for parsed in own])
                rows, contexts = [], []
                for parsed in own:
                    if parsed.line.memory.id in there:
                        skipped += 1
                        continue
                    there.add(parsed.line.memory.id)
                    reembedded += parsed.vector is None
                    rows.append(self._row(parsed, scope, vectors[parsed.number], now))
                    contexts.append(parsed.context)
                taken = transaction.by_key(scope, [row.memory.key for row in rows if row.memory.key is not None])
                _refuse_taken_keys(own, rows, set(taken))
                seqs = transaction.insert(scope, self._embedder.fingerprint, rows)
                if space := context_space(self._embedder):
                    read = [(s, vector) for s, vector in zip(seqs, contexts, strict=True) if vector is not None]
                    transaction.place_vectors(scope, space, read)
                if rows:
                    record(
                        transaction, scope.tenant, self._actor, "import", now, user_id=scope.user_id, count=len(rows)
                    )
                imported += len(rows)
            report = ImportReport(imported=imported, skipped=skipped, reembedded=reembedded)
            users = {scope.user_id for scope in by_scope}
            repeatable.remember(transaction, users, report.model_dump(mode="json"), now)
        contexts_of = Contexts(self._store, self._embedder)
        for scope, own in by_scope.items():
            for session_id in sorted({p.line.memory.session_id for p in own if p.line.memory.session_id}):
                contexts_of.settle(scope, session_id)
        return report

    def _parse(self, lines: Iterable[Mapping[str, Any]]) -> Iterator[_Parsed | DocumentLine]:
        for number, raw in enumerate(lines):
            if not isinstance(raw, Mapping):
                raise _fault(f"lines.{number}", f"is a {type(raw).__name__}; expected a JSON object")
            model = HeaderLine if "maas_export" in raw else DocumentLine if "document" in raw else MemoryLine
            try:
                line = model.model_validate(dict(raw))
            except ValidationError as error:
                raise invalid_input(error, ("lines", str(number))) from None
            if isinstance(line, DocumentLine):
                yield line
            elif isinstance(line, MemoryLine):
                own = self._vector(line, number, self._embedder.fingerprint)
                yield _Parsed(number, line, own, self._vector(line, number, context_space(self._embedder)))

    def _vector(self, line: MemoryLine, number: int, space: str | None) -> Vector | None:
        """The line's vector in a space, if it brings one."""
        encoded = None if space is None else line.vectors.get(space)
        if encoded is None:
            return None
        place, size = f"lines.{number}.vectors", 2 * self._embedder.dim
        try:
            blob = base64.b64decode(encoded, validate=True)
        except (binascii.Error, ValueError):
            raise _fault(place, "is no base64") from None
        if len(blob) != size:
            raise _fault(place, f"has {len(blob)} bytes; expected {size}, {self._embedder.dim} float16 numbers")
        vector = np.frombuffer(blob, "<f2").astype(np.float32)
        if not np.isfinite(vector).all() or not 0.9 < float(np.linalg.norm(vector)) < 1.1:
            raise _fault(place, "is no unit vector; export it again, or leave it out to have it encoded here")
        return vector

    def _embed(self, by_scope: Mapping[Scope, Sequence[_Parsed]]) -> dict[int, Vector]:
        """Vectors by line number; encodes what came without and is not stored yet."""
        vectors = {p.number: p.vector for own in by_scope.values() for p in own if p.vector is not None}
        missing: list[_Parsed] = []
        for scope, own in by_scope.items():
            with self._store.read() as transaction:
                there = transaction.existing_ids(scope, [parsed.line.memory.id for parsed in own])
            missing += [p for p in own if p.vector is None and p.line.memory.id not in there]
        if missing:
            encoded = self._encode([indexed_text(p.line.memory.text, p.line.memory.name) for p in missing])
            vectors.update((p.number, vector) for p, vector in zip(missing, encoded, strict=True))
        return vectors

    def _row(self, parsed: _Parsed, scope: Scope, vector: Vector, now: datetime) -> NewMemory:
        fields = parsed.line.memory
        memory = Memory(**{**fields.model_dump(), "user_id": scope.user_id})
        history = [
            HistoryEntry(**{**v.model_dump(), "memory_id": memory.id, "valid_from": v.valid_from or v.at})
            for v in parsed.line.history
        ]
        if len({entry.version for entry in history}) < len(history):
            raise _fault(f"lines.{parsed.number}.history", "holds a version twice")
        return NewMemory(
            memory=memory,
            text_hash=text_hash(memory.text, memory.role, memory.name, memory.agent_id, memory.session_id),
            terms=document_terms(indexed_text(memory.text, memory.name)),
            vector=vector,
            stored_at=parsed.line.stored_at,
            history=history or [version_entry(memory, "ADD", now, self._actor)],
        )


def _document_line(row: DocumentRow, source: str | None) -> dict[str, Any]:
    kept = {name: getattr(row, name) for name in DocumentFields.model_fields}
    whole = {} if row.vector is None else {str(row.fingerprint): base64.b64encode(row.vector).decode()}
    line = {"document": kept, "text_hash": row.text_hash.hex(), "source": source, "vectors": whole}
    return DocumentLine.model_validate(line).model_dump(mode="json")


def _add_documents(
    transaction: WriteTransaction, documents: Sequence[tuple[Scope, DocumentLine]], now: datetime
) -> None:
    for scope, line in documents:
        row = _document_row(line, scope, now)
        if transaction.document(scope, row.id) is None:
            if transaction.document_by_hash(scope, row.text_hash) is not None:
                raise _fault(f"document {row.id}", "has the text of another document of this user")
            transaction.tag(scope)
            transaction.add_document(scope, row, line.source)


def _document_row(line: DocumentLine, scope: Scope, now: datetime) -> DocumentRow:
    fingerprint, vector = next(iter(line.vectors.items()), (None, None))
    return DocumentRow(
        **{**line.document.model_dump(), "user_id": scope.user_id},
        text_hash=bytes.fromhex(line.text_hash),
        error=None,
        beat_at=now,
        runner=None,
        fingerprint=fingerprint,
        vector=None if vector is None else base64.b64decode(vector),
    )


def _line(exported: Exported) -> dict[str, Any]:
    return {
        "memory": exported.memory.model_dump(mode="json"),
        "stored_at": exported.stored_at.isoformat().replace("+00:00", "Z"),
        "history": [entry.model_dump(mode="json") for entry in exported.history],
        "vectors": {
            fingerprint: base64.b64encode(vector.astype("<f2").tobytes()).decode()
            for fingerprint, vector in exported.vectors.items()
        },
    }


def _refuse_taken_keys(own: Sequence[_Parsed], rows: Sequence[NewMemory], taken: set[str]) -> None:
    numbers = {parsed.line.memory.id: parsed.number for parsed in reversed(own)}
    for row in rows:
        key = row.memory.key
        if key is not None and key in taken:
            place = f"lines.{numbers[row.memory.id]}.memory.key"
            raise _fault(place, f"{key!r} belongs to another memory of this user")
        if key is not None:
            taken.add(key)


def _fault(place: str, message: str) -> InvalidInputError:
    return InvalidInputError(f"{place} {message}", errors=[FieldError(place, message)])
