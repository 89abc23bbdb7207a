"""When to send again, and after how long."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

import httpx2

RETRIED_STATUS = frozenset({429, 502, 503, 504})
_FIRST_WAIT = 0.25
_LONGEST_WAIT = 8.0
_LONGEST_RETRY_AFTER = 60.0


@dataclass(frozen=True, slots=True)
class Retries:
    """Full jitter: wait anywhere between nothing and a bound that doubles, so that clients do not come back at once.

    Attributes:
        limit: sends after the first one.
        jitter: (low, high) → a number between them.
    """

    limit: int
    jitter: Callable[[float, float], float] = random.uniform

    def wait(self, attempt: int, retry_after: float | None = None) -> float | None:
        """Seconds before send number ``attempt`` + 1, counted from 1; None: give up.

        A server that asks for more patience than a minute is not waited for.
        """
        if attempt > self.limit:
            return None
        if retry_after is not None:
            return retry_after if retry_after <= _LONGEST_RETRY_AFTER else None
        return self.jitter(0.0, min(_LONGEST_WAIT, _FIRST_WAIT * 2 ** (attempt - 1)))


def may_pass(error: httpx2.HTTPError) -> bool:
    """Whether sending again can help: nothing connected, the answer was late, or it broke off."""
    return isinstance(error, (httpx2.TimeoutException, httpx2.NetworkError, httpx2.RemoteProtocolError))
