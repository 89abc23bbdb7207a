"""Passes of the graph side by side: on short texts two threads with a pass each beat two threads in one pass."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat
from threading import Lock
from typing import TypeVar

from .step import Step, cores

LANE_TOKENS = 288
"""Padded tokens of one pass: its activations stay in a core's own cache."""
Item = TypeVar("Item")
Found = TypeVar("Found")


class Lanes:
    """Runs many passes at once, each on one thread; a single pass has all threads to itself.

    The one-threaded session is opened when many passes are first asked for; it holds the weights again.

    Args:
        wide: the graph, with ``threads`` threads a pass.
        threads: passes at once; None is one for each core this process may use.
    """

    def __init__(self, wide: Step, threads: int | None) -> None:
        self._wide = wide
        self.count = threads or cores()
        self._opening = Lock()
        self._narrow: Step | None = None
        self._pool: ThreadPoolExecutor | None = None
        self._owner = 0

    def size(self, padded_tokens: int) -> int:
        """Padded tokens of a pass when so many are to be read: every lane gets some."""
        return max(1, min(LANE_TOKENS, -(-padded_tokens // self.count)))

    def each(self, read: Callable[[Step, Item], Found], items: Sequence[Item]) -> Iterator[Found]:
        """``read(step, item)`` of each item, in order; the first exception is raised.

        ``read`` runs in several threads at once.
        """
        if len(items) < 2 or self.count < 2:
            return (read(self._wide, item) for item in items)
        with self._opening:
            narrow = self._narrow = self._narrow or self._wide.with_threads(1)
            if self._pool is None or self._owner != os.getpid():  # threads do not live on in a forked process
                self._pool = ThreadPoolExecutor(self.count, thread_name_prefix="lam-lane")
                self._owner = os.getpid()
            pool = self._pool
        return pool.map(read, repeat(narrow), items)
