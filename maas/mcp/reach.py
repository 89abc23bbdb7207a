"""What one MCP connection may touch: the memories behind it, and whose they are."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, TypeAlias

from maas.errors import FieldError, InvalidInputError, PermissionDeniedError
from maas.records import KeyScope, StoreResponse

if TYPE_CHECKING:
    from maas.api.metrics import Metrics
    from maas.brain import PersonalMemoryBrain
    from maas.client import MaasClient

    Memories: TypeAlias = PersonalMemoryBrain | MaasClient


class Reach:
    """Hands out the memories for one scope at a time.

    Args:
        memories: the brain or client for what needs ``read`` or ``write``; raises PermissionDeniedError.
        user_id: the only user there is for this connection; None: the caller names one.
        metrics: of the server that is asked, if it is one.
        acting: whoever signs for what is refused here; None: the server that is asked keeps its own log.
    """

    def __init__(
        self,
        memories: Callable[[KeyScope], Memories],
        user_id: str | None = None,
        metrics: Metrics | None = None,
        acting: PersonalMemoryBrain | None = None,
    ) -> None:
        self._memories = memories
        self._metrics = metrics
        self.user_id = user_id
        self.acting = acting

    @property
    def readable(self) -> Memories:
        return self._memories("read")

    @property
    def writable(self) -> Memories:
        return self._memories("write")

    def owner(self, user_id: str | None) -> str | None:
        """Whose memory an id must be: None lets it be anyone's the connection may see.

        Raises:
            PermissionDeniedError: the connection is somebody else's.
        """
        if self.user_id is None or user_id in (None, self.user_id):
            return self.user_id or user_id
        denied = PermissionDeniedError(
            f"this connection reaches only the memories of {self.user_id!r}; leave user_id out"
        )
        denied.user_id = user_id
        raise denied

    def user(self, user_id: str | None) -> str:
        """The same where a user is needed.

        Raises:
            InvalidInputError: neither the call nor the connection names one.
        """
        owner = self.owner(user_id)
        if owner is None:
            message = "is missing; say whose memories, or connect with a key made for one user (maas keys create -u)"
            raise InvalidInputError(f"user_id: {message}", errors=[FieldError("user_id", message)])
        return owner

    def context(self, query: str, user_id: str | None, max_tokens: int, **options: Any) -> str:
        """What is remembered about ``query`` as a block for a prompt; empty if nothing is."""
        block = self.readable.context(query, user_id=self.user(user_id), max_tokens=max_tokens, **options)
        self.count_recalled(len(block.memories))
        return block.text

    def count_stored(self, response: StoreResponse) -> None:
        if self._metrics is not None:
            self._metrics.count_stored(response)

    def count_recalled(self, hits: int) -> None:
        if self._metrics is not None:
            self._metrics.recalled.inc(hits)


reach: ContextVar[Reach] = ContextVar("maas_mcp_reach")
"""Set once for a stdio server, and for each request over HTTP."""
