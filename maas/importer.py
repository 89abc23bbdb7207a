"""Import of exported lines, all or none, in memory that does not grow with their number."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import IO, Any

import numpy as np
from pydantic import ValidationError

from maas.auditing import record
from maas.contexts import Contexts, context_space
from maas.embedders.protocol import Embedder, Vectors
from maas.errors import FieldError, InvalidInputError
from maas.idempotency import Repeatable
from maas.items import Vector, hash_of, indexed_text
from maas.recall.analysis import document_terms
from maas.records import HistoryEntry, ImportReport, Memory, Scope
from maas.redaction import Redactor
from maas.requests import invalid_input
from maas.storage.protocol import MemoryStore, WriteTransaction
from maas.storage.values import DocumentRow, NewMemory
from maas.storing import version_entry
from maas.transfer import DocumentLine, HeaderLine, MemoryFields, MemoryLine, VersionFields

PAGE = 500
"""Memories that are encoded and written together."""


@dataclass(frozen=True, slots=True)
class _Parsed:
    number: int
    line: MemoryLine
    vector: Vector | None
    context: Vector | None


@dataclass
class _Spool:
    """Lines that were found good, on disk; each with its number and the vector that it came without.

    Attributes:
        digest: of all lines, in order.
    """

    file: IO[bytes]
    digest: Any = field(default_factory=hashlib.sha256)

    def add(self, number: int, line: MemoryLine | DocumentLine, vector: Vector | None = None) -> None:
        made = None if vector is None else base64.b64encode(vector.astype("<f4").tobytes()).decode()
        kept = line.model_dump_json(exclude_unset=True).encode()
        self.digest.update(kept)
        self.file.write(f"{json.dumps([number, made])}\n".encode() + kept + b"\n")

    def read(self) -> Iterator[tuple[int, Vector | None, bytes]]:
        self.file.seek(0)
        while head := self.file.readline():
            number, made = json.loads(head)
            vector = None if made is None else np.frombuffer(base64.b64decode(made), "<f4")
            yield number, vector, self.file.readline()


class Importer:
    """Reads every line before it writes the first; sessions that came without vectors in context are read after.

    Args:
        folder: where lines wait between the two, in files without a name.
        redact: takes secrets out of a line, or refuses it; None leaves lines as they are.
    """

    def __init__(
        self,
        store: MemoryStore,
        encode: Callable[[Sequence[str]], Vectors],
        embedder: Embedder,
        tenant: str,
        actor: str,
        folder: Path,
        redact: Redactor | None = None,
    ) -> None:
        self._store = store
        self._encode = encode
        self._embedder = embedder
        self._tenant = tenant
        self._actor = actor
        self._folder = folder
        self._redact = redact

    def run(
        self,
        lines: Iterable[Mapping[str, Any]],
        user_id: str | None,
        now: datetime,
        idempotency_key: str | None = None,
    ) -> ImportReport:
        """Raises InvalidInputError, which names the line; nothing was written."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)  # on PostgreSQL nobody else has made it
        with ExitStack() as stack:
            documents, memories = (
                _Spool(stack.enter_context(tempfile.TemporaryFile(dir=self._folder))) for _ in range(2)
            )
            self._take(lines, user_id, documents, memories)
            operation = f"import {user_id} {documents.digest.hexdigest()} {memories.digest.hexdigest()}"
            repeatable = Repeatable(self._tenant, idempotency_key, operation, [])
            sessions: set[tuple[Scope, str]] = set()
            with self._store.write() as transaction:
                answered = repeatable.replay(transaction, now)
                if answered is not None:
                    return ImportReport.model_validate(answered)
                there: set[tuple[Scope, str | None]] = set()
                for _, _, raw in documents.read():
                    line = DocumentLine.model_validate_json(raw)
                    scope = Scope(self._tenant, user_id or line.document.user_id)
                    if not _add_document(transaction, scope, line, now):
                        there.add((scope, line.document.id))
                report, users = self._write(transaction, memories, user_id, now, sessions, there)
                repeatable.remember(transaction, users, report.model_dump(mode="json"), now)
        contexts = Contexts(self._store, self._embedder)
        for scope, session_id in sorted(sessions, key=str):
            contexts.settle(scope, session_id)
        return report

    def _take(
        self, lines: Iterable[Mapping[str, Any]], user_id: str | None, documents: _Spool, memories: _Spool
    ) -> None:
        """Check every line, encode what came without a vector, and keep all of it on disk."""
        parsed = self._parse(lines, documents)
        while page := list(islice(parsed, PAGE)):
            vectors = self._embed(page, user_id)
            for taken in page:
                memories.add(taken.number, taken.line, vectors.get(taken.number))

    def _write(
        self,
        transaction: WriteTransaction,
        memories: _Spool,
        user_id: str | None,
        now: datetime,
        sessions: set[tuple[Scope, str]],
        documents: Collection[tuple[Scope, str | None]],
    ) -> tuple[ImportReport, set[str]]:
        """``documents``: those that were there, whose passages are not for an import to add."""
        imported: Counter[Scope] = Counter()
        lines = reembedded = 0
        users: set[str] = set()
        superseders: dict[Scope, set[str]] = defaultdict(set)
        left: list[tuple[Scope, MemoryFields]] = []
        spooled = memories.read()
        while page := list(islice(spooled, PAGE)):
            by_scope: dict[Scope, list[tuple[_Parsed, Vector | None]]] = defaultdict(list)
            for number, made, raw in page:
                parsed = self._parsed(MemoryLine.model_validate_json(raw), number)
                by_scope[self._scope(parsed, user_id)].append((parsed, made))
            for scope, own in by_scope.items():
                lines += len(own)
                users.add(scope.user_id)
                ours = [(p, made) for p, made in own if (scope, p.line.memory.document_id) not in documents]
                new = self._insert(transaction, scope, ours, now)
                added = {parsed.line.memory.id for parsed in new}
                known = [parsed.line.memory for parsed, _ in ours if parsed.line.memory.id not in added]
                left += [(scope, memory) for memory in known if memory.superseded_by is not None]
                superseders[scope] |= {by for p in new if (by := p.line.memory.superseded_by) is not None}
                imported[scope] += len(new)
                reembedded += sum(parsed.vector is None for parsed in new)
                sessions |= {(scope, p.line.memory.session_id) for p, _ in own if p.line.memory.session_id}
        for scope, ids in superseders.items():  # of an export that was cut off, some may be missing
            for missing in ids - transaction.existing_ids(scope, ids):
                transaction.revive(scope, missing)
        for scope, memory in left:
            _supersede_again(transaction, scope, memory, now)
        for scope, count in imported.items():
            if count:
                record(transaction, scope.tenant, self._actor, "import", now, user_id=scope.user_id, count=count)
        done = imported.total()
        return ImportReport(imported=done, skipped=lines - done, reembedded=reembedded), users

    def _insert(
        self,
        transaction: WriteTransaction,
        scope: Scope,
        own: Sequence[tuple[_Parsed, Vector | None]],
        now: datetime,
    ) -> list[_Parsed]:
        """Those that were not there by their id."""
        there = transaction.existing_ids(scope, [parsed.line.memory.id for parsed, _ in own])
        new, rows = [], []
        for parsed, made in own:
            if parsed.line.memory.id in there:
                continue
            there.add(parsed.line.memory.id)
            vector = parsed.vector if parsed.vector is not None else made
            if vector is None:  # it was there when the lines were read, and has been deleted since
                (vector,) = self._encode([indexed_text(parsed.line.memory.text, parsed.line.memory.name)])
            new.append(parsed)
            rows.append(self._row(parsed, scope, vector, now))
        taken = transaction.by_key(scope, [row.memory.key for row in rows if row.memory.key is not None])
        _refuse_taken_keys(new, set(taken))
        seqs = transaction.insert(self._embedder.fingerprint, {scope: rows}).get(scope, [])
        if space := context_space(self._embedder):
            contexts = [(seq, p.context) for seq, p in zip(seqs, new, strict=True) if p.context is not None]
            transaction.place_vectors(scope, space, contexts)
        return new

    def _parse(self, lines: Iterable[Mapping[str, Any]], documents: _Spool) -> Iterator[_Parsed]:
        """The memories among the lines; documents go to their spool."""
        header, left = None, 0
        for number, raw in enumerate(lines):
            if not isinstance(raw, Mapping):
                raise _fault(f"lines.{number}", f"is a {type(raw).__name__}; expected a JSON object")
            model = HeaderLine if "maas_export" in raw else DocumentLine if "document" in raw else MemoryLine
            try:
                line = model.model_validate(dict(raw))
            except ValidationError as error:
                raise invalid_input(error, ("lines", str(number))) from None
            if self._redact is not None and not isinstance(line, HeaderLine):
                line = _redacted(line, f"lines.{number}", self._redact)
            if isinstance(line, HeaderLine):
                _refuse_cut_off(header, left)
                header, left = line, line.memories
            elif isinstance(line, DocumentLine):
                documents.add(number, line)
            else:
                left -= 1
                versions = [entry.version for entry in line.history]
                if len(set(versions)) < len(versions):
                    raise _fault(f"lines.{number}.history", "holds a version twice")
                if max(versions, default=0) > line.memory.version:
                    message = f"holds version {max(versions)} of a memory of version {line.memory.version}"
                    raise _fault(f"lines.{number}.history", message)
                yield self._parsed(line, number)
        _refuse_cut_off(header, left)

    def _parsed(self, line: MemoryLine, number: int) -> _Parsed:
        own = self._vector(line, number, self._embedder.fingerprint)
        return _Parsed(number, line, own, self._vector(line, number, context_space(self._embedder)))

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

    def _embed(self, page: Sequence[_Parsed], user_id: str | None) -> dict[int, Vector]:
        """Vectors by line number of what came without and is not stored yet."""
        bare: dict[Scope, list[_Parsed]] = defaultdict(list)
        for parsed in page:
            if parsed.vector is None:
                bare[self._scope(parsed, user_id)].append(parsed)
        missing: list[_Parsed] = []
        for scope, own in bare.items():
            with self._store.read() as transaction:
                there = transaction.existing_ids(scope, [parsed.line.memory.id for parsed in own])
            missing += [parsed for parsed in own if parsed.line.memory.id not in there]
        if not missing:
            return {}
        encoded = self._encode([indexed_text(p.line.memory.text, p.line.memory.name) for p in missing])
        return {parsed.number: vector for parsed, vector in zip(missing, encoded, strict=True)}

    def _scope(self, parsed: _Parsed, user_id: str | None) -> Scope:
        return Scope(self._tenant, user_id or parsed.line.memory.user_id)

    def _row(self, parsed: _Parsed, scope: Scope, vector: Vector, now: datetime) -> NewMemory:
        fields = parsed.line.memory
        memory = Memory(**{**fields.model_dump(), "user_id": scope.user_id})
        history = [
            HistoryEntry(
                **{**v.model_dump(), "memory_id": memory.id, "valid_from": v.valid_from or _said_at(v, memory)}
            )
            for v in parsed.line.history
        ]
        return NewMemory(
            memory=memory,
            text_hash=hash_of(memory),
            terms=document_terms(indexed_text(memory.text, memory.name)),
            vector=vector,
            stored_at=parsed.line.stored_at,
            history=history or [version_entry(memory, "ADD", now, self._actor)],
        )


