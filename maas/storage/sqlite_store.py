"""MemoryStore on one SQLite file: the truth in tables, FAISS and turn tables as caches beside it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from maas.errors import MaasError
from maas.settings import Settings
from maas.storage.engine import make_engines, storage_errors, transaction
from maas.storage.migrate import upgrade
from maas.storage.reader import Caches
from maas.storage.sqlite_reader import SqliteReader
from maas.storage.sqlite_writer import SqliteWriter
from maas.storage.store import Store

_CHECKPOINT_PATIENCE_MS = 250
_CHECKPOINT_TRIES = 4
_MERGED_PAGES = 500


class SqliteStore(Store[SqliteReader, SqliteWriter]):
    """Opens, and migrates, the database of ``settings``.

    Raises:
        ConfigError: the folder cannot be written, or the database is newer than this program.
    """

    def __init__(self, settings: Settings) -> None:
        super().__init__(Caches.of(settings.storage.cache_bytes))
        self._reader, self._writer = make_engines(settings)
        self._write_lock = threading.Lock()
        self._exact_up_to = settings.storage.exact_up_to
        try:
            with storage_errors():
                self.found_revision = upgrade(self._writer)
        except MaasError:
            self.close()
            raise

    @contextmanager
    def _reading(self) -> Iterator[SqliteReader]:
        with storage_errors(), transaction(self._reader, "BEGIN") as opened:
            yield SqliteReader(opened, self.caches, self._exact_up_to)

    @contextmanager
    def _writing(self) -> Iterator[SqliteWriter]:
        with self._write_lock, storage_errors(), transaction(self._writer, "BEGIN IMMEDIATE") as opened:
            yield SqliteWriter(opened, self.caches, self._exact_up_to)

    def _dispose(self) -> None:
        self._reader.dispose()
        self._writer.dispose()

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
