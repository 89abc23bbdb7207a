"""All that is kept of one user at once: erased, exported, imported."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from maas.auditing import record
from maas.embedders.protocol import Embedder, Vectors
from maas.errors import UnavailableError
from maas.fields import Identifier
from maas.ids import erased_id
from maas.importer import Importer
from maas.records import ErasureReceipt, ImportReport, Scope
from maas.redaction import Redactor
from maas.requests import Request, parse
from maas.settings import Settings
from maas.storage.protocol import MemoryStore
from maas.transfer import Exporter


class _User(Request):
    user_id: Identifier


class Portability:
    """The part of PersonalMemoryBrain by which a user's data comes and goes as a whole."""

    settings: Settings
    tenant: str
    actor: str
    _store: MemoryStore
    _embedder: Embedder
    _clock: Callable[[], datetime]
    _encode_all: Callable[[Sequence[str]], Vectors]
    _redact: Redactor | None

    def erase_user(self, user_id: str) -> ErasureReceipt:
        """Remove everything kept about a user, and say what it was. A user never seen is erased already."""
        user_id = parse(_User, {"user_id": user_id}).user_id
        now = self._clock()
        with self._store.write() as transaction:
            before, after = transaction.erase(Scope(self.tenant, user_id))
            receipt = ErasureReceipt(
                user_id=user_id, erased_at=now, before=before, after=after, backups=transaction.backups()
            )
            receipt = receipt.model_copy(update={"sha256": receipt.digest()})
            hidden = erased_id(self.tenant, user_id)
            record(
                transaction,
                self.tenant,
                self.actor,
                "erase",
                now,
                user_id=hidden,
                subject=receipt.sha256,
                count=before["memories"],
            )
        try:
            wiped = self._store.wipe()
        except UnavailableError:  # another process is writing; erased it is, and the next purge overwrites it
            wiped = False
        return receipt.model_copy(update={"wiped": wiped})

    def export_user(self, user_id: str) -> Iterator[dict[str, Any]]:
        """JSON-able lines, a header first: memories with their versions and vectors, on one snapshot."""
        user_id = parse(_User, {"user_id": user_id}).user_id
        return Exporter(self._store).lines(Scope(self.tenant, user_id), self._clock())

    def import_memories(
        self, lines: Iterable[Mapping[str, Any]], *, user_id: str | None = None, idempotency_key: str | None = None
    ) -> ImportReport:
        """Take in exported lines, all or none; ids that are already there are skipped.

        Every line is read, and kept on disk, before the first is written: any number of them fits into memory.

        Args:
            lines: of ``export_user``.
            user_id: whose they become; unset: the user they were exported from.

        Raises:
            InvalidInputError: names the line (``lines.3.text``) and what is wrong with it.
            IdempotencyConflictError: the key came with other lines before.
        """
        if user_id is not None:
            user_id = parse(_User, {"user_id": user_id}).user_id
        importer = Importer(
            self._store,
            self._encode_all,
            self._embedder,
            self.tenant,
            self.actor,
            self.settings.data_dir,
            self._redact,
        )
        return importer.run(lines, user_id, self._clock(), idempotency_key)