def _redacted(line: MemoryLine | DocumentLine, place: str, redact: Redactor) -> MemoryLine | DocumentLine:
    """The line as it may be kept; the vectors of a text that was masked are left out, since they have read the rest."""
    kept = redact(line, place)
    if isinstance(line, MemoryLine) and isinstance(kept, MemoryLine):
        before, after = line.memory, kept.memory
        if (before.text, before.name) != (after.text, after.name):
            return kept.model_copy(update={"vectors": {}})
    elif isinstance(line, DocumentLine) and isinstance(kept, DocumentLine) and line.source != kept.source:
        raise _fault(
            f"{place}.source",
            "belongs to a document that is not read to its end, and holds what is masked here: passages would no longer"
            " fit; read it to its end where it comes from and export it again, or store its text here",
        )
    return kept


def _add_document(transaction: WriteTransaction, scope: Scope, line: DocumentLine, now: datetime) -> bool:
    """Whether it was not there."""
    row = _document_row(line, scope, now)
    if transaction.document(scope, row.id) is not None:
        return False
    if transaction.document_by_hash(scope, row.text_hash) is not None:
        raise _fault(f"document {row.id}", "has the text of another document of this user")
    transaction.add_document(scope, row, line.source)
    return True


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


def _supersede_again(transaction: WriteTransaction, scope: Scope, line: MemoryFields, now: datetime) -> None:
    """What was there, and current, is the past if it has been replaced since, and what replaced it is there now."""
    known = transaction.get(scope, line.id)
    if known is None or known.superseded_by is not None or known.version != line.version:
        return
    by, at = line.superseded_by, line.superseded_at
    if by is not None and at is not None and transaction.existing_ids(scope, [by]):
        transaction.supersede(scope, line.id, by, at, now)


def _said_at(version: VersionFields, memory: Memory) -> datetime:
    """The first version is of the time the memory is of; others, of when they were written."""
    return min(version.at, memory.created_at) if version.version == 1 else version.at


def _refuse_cut_off(header: HeaderLine | None, left: int) -> None:
    """Memories that the header counts are missing after it."""
    if header is not None and left > 0:
        message = (
            f"hold {header.memories - left} of the {header.memories} memories that the header of {header.user_id!r}"
            " counts: the export was cut off; export it again, or leave the header out to import what is there"
        )
        raise _fault("lines", message)


def _refuse_taken_keys(new: Sequence[_Parsed], taken: set[str]) -> None:
    for parsed in new:
        key = parsed.line.memory.key
        if key is not None and key in taken:
            raise _fault(f"lines.{parsed.number}.memory.key", f"{key!r} belongs to another memory of this user")
        if key is not None:
            taken.add(key)


def _fault(place: str, message: str) -> InvalidInputError:
    return InvalidInputError(f"{place} {message}", errors=[FieldError(place, message)])
