"""Backup of the whole database while it is in use, and its return; both proved by hash and by recall."""

from __future__ import annotations

import hashlib
import os
import shutil
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError
from sqlalchemy import make_url

from maas.auditing import record
from maas.doctor.proof import prove
from maas.errors import ConfigError, ConflictError, NotFoundError, StorageError, UnavailableError
from maas.ids import erased_id
from maas.records import Record
from maas.settings import Settings
from maas.storage.encryption import connect, copy_under, database_errors, encryption_key
from maas.storage.engine import storage_errors
from maas.storage.sqlite_store import SqliteStore
from maas.storage.tables import SCHEMA_REVISION, from_microseconds, to_microseconds

_CHUNK = 1 << 20
# Path, SHA-256, when it was made.
_Copy = tuple[str, str, datetime]
# Tenant, id, when it was revoked, when it expires.
_EndedKey = tuple[str, str, datetime | None, datetime | None]


class BackupManifest(Record):
    """What lies beside a backup as ``<name>.json``."""

    maas_backup: Literal[1] = 1
    made_at: datetime
    sha256: str
    bytes: int
    schema_revision: str
    users: int
    memories: int


class RestoreReport(Record):
    """What was restored, and where the database that was there before lies now."""

    database: str
    manifest: BackupManifest
    previous: str | None = None
    erased_again: int = Field(0, description="Users who were erased after the backup was made, and now once more.")


def back_up(settings: Settings, target: Path) -> BackupManifest:
    """Write one consistent state of the database to ``target`` while servers go on.

    Raises:
        NotFoundError: there is no database.
        ConflictError: ``target`` is there already.
        StorageError: the copy is not sound, or does not recall what it holds; no backup was made.
    """
    source = _database(settings)
    if not source.is_file():
        raise NotFoundError(f"there is no database at {source}; nothing to back up")
    for file in (target, _manifest_path(target)):
        if file.exists():
            raise ConflictError(f"{file} is there already; name another file")
    target.parent.mkdir(parents=True, exist_ok=True)
    with _part_of(target) as part:
        made_at = datetime.now(UTC)
        key = encryption_key(settings)  # a backup is encrypted as its database is
        with storage_errors(), closing(_connect(source, key)) as original, closing(_connect(part, key)) as copy:
            original.backup(copy)
        users, memories = _prove(settings, part)
        manifest = BackupManifest(
            made_at=made_at,
            sha256=_sha256(part),
            bytes=part.stat().st_size,
            schema_revision=SCHEMA_REVISION,
            users=users,
            memories=memories,
        )
        store = SqliteStore(settings)
        try:  # noted before the backup is there: one that is not listed would outlive an erasure unseen
            with store.write() as transaction:
                transaction.add_backup(str(target.absolute()), manifest.sha256, made_at)
        finally:
            store.close()
        _manifest_path(target).write_text(manifest.model_dump_json(indent=2) + "\n", encoding="utf-8")
        part.replace(target)
        _sync_folder(target.parent)
    return manifest


def restore(settings: Settings, backup: Path, *, replace: bool = False) -> RestoreReport:
    """Put a backup in the place of the database; with ``replace`` the one that is there is kept beside it.

    Raises:
        NotFoundError: no such backup, or none with a manifest.
        StorageError: the backup is not what its manifest says, or does not recall what it holds.
        ConflictError: there is a database, and ``replace`` was not said.
        UnavailableError: a process has the database open.
    """
    manifest = read_manifest(backup)
    database = _database(settings)
    if database.exists() and not replace:
        raise ConflictError(f"there is a database at {database}; say --replace to put it aside")
    found = _sha256(backup)
    if found != manifest.sha256:
        raise StorageError(f"{backup} was altered: its SHA-256 is {found}, the manifest says {manifest.sha256}")
    database.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _part_of(database) as part:
        shutil.copyfile(backup, part)
        _prove(settings, part)
        erased: set[tuple[str, str]] = set()
        copies = [(str(backup.absolute()), manifest.sha256, manifest.made_at)]
        ended: list[_EndedKey] = []
        previous = None
        if database.exists():
            key = encryption_key(settings)
            erased = _erased_since(database, key, manifest.made_at)
            ended = _ended_keys(database, key)
            copies += _backups_since(database, key, manifest.made_at)
            previous = _put_aside(database, key)
        again = _brought_up(settings, part, erased, copies, ended)
        part.replace(database)
        _sync_folder(database.parent)
    return RestoreReport(
        database=str(database), manifest=manifest, previous=previous and str(previous), erased_again=again
    )


