"""The report on the released encoder: beside the documents in a checkout, inside the package once installed."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token
from markupsafe import Markup

_PACKAGE = Path(__file__).resolve().parent
_INSTALLED = _PACKAGE / "lam-report"
FOLDER = _INSTALLED if _INSTALLED.is_dir() else _PACKAGE.parents[1] / "docs" / "lam-report"
_FIGURE = re.compile(r"[a-z0-9_-]+\.png")


def report() -> Markup | None:
    """As HTML; None where it did not come along."""
    path = FOLDER / "REPORT.md"
    return _rendered(path, path.stat().st_mtime_ns) if path.is_file() else None


def figure(name: str) -> Path | None:
    """The file of a plot of the report."""
    path = FOLDER / name
    return path if _FIGURE.fullmatch(name) and path.is_file() else None


@cache
def _rendered(path: Path, _changed: int) -> Markup:
    markdown = MarkdownIt("commonmark", {"html": False}).enable("table")
    tokens = markdown.parse(path.read_text(encoding="utf-8"))
    for token in tokens:
        _fit(token)
    html = markdown.renderer.render(tokens, markdown.options, {})
    # Tables wider than the page are scrolled, with the keyboard too.
    html = html.replace(
        "<table>", '<div class="scrolled" role="region" aria-label="Table of the report" tabindex="0"><table>'
    )
    return Markup(html.replace("</table>", "</table></div>"))  # noqa: S704 - of our own file, with HTML in it escaped


def _fit(token: Token) -> None:
    """Headings go below that of the page, plots are served by it, and alignment needs a class under its CSP."""
    if token.type in ("heading_open", "heading_close"):
        token.tag = f"h{min(6, int(token.tag[1]) + 1)}"
    if token.attrs.pop("style", None):
        token.attrs["class"] = "aligned"
    for child in token.children or []:
        source = str(child.attrs.get("src", ""))
        if child.type == "image" and figure(source):
            child.attrs["src"] = f"/ui/model/{source}"
