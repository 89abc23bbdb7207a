from __future__ import annotations

from collections.abc import Iterator

import httpx2
import pytest

from tests.live import Live, serving, someone


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    with serving(tmp_path_factory.mktemp("data")) as live:
        yield live


@pytest.fixture
def http(live: Live) -> Iterator[httpx2.Client]:
    with live.http() as http:
        yield http


@pytest.fixture
def user() -> str:
    return someone()
