"""Fixtures for all tests: settings on a fresh folder, and a brain on a real SQLite file with the fake embedder."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import hypothesis
import pytest
import structlog

from maas import PersonalMemoryBrain, Settings
from tests.fakes import FakeEmbedder
from tests.postgres import Server, running

# How long a machine under load takes to make an example says nothing about the code.
# The same examples each time: what fails was broken by what changed. `make fuzz` looks for others.
hypothesis.settings.register_profile(
    "maas",
    deadline=None,
    derandomize="FUZZ_CASES" not in os.environ,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("maas")

# structlog's own tracebacks draw every local variable, which takes seconds each.
structlog.configure(
    processors=[
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback),
    ]
)


class FakeClock:
    """A clock that stands still until it is told to go on."""

    def __init__(self) -> None:
        self.now = datetime(2025, 3, 1, 12, 0, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def advance(self, **duration: float) -> None:
        self.now += timedelta(**duration)


@pytest.fixture(autouse=True)
def logging_put_back() -> Iterator[None]:
    """Commands configure the process's logging; other tests must not notice."""
    root = logging.getLogger()
    handlers, level, configured = list(root.handlers), root.level, structlog.get_config()
    yield
    root.handlers, root.level = handlers, level
    structlog.configure(**configured)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    yield from running()


@pytest.fixture
def postgres_settings(postgres: Server) -> Settings:
    return postgres.settings(postgres.migrated())


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path / "data")


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def embedder() -> FakeEmbedder:
    return FakeEmbedder()


@pytest.fixture
def brain(settings: Settings, embedder: FakeEmbedder, clock: FakeClock) -> Iterator[PersonalMemoryBrain]:
    with PersonalMemoryBrain(settings, embedder=embedder, clock=clock) as brain:
        yield brain
