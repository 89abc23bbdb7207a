"""MemoryStore on one SQLite file: the truth in tables, FAISS and turn tables as caches beside it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from maas.errors import MaasError, NotReadyError, StorageError
from maas.settings import Settings
from maas.storage.engine import make_engines, storage_errors, transaction
from maas.storage.migrate import upgrade
from maas.storage.reader import Caches
from maas.storage.sqlite_reader import SqliteReader
from maas.storage.sqlite_writer import SqliteWriter

_CHECKPOINT_PATIENCE_MS = 250
_CHECKPOINT_TRIES = 4
_MERGED_PAGES = 500


class SqliteStore:
    """Opens, and migrates, the database of ``settings``.

    Raises:
        ConfigError: the folder cannot be written, or the database is newer than this program.
    """

    def __init__(self, settings: Settings) -> None:
        self._reader, self._writer = make_engines(settings)
        self._write_lock = threading.Lock()
        self._closed = False
        self.caches = Caches.of(settings.storage.cache_bytes)
        try:
            with storage_errors():
                self.found_revision = upgrade(self._writer)
        except MaasError:
            self.close()
            raise

    @contextmanager
    def read(self) -> Iterator[SqliteReader]:
        self._refuse_closed()
        with storage_errors(), transaction(self._reader, "BEGIN") as opened:
            yield SqliteReader(opened, self.caches)

    @contextmanager
    def write(self) -> Iterator[SqliteWriter]:
        self._refuse_closed()
        with self._write_lock, storage_errors():
            with transaction(self._writer, "BEGIN IMMEDIATE") as opened:
                writer = SqliteWriter(opened, self.caches)
                yield writer
            # Only after the commit: a reader that saw the user's rows until then may use its cache until then.
            for number in writer.erased:
                self.caches.forget(number)

    def check_writable(self) -> None:
        try:
            with self.write() as writer:
                writer.touch()
        except MaasError as error:
            raise NotReadyError(f"the database takes no writes: {error.detail}", retry_after=1) from error

    def close(self) -> None:
        self._closed = True
        self.caches.clear()
        self._reader.dispose()
        self._writer.dispose()

    def _refuse_closed(self) -> None:
        if self._closed:
            raise StorageError("the store is closed; open a new PersonalMemoryBrain")

    def wipe(self) -> bool:
        with self.read() as reader:
            wanted = reader.wipe_wanted()
        if wanted is None:
            return True
        pages = -_MERGED_PAGES
        merging = True
        while merging:  # a transaction a step: others write in between
            with self.write() as writer:
                merging = writer.merge_words(pages)
            pages = _MERGED_PAGES
        emptied = any(self._empty_log() for _ in range(_CHECKPOINT_TRIES))
        if emptied:
            with self.write() as writer:
                writer.wiped(wanted)
        return emptied

    def _empty_log(self) -> bool:
        """Move the write-ahead log into the database. A reader of an older snapshot keeps it from being emptied."""
        with self._write_lock, storage_errors():
            connection = self._writer.raw_connection()
            try:
                cursor = connection.cursor()
                (patience,) = cursor.execute("PRAGMA busy_timeout").fetchone()
                cursor.execute(f"PRAGMA busy_timeout={_CHECKPOINT_PATIENCE_MS}")
                busy, _, _ = cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
                cursor.execute(f"PRAGMA busy_timeout={patience}")
                cursor.close()
            finally:
                connection.close()
        return not busy