def encrypt(settings: Settings, new_key: str | None) -> tuple[int, int]:
    """Write the database anew under another key, or under none, prove it, and put it in the old one's place.

    Returns:
        How many users and memories it holds.

    Raises:
        NotFoundError: there is no database.
        ConfigError: SQLCipher is not installed, or the present key does not open the database.
        UnavailableError: a process has the database open.
    """
    database, key = _database(settings), encryption_key(settings)
    if not database.is_file():
        raise NotFoundError(f"there is no database at {database}; nothing to encrypt")
    changed = {"encryption_key": new_key, "encryption_key_file": None}
    after = settings.model_copy(update={"storage": settings.storage.model_copy(update=changed)})
    with _part_of(database) as part:
        with storage_errors():
            _fold_log(database, key)
            copy_under(database, key, part, new_key)
        held = _prove(after, part)
        part.replace(database)
        _sync_folder(database.parent)
    return held


def read_manifest(backup: Path) -> BackupManifest:
    """Raises NotFoundError or StorageError."""
    path = _manifest_path(backup)
    for file in (backup, path):
        if not file.is_file():
            raise NotFoundError(f"there is no {file}; a backup is FILE with FILE.json beside it")
    try:
        return BackupManifest.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise StorageError(f"{path} is no manifest of a backup: {error.errors()[0]['msg']}") from None


def _prove(settings: Settings, file: Path) -> tuple[int, int]:
    """Check pages and recall of a copy, leave it as one file; returns how many users and memories it holds."""
    key = encryption_key(settings)
    with storage_errors(), closing(_connect(file, key)) as connection:
        faults = [row[0] for row in connection.execute("PRAGMA integrity_check(10)")]
    if faults != ["ok"]:
        raise StorageError(f"the copy is not sound: {'; '.join(faults[:3])}; run `maas doctor`")
    store = SqliteStore(_settings_for(settings, file))
    try:
        proof = prove(store, datetime.now(UTC))
        with store.read() as transaction:
            users, memories = len(list(transaction.users())), transaction.progress("").memories
    finally:
        store.close()
    if not proof.holds:
        raise StorageError(
            f"the copy does not recall what it holds: of {proof.sampled} sampled memories {proof.lost_vectors} are"
            f" not found by vector and {proof.lost_words} not by words; run `maas doctor --repair` first"
        )
    _fold_log(file, key)
    return users, memories


def _settings_for(settings: Settings, file: Path) -> Settings:
    url = f"sqlite:///{file}"
    return settings.model_copy(update={"storage": settings.storage.model_copy(update={"url": url})})


def _fold_log(file: Path, key: str | None) -> None:
    """Leave the database as one file, on disk."""
    with storage_errors(), closing(_connect(file, key)) as connection:
        connection.execute("PRAGMA journal_mode=DELETE").fetchone()
    with file.open("rb") as written:
        os.fsync(written.fileno())


def _put_aside(database: Path, key: str | None) -> Path:
    """Move the present database out of the way, its write-ahead log folded in."""
    aside = database.with_name(f"{database.name}.before-{datetime.now(UTC):%Y%m%dT%H%M%S%f}")
    try:
        with closing(_connect(database, key, timeout=2)) as connection:
            (mode,) = connection.execute("PRAGMA journal_mode=DELETE").fetchone()
    except database_errors(ConfigError) as error:
        if type(error).__name__ == "OperationalError":
            if "locked" not in str(error):
                raise StorageError(f"{database} cannot be opened: {error}; move it away yourself") from error
            busy = f"another process has {database} open; stop the servers first"
            raise UnavailableError(busy, retry_after=1) from error
        mode = "delete"  # damaged: that is why a backup is restored; the log belongs to it and goes with it
    if mode != "delete":
        raise UnavailableError(f"another process has {database} open; stop the servers first", retry_after=1)
    database.replace(aside)
    for suffix in ("-wal", "-shm"):
        left = database.with_name(database.name + suffix)
        if left.exists():
            left.replace(aside.with_name(aside.name + suffix))
    return aside


