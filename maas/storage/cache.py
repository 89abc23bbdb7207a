"""A bounded cache of what is derived from a user's rows; least recently used entries go first."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, Protocol, TypeVar


class Sized(Protocol):
    @property
    def nbytes(self) -> int: ...


E = TypeVar("E", bound=Sized)


class ByteBoundedCache(Generic[E]):
    """Maps a key to an entry while all entries together stay below ``limit`` bytes.

    An entry grows while it is used: call :meth:`settle` afterwards. Safe to share between threads.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._entries: OrderedDict[Hashable, tuple[E, int]] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    @property
    def nbytes(self) -> int:
        return self._bytes

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: Hashable, make: Callable[[], E]) -> E:
        """The entry of ``key``; made, empty, if it is missing."""
        with self._lock:
            if key not in self._entries:
                self._entries[key] = (make(), 0)
            self._entries.move_to_end(key)
            return self._entries[key][0]

    def settle(self, key: Hashable, entry: E) -> None:
        """Count the entry's present size, and evict the oldest until the limit holds again."""
        with self._lock:
            known = self._entries.get(key)
            if known is None or known[0] is not entry:
                return
            size = entry.nbytes
            if size > self.limit:  # it would push out everything else, and then itself
                del self._entries[key]
                self._bytes -= known[1]
                return
            self._bytes += size - known[1]
            self._entries[key] = (entry, size)
            while self._bytes > self.limit and self._entries:
                _, (_, evicted) = self._entries.popitem(last=False)
                self._bytes -= evicted

    def items(self) -> list[tuple[Hashable, E]]:
        with self._lock:
            return [(key, entry) for key, (entry, _) in self._entries.items()]

    def drop(self, matches: Callable[[Hashable], bool]) -> None:
        with self._lock:
            for key in [key for key in self._entries if matches(key)]:
                self._bytes -= self._entries.pop(key)[1]

    def clear(self) -> None:
        self.drop(lambda _key: True)
