"""Encryption at rest: SQLCipher in the place of SQLite, with a key from the settings.

Keys are 256 random bits in hexadecimal, used as they are: a passphrase would have to be stretched at every connection.
"""

from __future__ import annotations

import re
import sqlite3
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

from maas.errors import ConfigError
from maas.settings import Settings

# Half of this must hold a row of `vectors` (768 bytes at 384 dimensions) without an overflow page.
PAGE_SIZE = 8192
_KEY = re.compile(r"[0-9a-fA-F]{64}")
_EXPECTED = "expected 64 hexadecimal digits, as `openssl rand -hex 32` prints"


def database_errors(*others: type[Exception]) -> tuple[type[Exception], ...]:
    """What SQLite raises, and SQLCipher where it is used; and ``others``."""
    cipher = sys.modules.get("sqlcipher3.dbapi2")
    return (*others, sqlite3.Error) if cipher is None else (*others, sqlite3.Error, cipher.Error)


def encryption_key(settings: Settings) -> str | None:
    """The key the settings name; None: the database is not encrypted.

    Raises:
        ConfigError: it is named twice, its file cannot be read, or it is no key.
    """
    storage = settings.storage
    if storage.encryption_key is not None and storage.encryption_key_file is not None:
        raise ConfigError("storage.encryption_key and storage.encryption_key_file are both set; keep one")
    if storage.encryption_key is not None:
        return checked(storage.encryption_key, "storage.encryption_key")
    return None if storage.encryption_key_file is None else key_in(storage.encryption_key_file)


def key_in(file: Path) -> str:
    """Raises ConfigError."""
    try:
        return checked(file.read_text(encoding="ascii").strip(), str(file))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"the key file {file} cannot be read: {error}") from None


def checked(key: str, where: str) -> str:
    if not _KEY.fullmatch(key):
        raise ConfigError(f"{where} holds {len(key)} characters that are no key; {_EXPECTED}")
    return key.lower()


def connect(path: str, key: str | None, *, uri: bool = False, timeout: float = 10) -> sqlite3.Connection:
    """A connection in autocommit, to an encrypted database if there is a key.

    Raises:
        ConfigError: SQLCipher is not installed, or the key does not open the database.
    """
    options: dict[str, Any] = {"uri": uri, "timeout": timeout, "isolation_level": None, "check_same_thread": False}
    if key is None:
        plain: sqlite3.Connection = sqlite3.dbapi2.connect(path, **options)
        return plain
    cipher = _sqlcipher()
    connection: sqlite3.Connection = cipher.connect(path, **options)
    try:
        connection.execute(f"PRAGMA key = \"x'{key}'\"")
        connection.execute(f"PRAGMA cipher_page_size = {PAGE_SIZE}")
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except cipher.DatabaseError as error:
        connection.close()
        if "not a database" not in str(error):
            raise
        raise ConfigError(
            "the database cannot be read with this encryption key: it has another, or is not encrypted yet"
            " (`maas encrypt` does that)"
        ) from None
    return connection


def copy_under(source: Path, key: str | None, target: Path, new_key: str | None) -> None:
    """Write all of a database, whose log is folded in, to ``target``, an empty file, under another key or none."""
    with closing(connect(str(source), key) if key is not None else _plain(source)) as connection:
        attached = "" if new_key is None else f"x'{new_key}'"
        for statement in ("PRAGMA locking_mode=EXCLUSIVE", "BEGIN EXCLUSIVE", "COMMIT"):  # nobody writes meanwhile
            connection.execute(statement)
        connection.execute("ATTACH DATABASE ? AS copy KEY ?", (str(target), attached))
        connection.execute(f"PRAGMA copy.{'page_size' if new_key is None else 'cipher_page_size'} = {PAGE_SIZE}")
        connection.execute("SELECT sqlcipher_export('copy')")
        connection.execute("DETACH DATABASE copy")


def _plain(source: Path) -> sqlite3.Connection:
    """SQLCipher on a database that is not encrypted: it alone can attach one that is."""
    connection: sqlite3.Connection = _sqlcipher().connect(str(source), isolation_level=None)
    return connection


def _sqlcipher() -> Any:
    try:
        from sqlcipher3 import dbapi2
    except ImportError as error:
        raise ConfigError(f"SQLCipher cannot be loaded ({error}): pip install 'maas[sqlcipher]'") from None
    return dbapi2
