"""The folder of a Chroma ``PersistentClient``: its ``chroma.sqlite3``, read as it lies there."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from itertools import groupby
from pathlib import Path
from typing import Any

from maas.errors import InvalidInputError
from maas.imports.files import given, key

_TEXT = "chroma:document"
_DOCUMENTS = """
    SELECT c.name, e.id, e.embedding_id, e.created_at, m.key, m.string_value, m.int_value, m.float_value, m.bool_value
    FROM embeddings e
    JOIN segments s ON s.id = e.segment_id
    JOIN collections c ON c.id = s.collection
    JOIN embedding_metadata m ON m.id = e.id
    ORDER BY c.name, e.id
"""


def documents(path: Path) -> Iterator[dict[str, Any]]:
    """Every document of every collection, whose name becomes the agent. Vectors are made anew."""
    file = path / "chroma.sqlite3" if path.is_dir() else path
    if not file.is_file():
        raise InvalidInputError(f"{file} is no file; give the folder that Chroma's PersistentClient was opened with")
    try:
        with closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True)) as database:
            for (collection, _), rows in groupby(database.execute(_DOCUMENTS), key=lambda row: row[:2]):
                if document := _document(collection, list(rows)):
                    yield document
    except sqlite3.DatabaseError as error:
        raise InvalidInputError(f"{file} is no Chroma database of a version known here: {error}") from None


def _document(collection: str, rows: list[tuple[Any, ...]]) -> dict[str, Any] | None:
    metadata: dict[str, Any] = {}
    for *_, name, text, whole, real, truth in rows:
        value = bool(truth) if truth is not None else text if text is not None else whole if whole is not None else real
        metadata[name] = value
    said = metadata.pop(_TEXT, None)
    if not isinstance(said, str) or not said.strip():
        return None
    user = metadata.get("user_id")
    return given(
        key=key("chroma", collection, rows[0][2]),
        text=said,
        agent_id=collection,
        created_at=f"{str(rows[0][3]).replace(' ', 'T')}Z",
        user_id=user if isinstance(user, str) else None,
        metadata={name: value for name, value in metadata.items() if not name.startswith("chroma:")},
    )
