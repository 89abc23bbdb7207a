from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.fakes import StreamingFakeEmbedder
from tests.live import Live, serving, someone
from tests.ui.desk import Desk


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    with serving(tmp_path_factory.mktemp("data"), StreamingFakeEmbedder()) as live:
        yield live


@pytest.fixture
def desk(live: Live) -> Iterator[Desk]:
    with Desk(live, live.admin_key) as desk:
        yield desk


@pytest.fixture
def user() -> str:
    return someone()
