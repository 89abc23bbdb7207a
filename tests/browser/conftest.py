"""A real Chromium on a real server with made-up memories."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.chromium import chromium, executable
from tests.browser.notes import NOTES
from tests.live import Live, serving

PATIENCE_MS = 30_000  # of a machine that has other work


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Of one module: while Playwright is on, its event loop runs in this thread, and no other test could start one."""
    if executable() is None:
        missing = "no Chromium here; install it: apt-get install chromium"
        if os.environ.get("BROWSER_TESTS") == "required":
            pytest.fail(missing)
        pytest.skip(missing)
    expect.set_options(timeout=PATIENCE_MS)
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="session")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    with serving(tmp_path_factory.mktemp("browser")) as live:
        begin = datetime(2026, 3, 2, 8, 30, tzinfo=UTC)
        for day, (topic, notes) in enumerate(NOTES.items()):
            at = begin + timedelta(days=day)
            live.brain.store_batch(
                [{"user_id": "anna", "text": note, "session_id": topic, "created_at": at} for note in notes]
            )
        live.brain.store_document("A lease. It goes on and on.", user_id="anna", title="Lease")
        yield live


@pytest.fixture
def complaints() -> list[str]:
    """What the browser had to say of the page, gathered as it comes."""
    return []


@pytest.fixture
def page(browser: Browser, live: Live, complaints: list[str]) -> Iterator[Page]:
    """Not signed in. Whatever the page's policy blocks, or a script of it gets wrong, fails the test."""
    context = browser.new_context(base_url=live.url)
    context.set_default_timeout(PATIENCE_MS)
    page = context.new_page()
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("dialog", lambda dialog: (complaints.append(f"a dialog opened: {dialog.message}"), dialog.dismiss()))
    yield page
    context.close()
    # What is refused with a status of its own is told to the console as well.
    assert not [message for message in complaints if "Failed to load resource: the server responded" not in message]


@pytest.fixture
def signed_in(page: Page, live: Live) -> Page:
    sign_in(page, live.admin_key)
    return page


def sign_in(page: Page, key: str) -> None:
    page.goto("/ui/")
    page.get_by_label("API key").fill(key)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url(lambda url: "sign-in" not in url)
