"""When to send again, and after how long."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import httpx2

RETRIED_STATUS = frozenset({429, 502, 503, 504})
REFUSED_STATUS = frozenset({429, 503})
"""Nothing was carried out; of the others nobody knows."""
_FIRST_WAIT = 0.25
_LONGEST_WAIT = 8.0
_LONGEST_RETRY_AFTER = 60.0


@dataclass(frozen=True, slots=True)
class Retries:
    """Full jitter: wait anywhere between nothing and a bound that doubles, so that clients do not come back at once.

    Attributes:
        limit: sends after the first one.
        patience: seconds to wait in all for a server that itself says when to come back, even beyond ``limit``: it
            knows that it will be well again, as when its database changes the primary.
        jitter: (low, high) → a number between them.
    """

    limit: int
    patience: float = 60.0
    jitter: Callable[[float, float], float] = random.uniform

    def wait(self, waits: Sequence[float], retry_after: float | None = None) -> float | None:
        """Seconds before the next send, after the waits there were; None: give up.

        A server that asks for more patience than a minute at once is not waited for, and one that asks for none is
        given a moment from the ``limit`` on.
        """
        counted = len(waits) >= self.limit
        if retry_after is None:
            return None if counted else self.jitter(0.0, min(_LONGEST_WAIT, _FIRST_WAIT * 2 ** len(waits)))
        if counted:
            retry_after = max(retry_after, _FIRST_WAIT)
        impatient = counted and sum(waits) + retry_after > self.patience
        return None if not self.limit or impatient or retry_after > _LONGEST_RETRY_AFTER else retry_after


def never_sent(error: httpx2.HTTPError) -> bool:
    """Whether the server surely has not seen the request."""
    return isinstance(error, (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout))


def may_pass(error: httpx2.HTTPError) -> bool:
    """Whether sending again can help: nothing connected, the answer was late, or it broke off."""
    return isinstance(error, (httpx2.TimeoutException, httpx2.NetworkError, httpx2.RemoteProtocolError))