def _erased_since(database: Path, key: str | None, made_at: datetime) -> set[tuple[str, str]]:
    """(tenant, digest of the user's id) of erasures that a backup does not know of; none of a damaged database."""
    query = "SELECT tenant_id, user_id FROM audit_log WHERE action = 'erase' AND outcome = 'done' AND at >= ?"
    return set(_rows(database, key, query, to_microseconds(made_at)))


def _ended_keys(database: Path, key: str | None) -> list[_EndedKey]:
    """(tenant, id, revoked, expires) of keys that have an end; none of a damaged database."""
    query = (
        "SELECT tenant_id, id, revoked_at, expires_at FROM api_keys"
        " WHERE revoked_at IS NOT NULL OR expires_at IS NOT NULL"
    )
    rows = _rows(database, key, query)
    return [(tenant, name, *(at and from_microseconds(at) for at in ends)) for tenant, name, *ends in rows]


def _backups_since(database: Path, key: str | None, made_at: datetime) -> list[_Copy]:
    """Backups that one made at ``made_at`` does not list; none of a damaged database."""
    query = "SELECT path, sha256, made_at FROM backups WHERE made_at >= ? ORDER BY number"
    rows = _rows(database, key, query, to_microseconds(made_at))
    return [(path, sha256, from_microseconds(at)) for path, sha256, at in rows]


def _rows(database: Path, key: str | None, query: str, *parameters: int) -> list[Any]:
    """What the database that is to be replaced answers; nothing if it is damaged."""
    try:
        with closing(_connect(database, key)) as connection:
            return connection.execute(query, parameters).fetchall()
    except database_errors(ConfigError):
        return []


def _brought_up(
    settings: Settings,
    file: Path,
    erased: set[tuple[str, str]],
    copies: Sequence[_Copy],
    ended: Sequence[_EndedKey],
) -> int:
    """Tell a restored database what it missed: erasures, done again and known to the next restore, keys that have
    ended, and its backups."""
    store, now = SqliteStore(_settings_for(settings, file)), datetime.now(UTC)
    try:
        with store.write() as transaction:
            doomed = [s for s in transaction.users() if (s.tenant, erased_id(s.tenant, s.user_id)) in erased]
            for scope in doomed:
                transaction.erase(scope)
            for tenant, hidden in sorted(erased):
                record(transaction, tenant, "restore", "erase", now, user_id=hidden)
            for tenant, key_id, revoked_at, expires_at in ended:
                if revoked_at is not None:
                    transaction.revoke_api_key(tenant, key_id, revoked_at)
                if expires_at is not None:
                    transaction.expire_api_key(tenant, key_id, expires_at)
            for copy in dict.fromkeys(copies):
                transaction.add_backup(*copy)
        store.wipe()
    finally:
        store.close()
    _fold_log(file, encryption_key(settings))
    return len(doomed)


def _database(settings: Settings) -> Path:
    url = make_url(settings.database_url)
    if url.get_backend_name() != "sqlite" or not url.database:
        raise ConfigError(f"storage.url names {url.get_backend_name()!r}; backups are of sqlite:///path")
    return Path(url.database)


def _manifest_path(backup: Path) -> Path:
    return backup.with_name(f"{backup.name}.json")


@contextmanager
def _part_of(target: Path) -> Iterator[Path]:
    """A private file beside ``target`` to write to; it goes unless it was moved into place."""
    part = target.with_name(f".{target.name}.part")
    leftovers = [part.with_name(part.name + suffix) for suffix in ("", "-wal", "-shm", "-journal")]
    for file in leftovers:
        file.unlink(missing_ok=True)
    os.close(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    try:
        yield part
    finally:
        for file in leftovers:
            file.unlink(missing_ok=True)


def _connect(path: Path, key: str | None, *, timeout: float = 10) -> sqlite3.Connection:
    return connect(f"{path.absolute().as_uri()}?mode=rw", key, uri=True, timeout=timeout)


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
