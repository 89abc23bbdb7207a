"""``maas serve``: the REST service."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from maas.cli.connect import settings_from
from maas.cli.options import ConfigOption, DataDirOption


def register(app: typer.Typer) -> None:
    app.command()(serve)


def serve(
    host: Annotated[str | None, typer.Option(help="Address to bind, instead of the configured one.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to bind; 0 takes a free one.")] = None,
    workers: Annotated[int | None, typer.Option(help="Server processes on the data folder.")] = None,
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
) -> None:
    """Run the REST service. On a new data folder, the first API key is printed once."""
    given = {"host": host, "port": port, "workers": workers}
    server: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    settings = settings_from(config, data_dir, **({"server": server} if server else {}))
    from maas.api.server import serve as run

    run(settings)
