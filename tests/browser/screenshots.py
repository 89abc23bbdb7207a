"""The pictures in docs/dashboard.md, taken of a server with made-up memories: make screenshots

    python -m tests.browser.screenshots FOLDER [--all]

With --all, of every page in both colours.
"""

from __future__ import annotations

import re
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

from PIL import Image
from playwright.sync_api import Browser, Page

from maas.brain import PersonalMemoryBrain
from maas.embedders.factory import build_embedder
from maas.settings import load_settings
from tests.browser.chromium import chromium
from tests.browser.notes import NOTES
from tests.live import Live, serving

USER = "anna"
OTHERS = {"ben": 21, "chiara": 9, "dmitri": 14, "elif": 34, "farouk": 5}
BEGIN = datetime(2026, 3, 2, 8, 30, tzinfo=UTC)
DOCUMENT = Path(__file__).parents[2] / "docs" / "dashboard.md"
SHOWN = frozenset(re.findall(r"dashboard/([\w-]+\.png)", DOCUMENT.read_text(encoding="utf-8")))
EVERY_PAGE = "--all" in sys.argv
COLOURS = 128  # of a picture of flat colours; it is a quarter of the size


def fill(brain: PersonalMemoryBrain) -> None:
    """A user with notes of some months, one that changed and one that was replaced, and users with fewer."""
    longest = max(map(len, NOTES.values()))
    for week in range(longest):
        for number, (topic, notes) in enumerate(NOTES.items()):
            at = BEGIN + timedelta(weeks=2 * week, days=number, minutes=37 * number)
            if week < len(notes):
                brain.store(notes[week], user_id=USER, session_id=topic, created_at=at)
    for user, count in OTHERS.items():
        for number in range(count):
            at = BEGIN + timedelta(days=2 * number + count)
            brain.store(f"Note {number + 1} of {user}", user_id=user, created_at=at)
    (flat,) = brain.recall("Where in Lisbon is the flat?", user_id=USER, top_k=1).results
    brain.update(flat.id, text="The flat in Lisbon is on the fourth floor, with a lift", metadata={"city": "Lisbon"})


def take(browser: Browser, live: Live, out: Path, scheme: Literal["light", "dark"]) -> None:
    context = browser.new_context(viewport={"width": 1280, "height": 800}, color_scheme=scheme)
    page = context.new_page()
    page.goto(f"{live.url}/ui/")
    page.get_by_label("API key").fill(live.admin_key)
    keep(page, out / f"sign-in-{scheme}.png")
    page.get_by_role("button", name="Sign in").click()
    keep(page, out / f"users-{scheme}.png")
    page.goto(f"{live.url}/ui/search?user={USER}&q=Who+has+a+key+to+our+flat%3F&top_k=5")
    page.locator(".hit summary").first.click()
    keep(page, out / f"search-{scheme}.png")
    page.goto(f"{live.url}/ui/search?user={USER}&q=Which+floor+is+the+flat+in+Lisbon+on%3F")
    page.locator(".hit").first.get_by_role("link", name="Open").click()
    page.wait_for_url("**/ui/memory?*")
    keep(page, out / f"memory-{scheme}.png")
    for name in ("timeline", "map", "documents", "transfer", "memory/new"):
        page.goto(f"{live.url}/ui/{name}?user={USER}")
        keep(page, out / f"{name.replace('/', '-')}-{scheme}.png")
    for name in ("keys", "audit", "reindex", "model"):
        page.goto(f"{live.url}/ui/{name}")
        keep(page, out / f"{name}-{scheme}.png")
    context.close()


def keep(page: Page, path: Path) -> None:
    if path.name not in SHOWN and not EVERY_PAGE:
        return
    page.screenshot(path=path, animations="disabled")
    with Image.open(path) as image:
        image.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE).save(path, optimize=True)


def main(out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    embedder = build_embedder(load_settings())
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder) / "data", embedder) as live:
        fill(live.brain)
        with chromium() as browser:
            take(browser, live, out, "light")
            take(browser, live, out, "dark")
    embedder.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
