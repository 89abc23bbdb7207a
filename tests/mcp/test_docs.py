"""docs/mcp.md: its configurations parse and start a server, its table names the tools there are."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

from typer.testing import CliRunner

from maas.cli.app import build_app
from maas.mcp.resources import RESOURCES
from maas.mcp.tools import TOOLS

PAGE = (Path(__file__).parents[2] / "docs" / "mcp.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


def test_every_configuration_is_valid_and_its_options_exist() -> None:
    configurations = [json.loads(block) for block in blocks("json")] + [tomllib.loads(b) for b in blocks("toml")]
    assert len(configurations) == 5
    started = 0
    usage = CliRunner().invoke(build_app(), ["mcp", "--help"], env={"COLUMNS": "200"}).stdout
    for configuration in configurations:
        (server,) = next(iter({k: v for k, v in configuration.items() if k != "inputs"}.values())).values()
        if "command" in server:
            started += 1
            assert (server["command"], server["args"][0]) == ("maas", "mcp")
            assert all(option in usage for option in server["args"] if option.startswith("--"))
        else:
            assert server["url"].endswith("/mcp")
    assert started == 3


def test_tools_and_resources_are_listed() -> None:
    for handler, _, hints in TOOLS:
        (row,) = [line for line in PAGE.splitlines() if line.startswith("| ") and f"`{handler.__name__}`" in line]
        scope = "read" if hints.read_only_hint else "write"
        assert f"| {scope} |" in row
    for uri, *_ in RESOURCES:
        assert f"`{uri}`" in PAGE
