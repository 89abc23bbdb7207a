"""The same folder always gives the same archive, byte for byte."""

from __future__ import annotations

import gzip
import hashlib
import tarfile
from pathlib import Path


def write_archive(folder: Path, archive: Path) -> None:
    """``folder`` as a .tar.gz: files in order of their names, without times and owners."""
    partial = archive.with_suffix(".partial")
    with (
        partial.open("wb") as file,
        gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0, compresslevel=6) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as tar,
    ):
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            entry = tarfile.TarInfo(f"{folder.name}/{path.relative_to(folder).as_posix()}")
            entry.size, entry.mode = path.stat().st_size, 0o644
            with path.open("rb") as content:
                tar.addfile(entry, content)
    partial.replace(archive)


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
