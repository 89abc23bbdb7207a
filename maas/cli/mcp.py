"""``maas mcp``: memories for an assistant that starts this as a subprocess."""

from __future__ import annotations

from typing import Annotated

import typer

from maas.cli.connect import Where, with_where
from maas.errors import ConfigError


def register(app: typer.Typer) -> None:
    app.command()(mcp)


@with_where
def mcp(
    where: Where,
    user_id: Annotated[str, typer.Option("--user-id", "-u", help="Whose memories; no others are reached.")] = "me",
) -> None:
    """Serve the Model Context Protocol on standard input and output, for one user."""
    try:
        from maas.mcp.server import build_server
    except ModuleNotFoundError as error:
        raise ConfigError(f"the package {error.name} is missing; install it: pip install 'maas[mcp]'") from None
    from maas.brain import PersonalMemoryBrain
    from maas.mcp.reach import Reach, reach

    with where.open() as target:
        target.ready()  # the assistant waits for its first answer, not for the model in the middle of a conversation
        acting = target if isinstance(target, PersonalMemoryBrain) else None
        reach.set(Reach(lambda _: target, user_id, acting=acting))
        build_server().run("stdio")
