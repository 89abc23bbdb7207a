"""The log of a brain inside somebody else's program."""

from __future__ import annotations

import logging

import pytest
import structlog

from maas import PersonalMemoryBrain, Settings
from tests.fakes import FakeEmbedder


def test_it_goes_to_logging_and_never_to_standard_output(
    settings: Settings, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    structlog.reset_defaults()
    with PersonalMemoryBrain(settings, embedder=FakeEmbedder()):
        structlog.get_logger("maas.embedders").info("embedder loaded", backend="lam")
        assert caplog.records == []
        caplog.set_level(logging.INFO, "maas")
        structlog.get_logger("maas.embedders").info("embedder loaded", backend="lam")
    assert capsys.readouterr().out == ""
    (record,) = caplog.records
    assert (record.name, record.getMessage()) == ("maas.embedders", "event='embedder loaded' backend='lam'")


def test_what_the_program_configured_stays(settings: Settings) -> None:
    structlog.configure(processors=[])
    with PersonalMemoryBrain(settings, embedder=FakeEmbedder()):
        assert structlog.get_config()["processors"] == []
