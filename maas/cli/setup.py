"""``maas init`` and ``maas status``: the first thing to do, and the first thing to ask."""

from __future__ import annotations

import sys
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import typer

from maas.cli.connect import open_brain, settings_from
from maas.cli.options import ConfigOption, DataDirOption, JsonOption
from maas.cli.output import note, print_json, print_line
from maas.errors import ConfigError

EVERY_ADDRESS = "0.0.0.0"  # noqa: S104 - only when asked for, and never without keys


def register(app: typer.Typer) -> None:
    app.command()(init)
    app.command()(status)


def init(
    file: Annotated[Path, typer.Option("--config", metavar="FILE", help="Settings file to write.")] = Path(
        "config.yaml"
    ),
    data_dir: Annotated[Path | None, typer.Option(metavar="FOLDER", help="Where memories live; asked for.")] = None,
    shared: Annotated[
        bool | None, typer.Option("--shared/--local", help="Whether other machines reach the server; asked for.")
    ] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="Its port; asked for.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a settings file that is there.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Ask three questions and write config.yaml."""
    import yaml

    from maas.settings import load_settings

    if file.exists() and not force:
        raise ConfigError(f"{file} is there already; edit it, or replace it with --force")
    if None in (data_dir, shared, port) and not sys.stdin.isatty():
        raise typer.BadParameter("give --data-dir, --local or --shared, and --port when nobody can be asked")
    folder = data_dir or Path(typer.prompt("Folder for the memories", default="data", err=True))
    if shared is None:
        shared = typer.confirm("Should other machines reach the server?", default=False, err=True)
    if port is None:
        port = typer.prompt("Port of the server", default=8000, type=int, err=True)
    written: dict[str, Any] = {"data_dir": str(folder), "server": {"port": port}}
    if shared:
        written["server"]["host"] = EVERY_ADDRESS
    file.parent.mkdir(parents=True, exist_ok=True)
    before = file.read_bytes() if file.exists() else None
    file.write_text(yaml.safe_dump(written, sort_keys=False), encoding="utf-8")
    try:
        load_settings(file)
    except ConfigError:
        file.unlink() if before is None else file.write_bytes(before)
        raise
    if as_json:
        print_json({"file": str(file), **written})
    else:
        print_line(f"wrote {file}")
    named = "" if file == Path("config.yaml") else f" --config {file}"
    note(f"next: maas serve{named}   (it prints the first API key, once)")
    if shared:
        note("put a proxy with TLS in front of it: keys and memories travel as they are")


def status(
    context: typer.Context, config: ConfigOption = None, data_dir: DataDirOption = None, as_json: JsonOption = False
) -> None:
    """Say where the memories are, how many, whether all are embedded, and whether a server runs."""
    from maas.storage.opening import shown_url

    settings = settings_from(config, data_dir)
    found: dict[str, Any] = {
        "version": version("maas"),
        "data_dir": str(settings.data_dir.absolute()),
        "database": shown_url(settings),
    }
    database = settings.data_dir / "maas.db"
    if settings.storage.url is None and not database.is_file():
        found |= {"memories": 0, "server": _server(settings.server.host, settings.server.port)}
        note("no database yet: the first maas serve or maas store makes it")
    else:
        with open_brain(context, settings) as brain:
            indexed = brain.reindex_status()
            found |= {
                "memories": indexed.total,
                "embedded": indexed.done,
                "embedder": indexed.fingerprint,
                "reindex": indexed.state,
                "keys": sum(key.revoked_at is None for key in brain.list_keys().results),
                "server": _server(settings.server.host, settings.server.port),
            }
        if indexed.done < indexed.total:
            note("some memories have vectors of another embedder; run: maas reindex")
    if settings.storage.url is None and database.is_file():
        files = [database, *database.parent.glob(f"{database.name}-*")]
        found["database_bytes"] = sum(file.stat().st_size for file in files)
    if as_json:
        print_json(found)
        return
    for name, value in found.items():
        print_line(f"{name.replace('_', ' ') + ':':<16} {f'{value:,}' if isinstance(value, int) else value}")


def _server(host: str, port: int) -> str:
    """What answers where this configuration would serve."""
    import httpx2

    host = "127.0.0.1" if host in (EVERY_ADDRESS, "::") else host
    url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    with suppress(httpx2.HTTPError, httpx2.InvalidURL):
        answer = httpx2.get(f"{url}/readyz", timeout=5, trust_env=False)
        if answer.status_code == 200:
            return f"ready at {url}"
        if answer.headers.get("content-type", "").startswith("application/problem+json"):
            return f"not ready at {url}: {answer.json().get('detail')}"
        return f"something else answers at {url}"
    return f"none at {url}"
