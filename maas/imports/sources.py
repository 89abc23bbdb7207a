"""The formats there are, and one reader for all of them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from maas.errors import InvalidInputError, PayloadTooLargeError
from maas.imports import chats, chroma, markdown, records, zep
from maas.requests import StoreRequest, parse

BATCH = 200

Reader = Callable[[Path], Iterator[dict[str, Any]]]

READERS: dict[str, Reader] = {
    "chatgpt": chats.chatgpt,
    "claude": chats.claude,
    "jsonl": records.jsonl,
    "markdown": markdown.sections,
    "mem0": records.mem0,
    "chroma": chroma.documents,
    "zep": zep.messages,
}


def read(source: str, path: Path, user_id: str | None) -> Iterator[StoreRequest]:
    """The memories of an export, one after the other; each has a ``key``, so that importing twice adds nothing.

    Args:
        source: one of :data:`READERS`.
        path: the file or folder.
        user_id: whose they become; None: the user that the export names.

    Raises:
        InvalidInputError: the file is not what ``source`` exports, or a memory in it cannot be stored or names
            no user; the memory is named by its key.
    """
    for fields in _records(source, path):
        owner = user_id or fields.get("user_id")
        if owner is None:
            raise InvalidInputError(f"{path}: {fields['key']} names no user; say whose memories: --user-id")
        try:
            yield parse(StoreRequest, {**fields, "user_id": owner, "dedupe": "off"})
        except (InvalidInputError, PayloadTooLargeError) as error:
            raise InvalidInputError(f"{path}: {fields['key']}: {error.detail}", errors=error.errors) from None


def _records(source: str, path: Path) -> Iterator[dict[str, Any]]:
    try:
        yield from READERS[source](path)
    except (AttributeError, TypeError, KeyError) as error:  # a list or a text where the format has an object
        raise InvalidInputError(f"{path} is not what {source} exports: {error}") from error


def batches(memories: Iterator[StoreRequest], size: int = BATCH) -> Iterator[list[StoreRequest]]:
    """What is stored at a time. What was stored before a fault stays, and is known again by its key the next time."""
    while batch := list(itertools.islice(memories, size)):
        yield batch
