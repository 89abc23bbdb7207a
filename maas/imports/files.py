"""Large JSON files, plain or zipped, an element at a time."""

from __future__ import annotations

import hashlib
import re
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

import ijson

from maas.errors import InvalidInputError
from maas.fields import MAX_ID_LENGTH

_BOM = b"\xef\xbb\xbf"


@contextmanager
def opened(path: Path, member: str) -> Iterator[IO[bytes]]:
    """``path`` itself; of a zip archive, or a folder it was unpacked to, the file called ``member``.

    Raises:
        InvalidInputError: there is no such file, or no ``member`` in it.
    """
    if path.is_dir():
        path /= member
    if not path.is_file():
        raise InvalidInputError(f"{path} is no file; give the export, zipped or unpacked")
    if not zipfile.is_zipfile(path):
        with path.open("rb") as file:
            yield file
        return
    with zipfile.ZipFile(path) as archive:
        names = [name for name in archive.namelist() if name.rpartition("/")[2] == member]
        if not names:
            raise InvalidInputError(f"{path} holds no {member}; found {', '.join(archive.namelist()[:5])}")
        with archive.open(names[0]) as file:
            yield file


def parts(path: Path, member: str) -> list[str]:
    """The files of a zip archive or a folder that make up ``member``: itself, or ``name-000.json`` and on."""
    if path.is_dir():
        names = [file.name for file in path.iterdir()]
    elif path.is_file() and zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            names = [name.rpartition("/")[2] for name in archive.namelist()]
    else:
        return [member]
    stem, _, suffix = member.rpartition(".")
    numbered = re.compile(rf"{re.escape(stem)}-\d+\.{re.escape(suffix)}")
    return [member] if member in names else sorted(filter(numbered.fullmatch, set(names))) or [member]


def elements(path: Path, member: str, prefix: str = "item") -> Iterator[dict[str, Any]]:
    """The objects of a JSON array, read as they are asked for.

    Args:
        path, member: as for :func:`opened`; a member that was split is read part by part.
        prefix: where the array stands, in ijson's words: ``item`` at the top, ``results.item`` under a key.

    Raises:
        InvalidInputError: no JSON, no array there, or elements that are no objects.
    """
    array = prefix.removesuffix("item").removesuffix(".")
    for part in parts(path, member):
        place = path / part if path.is_dir() else path
        with opened(path, part) as file:
            empty = True
            try:
                for number, element in enumerate(ijson.items(file, prefix, use_float=True)):
                    if not isinstance(element, dict):
                        kind = type(element).__name__
                        raise InvalidInputError(f"{place}: element {number} is a {kind}, not an object")
                    empty = False
                    yield element
                file.seek(0)
                if empty and not any((at, event) == (array, "start_array") for at, event, _ in ijson.parse(file)):
                    raise InvalidInputError(f"{place} holds no list{f' under {array!r}' if array else ''}")
            except (ijson.JSONError, UnicodeDecodeError) as error:
                raise InvalidInputError(f"{place} is no whole JSON file: {' '.join(str(error).split())}") from None


def first_byte(path: Path, member: str) -> bytes:
    """Tells an array from an object, and JSON from anything else."""
    with opened(path, member) as file:
        return file.read(64).removeprefix(_BOM).lstrip()[:1]


def key(*parts: object) -> str:
    """The parts with colons between; hashed where that is too long for a key."""
    whole = ":".join(map(str, parts))
    if len(whole) <= MAX_ID_LENGTH:
        return whole
    return f"{whole[:64]}:{hashlib.blake2b(whole.encode(), digest_size=24).hexdigest()}"


# As seconds the year 5138, as milliseconds 1973.
_MILLISECONDS = 1e11


def moment(value: Any) -> str | None:
    """Seconds or milliseconds since 1970 or an ISO 8601 string, as maas takes times; None for anything else.

    Raises:
        InvalidInputError: a number that lies beyond the year 9999.
    """
    if isinstance(value, (int, float)) and not isinstance(value, bool) and value > 0:
        try:
            return datetime.fromtimestamp(value if value < _MILLISECONDS else value / 1000, UTC).isoformat()
        except (ValueError, OverflowError, OSError):
            raise InvalidInputError(f"{value} is no time; expected seconds since 1970, or ISO 8601") from None
    return value if isinstance(value, str) and value.strip() else None


def given(**fields: Any) -> dict[str, Any]:
    """What is there."""
    return {name: value for name, value in fields.items() if value not in (None, "", {})}
