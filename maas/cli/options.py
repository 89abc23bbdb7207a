"""Options that several commands share, spelt once."""

from __future__ import annotations

import json
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

ConfigOption = Annotated[
    Path | None, typer.Option("--config", metavar="FILE", help="Settings file; default: ./config.yaml if it is there.")
]
DataDirOption = Annotated[
    Path | None, typer.Option("--data-dir", metavar="FOLDER", help="Data folder, instead of the configured one.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")]
ApiOption = Annotated[
    str | None, typer.Option("--api", metavar="URL", help="Work through the server at URL, not on the data folder.")
]
ApiKeyOption = Annotated[str | None, typer.Option("--key", metavar="KEY", help="API key sent to --api.")]
TenantOption = Annotated[str, typer.Option("--tenant", help="Tenant to work in; with --api the key decides.")]
UserOption = Annotated[str, typer.Option("--user-id", "-u", help="Whose memories.")]
AgentOption = Annotated[str | None, typer.Option("--agent-id", help="Agent the memory belongs to.")]
MetadataOption = Annotated[str | None, typer.Option(metavar="JSON", help="An object kept with it.")]
SessionOption = Annotated[str | None, typer.Option("--session-id", help="Session the memory belongs to.")]


class RecallMode(StrEnum):
    hybrid = "hybrid"
    dense = "dense"
    lexical = "lexical"


def utc_text(when: datetime | None) -> str:
    """A time as tables show it: minutes, UTC."""
    return when.strftime("%Y-%m-%d %H:%M") if when else ""


def json_object(written: str | None, option: str) -> dict[str, Any] | None:
    """The object that an option holds, or a fault of the command line."""
    if written is None:
        return None
    try:
        value = json.loads(written)
    except (ValueError, RecursionError) as error:
        raise typer.BadParameter(f"is no JSON: {error}", param_hint=option) from None
    if not isinstance(value, dict):
        raise typer.BadParameter(f"is a JSON {type(value).__name__}; expected an object", param_hint=option)
    return value
