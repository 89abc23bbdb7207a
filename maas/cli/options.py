"""Options that several commands share, spelt once."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated

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
SessionOption = Annotated[str | None, typer.Option("--session-id", help="Session the memory belongs to.")]


class RecallMode(StrEnum):
    hybrid = "hybrid"
    dense = "dense"
    lexical = "lexical"


def utc_text(when: datetime | None) -> str:
    """A time as tables show it: minutes, UTC."""
    return when.strftime("%Y-%m-%d %H:%M") if when else ""
