"""Errors of maas as the protocol says them; what it is silent about stays in the log."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from mcp import MCPError
from mcp.server.mcpserver.exceptions import ResourceError, ResourceNotFoundError, ToolError
from mcp_types import INVALID_PARAMS

from maas.auditing import REFUSALS, record_refusal
from maas.errors import MaasError, TransportError
from maas.mcp.reach import reach

P = ParamSpec("P")
R = TypeVar("R")

IDS = ("user_id", "memory_id", "id")
_SAYS_NOTHING = 500  # such an error is the server's own; the SDK logs it and answers without its text


def telling(translate: Callable[[MaasError], Exception]) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Wrap a handler so that an error the caller can act on reaches it in words, and the audit log."""

    def decorate(handler: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(handler)
        def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
            try:
                return handler(*args, **kwargs)
            except MaasError as error:
                if error.status == _SAYS_NOTHING and not isinstance(error, TransportError):
                    raise
                acting = reach.get().acting
                if error.status in REFUSALS and acting is not None:
                    asked = {name: kwargs.get(name) for name in IDS}
                    record_refusal(acting, f"mcp {handler.__name__}", error, asked)
                raise translate(error) from error

        return wrapped

    return decorate


def tool_error(error: MaasError) -> ToolError:
    return ToolError(f"{error.code}: {error.detail}")


def resource_error(error: MaasError) -> ResourceError:
    kind = ResourceNotFoundError if error.status == 404 else ResourceError
    return kind(f"{error.code}: {error.detail}")


def prompt_error(error: MaasError) -> MCPError:
    return MCPError(code=INVALID_PARAMS, message=f"{error.code}: {error.detail}")
