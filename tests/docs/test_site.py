"""The documentation site: built strictly, every page reachable, every link good, nothing fetched from elsewhere."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urljoin, urlsplit

import pytest
import yaml

ROOT = Path(__file__).parents[2]
SITE = ROOT / "build" / "site"
BASE = "http://site/"
# What a browser loads by itself when it opens a page.
pytestmark = pytest.mark.timeout(300)
LOADED = {("link", "href"), ("script", "src"), ("img", "src"), ("iframe", "src"), ("source", "src")}


class Page(HTMLParser):
    """The ids of a page, and where it points."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        for name, value in attributes:
            if name == "id" and value:
                self.ids.add(value)
            elif (tag, name) in LOADED and value and ("rel", "canonical") not in attributes:
                self.loaded.append(value)
            elif (tag, name) == ("a", "href") and value:
                self.links.append(value)


@pytest.fixture(scope="module")
def pages() -> dict[str, Page]:
    """Each page of the built site by its path."""
    done = subprocess.run([sys.executable, "docs/site/build.py"], cwd=ROOT, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "No issues found" in done.stdout + done.stderr
    assert "griffe" not in done.stdout + done.stderr, "a docstring that cannot be read"
    return {path.relative_to(SITE).as_posix(): Page(path.read_text("utf-8")) for path in SITE.rglob("*.html")}


def navigation(items: list[dict[str, object]]) -> Iterator[str]:
    for item in items:
        for target in item.values():
            if isinstance(target, list):
                yield from navigation(target)
            else:
                yield str(target)


def test_every_page_is_in_the_navigation() -> None:
    listed = set(navigation(yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"]))
    written = {path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")}
    parts_of_the_report = {page for page in written if re.fullmatch(r"lam-report/(?!REPORT).*\.md", page)}
    assert written - parts_of_the_report - listed == set(), "give these pages a place in mkdocs.yml"


def test_links_lead_somewhere(pages: dict[str, Page]) -> None:
    broken = []
    for name, page in pages.items():
        if name == "404.html":
            continue
        for link in page.links + page.loaded:
            target = urlsplit(urljoin(BASE + name, link))
            if f"{target.scheme}://{target.netloc}/" != BASE:
                continue
            path = unquote(target.path.lstrip("/")) or "index.html"
            there = (SITE / path).is_file()
            if there and target.fragment and path in pages:
                there = unquote(target.fragment) in pages[path].ids | {"__top"}
            if not there:
                broken.append((name, link))
    assert broken == []


def test_nothing_is_fetched_from_elsewhere(pages: dict[str, Page]) -> None:
    outside = {(name, url) for name, page in pages.items() for url in page.loaded if urlsplit(url).netloc}
    assert outside == set()
    styles = "".join(path.read_text("utf-8") for path in SITE.rglob("*.css"))
    assert not re.findall(r"url\([\"']?(?:https?:)?//", styles)


def test_the_references_hold_the_interfaces(pages: dict[str, Page]) -> None:
    from maas.api.app import create_app
    from maas.settings import Settings

    described = create_app(Settings()).openapi()
    operations = {operation["operationId"] for path in described["paths"].values() for operation in path.values()}
    schemas = {f"schema-{name.lower()}" for name in described["components"]["schemas"]}
    assert operations | schemas <= pages["reference/rest.html"].ids
    python = pages["reference/python.html"].ids
    for home in ("maas.brain.PersonalMemoryBrain", "maas.client.sync.MaasClient"):
        for call in ("store", "store_document", "recall", "context", "erase_user", "import_memories"):
            assert f"{home}.{call}" in python
    assert {"maas.requests.RecallRequest.top_k", "maas.records.SearchHit", "maas.errors.InvalidInputError"} <= python


def test_it_can_be_searched(pages: dict[str, Page]) -> None:
    assert "supersedes" in json.dumps(json.loads((SITE / "search.json").read_text("utf-8")))
