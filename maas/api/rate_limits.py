"""How many requests a key may make: a moving window over the last minute, counted in this process."""

from __future__ import annotations

import time

from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter

from maas.errors import RateLimitedError


class RateLimits:
    """Safe to share between threads.

    Args:
        per_minute: requests of a key in any 60 seconds; 0: as many as it likes.
    """

    def __init__(self, per_minute: int) -> None:
        self._limit = RateLimitItemPerMinute(per_minute) if per_minute else None
        self._windows = MovingWindowRateLimiter(MemoryStorage())

    def count(self, key_id: str) -> None:
        """Raises RateLimitedError, with the seconds until a request leaves the window; that one is not counted."""
        if self._limit is None or self._windows.hit(self._limit, key_id):
            return
        resets_at = self._windows.get_window_stats(self._limit, key_id).reset_time
        raise RateLimitedError(
            f"this key has made {self._limit.amount:,} requests in a minute, all it may (server.requests_per_minute)",
            retry_after=max(1.0, resets_at - time.time()),
        )
