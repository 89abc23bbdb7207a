"""What every adapter asks of the memories behind it, embedded or behind a server."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from maas.records import Memory
from maas.requests import MAX_BATCH, MAX_PAGE

if TYPE_CHECKING:
    from maas.brain import PersonalMemoryBrain
    from maas.client import MaasClient

Memories: TypeAlias = "PersonalMemoryBrain | MaasClient"

T = TypeVar("T")


def embed(memories: Memories, texts: Iterable[str]) -> list[list[float]]:
    """n texts → n unit vectors."""
    return [vector for batch in batches(texts) for vector in memories.encode(batch).tolist()]


def every(memories: Memories, *, limit: int | None = None, **wanted: Any) -> Iterator[Memory]:
    """The newest ``limit`` memories, or all, page by page; ``wanted`` as for ``list``."""
    left, cursor = limit, None
    while left is None or left > 0:
        page = memories.list(limit=MAX_PAGE if left is None else min(left, MAX_PAGE), cursor=cursor, **wanted)
        yield from page.results
        left, cursor = None if left is None else left - len(page.results), page.next_cursor
        if cursor is None:
            return


def batches(items: Iterable[T]) -> Iterator[list[T]]:
    """Lists of as many as one request takes."""
    iterator = iter(items)
    while batch := list(islice(iterator, MAX_BATCH)):
        yield batch
