"""The official SDK's client, on each transport."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import httpx2
from mcp import Client, StdioServerParameters
from mcp.client.streamable_http import streamable_http_client

from tests.live import Live

ROOT = Path(__file__).parents[2]
PROGRAM = """
import sys
from maas.cli import main
from tests.fakes import FakeEmbedder
main(sys.argv[1:], embedder=FakeEmbedder())
"""

Connect = Callable[[], Any]


def subprocess_server(*arguments: str) -> StdioServerParameters:
    """``maas mcp`` as an assistant starts it, with the deterministic embedder."""
    return StdioServerParameters(
        command=sys.executable, args=["-c", PROGRAM, "mcp", *arguments], env={"PYTHONPATH": str(ROOT)}
    )


@asynccontextmanager
async def over_http(live: Live, key: str | None, mode: str = "auto") -> AsyncIterator[Client]:
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    async with (
        httpx2.AsyncClient(headers=headers, timeout=30) as http,
        Client(streamable_http_client(f"{live.url}/mcp", http_client=http), mode=mode) as client,
    ):
        yield client


def with_client(connect: Connect, use: Callable[[Client], Awaitable[None]]) -> None:
    async def run() -> None:
        async with connect() as client:
            await use(client)

    anyio.run(run)


async def called(client: Client, tool: str, **arguments: Any) -> dict[str, Any]:
    """What a tool answered; both its forms say the same."""
    result = await client.call_tool(tool, arguments)
    assert not result.is_error, result.content
    assert result.structured_content is not None
    return result.structured_content


async def refused(client: Client, tool: str, **arguments: Any) -> str:
    result = await client.call_tool(tool, arguments)
    assert result.is_error, result.structured_content
    return str(result.content[0].text)
