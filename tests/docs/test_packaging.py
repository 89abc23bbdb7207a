"""What the code imports is declared, and what is declared is pinned."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
BROUGHT_ALONG = {
    "pydantic-core": "pydantic",
    "typing-extensions": "pydantic",
    "huggingface-hub": "sentence-transformers",
    "mcp-types": "mcp",
    "opentelemetry-api": "opentelemetry-sdk",
    "langgraph": "langgraph-checkpoint",
    "llama-index": "llama-index-core",
}


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def declared(*extras: str) -> set[str]:
    requirements = list(PROJECT["dependencies"])
    for extra in extras:
        requirements += PROJECT["optional-dependencies"][extra]
    return {normal(re.split(r"[\[<>=! ]", requirement)[0]) for requirement in requirements}


def imported(folder: str) -> set[str]:
    modules: set[str] = set()
    for path in (ROOT / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                modules |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
                modules.add(node.module.partition(".")[0])
    return modules - set(sys.stdlib_module_names) - {"maas", "lam_backend", "lam_runtime", "migrations", "tests"}


@pytest.mark.parametrize("folder", ["maas", "lam_backend", "migrations"])
def test_imports_are_declared(folder: str) -> None:
    distributions = packages_distributions()
    known = declared(*PROJECT["optional-dependencies"])
    undeclared = {
        module
        for module in imported(folder) - peers(folder)
        if not {BROUGHT_ALONG.get(normal(name), normal(name)) for name in distributions.get(module, [module])} & known
    }
    assert undeclared == set()


def peers(folder: str) -> set[str]:
    """The services maas is compared with live in an environment of their own."""
    inside: set[str] = set()
    for path in (ROOT / folder).rglob("peers"):
        inside |= imported(str(path.relative_to(ROOT)))
    return inside - {module for module in inside if module in packages_distributions()}


def test_every_declared_package_is_pinned() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = {normal(line.partition("==")[0]): line for line in lines if line and not line.startswith("#")}
    assert all(re.fullmatch(r"[\w.\-]+==[\w.]+", line) for line in pins.values())
    assert declared(*PROJECT["optional-dependencies"]) - {"maas"} <= set(pins)
    assert pins["torch"] == "torch==2.13.0", "this spelling takes a CPU build from a local index where there is one"


def test_the_base_install_is_free_of_torch() -> None:
    assert not declared() & {"torch", "transformers", "sentence-transformers", "matplotlib"}
