"""Every setting is documented where people look: docs/configuration.md and config.yaml."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from maas.settings import Settings, load_settings, setting_names
from tests.docs.configuration_table import table

ROOT = Path(__file__).parents[2]


def test_the_table_is_that_of_the_settings() -> None:
    document = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    assert "\n".join(table()) in document, "put in the output of: python -m tests.docs.configuration_table"


def test_every_setting_has_a_meaning() -> None:
    rows = table()[2:]
    assert len(rows) == len(list(setting_names()))
    assert not [row for row in rows if "| None" in row or row.endswith("|  |")]


def test_config_yaml_holds_every_setting_at_its_default(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    shipped = ROOT / "config.yaml"
    assert set(leaves(yaml.safe_load(shipped.read_text(encoding="utf-8")))) == set(setting_names())
    monkeypatch.chdir(tmp_path)
    assert load_settings(shipped) == load_settings() == Settings()


def test_every_line_of_config_yaml_is_explained() -> None:
    lines = (ROOT / "config.yaml").read_text(encoding="utf-8").splitlines()
    unexplained = [line for line in lines if line and not line.rstrip().endswith(":") and "#" not in line]
    assert unexplained == []


def leaves(content: dict[str, object], prefix: str = "") -> list[str]:
    found = []
    for key, value in content.items():
        found += leaves(value, f"{prefix}{key}.") if isinstance(value, dict) else [prefix + key]
    return found
