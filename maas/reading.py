"""Reading a document: one pass over its passages, written as it goes, and taken up again where it stopped.

Every CHECKPOINT passages one transaction writes those that are settled together with the encoder's state, so a kill
costs what was read since. Whoever reads puts a name on the document first; a reader that finds another's name, or no
document, stops.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

import numpy as np

from maas.embedders.passages import PassageReader, SeparateReader, passage_reader
from maas.embedders.protocol import Embedder, Vectors
from maas.errors import ConflictError, NotFoundError
from maas.items import hash_of
from maas.recall.analysis import document_terms
from maas.recall.passages import passages
from maas.records import Document, Memory, Scope
from maas.storage.protocol import MemoryStore, WriteTransaction
from maas.storage.values import DocumentRow, NewMemory, Unembedded
from maas.storing import version_entry

CHECKPOINT = 64
STALE = timedelta(minutes=2)

Progress = Callable[[Document], None]


class Reading:
    """Reads documents of one embedder for one actor."""

    def __init__(
        self,
        store: MemoryStore,
        embedder: Embedder,
        clock: Callable[[], datetime],
        new_id: Callable[[], str],
        actor: str,
    ) -> None:
        self._store = store
        self._embedder = embedder
        self._clock = clock
        self._new_id = new_id
        self._actor = actor

    def run(self, scope: Scope, document_id: str, on_progress: Progress | None = None) -> None:
        """Read on to the end.

        Raises:
            ConflictError: another reader is at it.
            NotFoundError: the document is gone, or was deleted meanwhile.
        """
        runner = self._new_id()
        row, text = self._claim(scope, document_id, runner)
        if text is None:
            return
        try:
            self._read(scope, row, text, runner, on_progress)
        except BaseException as error:
            self._release(scope, document_id, runner, None if isinstance(error, KeyboardInterrupt) else error)
            raise

    def describe(self, row: DocumentRow) -> Document:
        stopped = row.state == "reading" and (row.runner is None or self._clock() - row.beat_at > STALE)
        known = {name: getattr(row, name) for name in Document.model_fields if name not in ("state", "vector")}
        return Document(**known, state="interrupted" if stopped else row.state)

    def _claim(self, scope: Scope, document_id: str, runner: str) -> tuple[DocumentRow, str | None]:
        with self._store.write() as transaction:
            row = _present(transaction.document(scope, document_id), document_id)
            if row.state == "done":
                return row, None
            if self.describe(row).state == "reading":
                raise ConflictError(f"the document {document_id} is being read; ask for it to see how far")
            now = self._clock()
            transaction.change_document(scope, document_id, runner=runner, beat_at=now, error=None)
            return row, transaction.document_source(scope, document_id)

    def _release(self, scope: Scope, document_id: str, runner: str, error: BaseException | None) -> None:
        with self._store.write() as transaction:
            row = transaction.document(scope, document_id)
            if row is not None and row.runner == runner:
                reason = None if error is None else f"{type(error).__name__}: {error}"
                transaction.change_document(scope, document_id, runner=None, error=reason)

    def _read(self, scope: Scope, row: DocumentRow, text: str, runner: str, on_progress: Progress | None) -> None:
        spans = list(passages(text))
        reader, given, settled = self._reader(scope, row)
        while settled < len(spans):
            chunk = spans[given : given + CHECKPOINT]
            vectors = reader.read([text[start:end] for start, end in chunk])
            given += len(chunk)
            if given == len(spans):
                vectors = np.concatenate([vectors, reader.finish()])
            fresh = [
                self._row(row, text, spans[index], vector)
                for index, vector in enumerate(vectors, settled)
                if index >= row.read_passages  # else it was written before, and is read for what comes after it
            ]
            settled += len(vectors)
            with self._store.write() as transaction:
                current = _present(transaction.document(scope, row.id), row.id)
                if current.runner != runner:
                    raise ConflictError(f"the document {row.id} is being read by another process now")
                self._write(transaction, scope, current, fresh, reader, done=settled == len(spans))
            if on_progress is not None:
                with self._store.read() as reading:
                    on_progress(self.describe(_present(reading.document(scope, row.id), row.id)))

    def _reader(self, scope: Scope, row: DocumentRow) -> tuple[PassageReader, int, int]:
        """A reader, how many passages it has been given, and how many of these are settled."""
        if row.fingerprint == self._embedder.fingerprint:
            with self._store.read() as transaction:
                state = transaction.encoder_state(scope, row.id)
            if state:
                with suppress(ValueError):  # a state that is broken costs one reading from the start
                    reader = passage_reader(self._embedder, state)
                    return reader, row.read_passages + reader.pending, row.read_passages
        reader = passage_reader(self._embedder, None)
        done = row.read_passages if isinstance(reader, SeparateReader) else 0
        return reader, done, done

    def _write(
        self,
        transaction: WriteTransaction,
        scope: Scope,
        row: DocumentRow,
        fresh: list[NewMemory],
        reader: PassageReader,
        *,
        done: bool,
    ) -> None:
        fingerprint = self._embedder.fingerprint
        tag = transaction.tag(scope)
        named = [_as_kept(new, tag + self._new_id(), row.expires_at) for new in fresh]
        transaction.insert(fingerprint, {scope: named})
        changes: dict[str, Any] = {
            "read_passages": row.read_passages + len(fresh),
            "beat_at": self._clock(),
            "fingerprint": fingerprint,
        }
        if not done:
            transaction.change_document(scope, row.id, encoder_state=reader.state(), **changes)
            return
        transaction.drop_source(scope, row.id)
        vectors, lengths = transaction.passage_vectors(scope, row.id, fingerprint)
        # Passages that another encoder has read have no vector here yet: a reindex makes them, and this one.
        whole_here = len(vectors) == row.passages
        vector = _whole(vectors, lengths) if whole_here else None
        changes["fingerprint"] = fingerprint if whole_here else None
        whole = None if vector is None else vector.astype("<f2").tobytes()
        transaction.change_document(
            scope, row.id, state="done", encoder_state=None, runner=None, vector=whole, **changes
        )

    def _row(self, row: DocumentRow, text: str, span: tuple[int, int], vector: Vectors) -> NewMemory:
        start, end = span
        now = self._clock()
        memory = Memory(
            id="",
            user_id=row.user_id,
            text=text[start:end],
            metadata=row.metadata,
            agent_id=row.agent_id,
            session_id=row.id,
            importance=row.importance,
            created_at=row.created_at,
            updated_at=now,
            expires_at=row.expires_at,
            document_id=row.id,
            start=start,
            end=end,
        )
        said = hash_of(memory)
        history = [version_entry(memory, "ADD", now, self._actor)]
        return NewMemory(memory, said, document_terms(memory.text), vector, now, history)


def read_again(
    store: MemoryStore, embedder: Embedder, scope: Scope, row: DocumentRow, on_checkpoint: Callable[[], None]
) -> None:
    """Give the passages of a document that was read with another embedder their vectors, in one pass."""
    with store.read() as transaction:
        rows = [Unembedded(seq, memory) for seq, memory in transaction.passages(scope, row.id)]
    reader = passage_reader(embedder, None)
    settled = 0
    for start in range(0, len(rows), CHECKPOINT):
        vectors = reader.read([one.memory.text for one in rows[start : start + CHECKPOINT]])
        if start + CHECKPOINT >= len(rows):
            vectors = np.concatenate([vectors, reader.finish()])
        with store.write() as transaction:
            chosen = rows[settled : settled + len(vectors)]
            transaction.add_vectors(scope, embedder.fingerprint, list(zip(chosen, vectors, strict=True)))
        settled += len(vectors)
        on_checkpoint()
    with store.write() as transaction:
        vector = _whole(*transaction.passage_vectors(scope, row.id, embedder.fingerprint))
        whole = None if vector is None else vector.astype("<f2").tobytes()
        transaction.change_document(scope, row.id, vector=whole, fingerprint=embedder.fingerprint)


def _as_kept(new: NewMemory, memory_id: str, until: datetime | None) -> NewMemory:
    memory = new.memory.model_copy(update={"id": memory_id, "expires_at": until})
    history = [entry.model_copy(update={"memory_id": memory_id}) for entry in new.history]
    return NewMemory(memory, new.text_hash, new.terms, new.vector, new.stored_at, history)


def _whole(vectors: Vectors, characters: Vectors) -> Vectors | None:
    """Of a whole document: the mean of its passages' vectors (n, dim) by their lengths (n,), of unit length."""
    if not len(vectors):
        return None
    mean = (vectors * characters[:, None]).sum(axis=0)
    whole: Vectors = mean / max(float(np.linalg.norm(mean)), 1e-12)
    return whole


def _present(row: DocumentRow | None, document_id: str) -> DocumentRow:
    if row is None:
        raise NotFoundError(f"there is no document {document_id[:100]!a} here")
    return row
