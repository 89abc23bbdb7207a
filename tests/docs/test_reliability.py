"""Each fault that the page says is held off is held off by tests that exist."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_every_fault_has_tests_that_exist() -> None:
    page = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| .+ \| (`tests/.+`) \|$", page, re.MULTILINE)
    assert len(rows) == 24
    named = {name for row in rows for name in re.findall(r"`(tests/[^`]+)`", row)}
    missing = [name for name in sorted(named) if name.partition("::")[2] not in defined(name.partition("::")[0])]
    assert missing == []


def defined(path: str) -> set[str]:
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    return {node.name for node in tree.body if isinstance(node, (ast.FunctionDef, ast.ClassDef))}
