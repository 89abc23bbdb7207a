"""axe finds nothing serious on any page, by day and by night, wide and narrow."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import pytest
from playwright.sync_api import Browser, Page

from tests.browser.conftest import PATIENCE_MS, sign_in
from tests.live import Live

AXE = Path(__file__).parent / "axe" / "axe.min.js"
SERIOUS = ("serious", "critical")
PAGES = (
    *("/ui/", "/ui/?matching=nobody", "/ui/keys", "/ui/reindex", "/ui/audit", "/ui/model", "/ui/nowhere"),
    *("/ui/search?user=anna", "/ui/search?user=anna&q=Who+has+a+key%3F", "/ui/search?user=anna&q=x&filters=no"),
    *("/ui/timeline?user=anna", "/ui/map?user=anna", "/ui/documents?user=anna", "/ui/transfer?user=anna"),
    *("/ui/erase?user=anna", "/ui/memory/new?user=anna", "/ui/memory/new"),
)


def findings(page: Page, only: Sequence[str] = ()) -> list[str]:
    """Serious and critical ones: the rule, and where. ``only``: of these rules."""
    page.evaluate("() => document.querySelectorAll('details').forEach(part => part.open = true)")
    # Through the debugger, since the page's policy takes no script from a test.
    page.evaluate(AXE.read_text(encoding="utf-8"))
    options = {"resultTypes": ["violations"]} | ({"runOnly": {"type": "rule", "values": list(only)}} if only else {})
    report: dict[str, Any] = page.evaluate("options => axe.run(document, options)", options)
    assert report["passes"], "axe looked at nothing"
    return [
        f"{page.url}: {violation['id']}: {node['target']}: {node['failureSummary']}"
        for violation in report["violations"]
        if violation["impact"] in SERIOUS
        for node in violation["nodes"][:3]
    ]


@pytest.mark.timeout(300)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_page_has_a_serious_barrier(browser: Browser, live: Live, scheme: Literal["light", "dark"]) -> None:
    """By night only the colours are others, so only they are looked at again."""
    only = () if scheme == "light" else ("color-contrast", "link-in-text-block")
    context = browser.new_context(base_url=live.url, color_scheme=scheme)
    context.set_default_timeout(PATIENCE_MS)
    page = context.new_page()
    page.goto("/ui/sign-in")
    found = findings(page, only)
    sign_in(page, live.admin_key)
    memory = live.brain.recall("spare key", user_id="anna", top_k=1).results[0].id
    live.brain.update(memory, metadata={"scheme": scheme})
    deeds = [f"/ui/memory{deed}?id={memory}&user=anna" for deed in ("", "/edit", "/forget")]
    for address in (*PAGES, *deeds):
        page.goto(address)
        found += findings(page, only)
    context.close()
    assert found == []


def test_pages_fit_a_telephone(signed_in: Page) -> None:
    signed_in.set_viewport_size({"width": 380, "height": 700})
    for address in PAGES:
        signed_in.goto(address)
        width = signed_in.evaluate("() => document.documentElement.scrollWidth")
        assert width <= 380, address


def test_the_measure_finds_a_barrier(signed_in: Page) -> None:
    signed_in.evaluate("() => document.querySelector('main').innerHTML = '<img src=/ui/static/logo.svg><input>'")
    assert any("image-alt" in finding for finding in findings(signed_in))
