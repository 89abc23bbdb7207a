"""Notes in Markdown, a file or a folder of them: every section under a heading is a memory."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from maas.errors import InvalidInputError
from maas.imports.files import key

_HEADING = re.compile(r"(#{1,6})\s+(.*?)\s*#*\s*")
_FENCE = re.compile(r"\s*(```|~~~)")
_FRONT_MATTER = re.compile(r"\A---\n.*?\n---\n", re.DOTALL)


def sections(path: Path) -> Iterator[dict[str, Any]]:
    """The key is the file and its headings, so a section that was edited replaces what was imported before."""
    files = sorted(path.rglob("*.md")) if path.is_dir() else [path]
    if not files or not all(file.is_file() for file in files):
        raise InvalidInputError(f"{path} is no Markdown file, and no folder with any; expected names ending in .md")
    for file in files:
        name = file.relative_to(path).as_posix() if path.is_dir() else file.name
        try:
            content = file.read_text(encoding="utf-8-sig")
        except UnicodeDecodeError as error:
            raise InvalidInputError(f"{file} is no UTF-8: {error.reason} at byte {error.start}") from None
        seen: Counter[tuple[str, ...]] = Counter()
        taken: set[str] = set()
        for headings, text in _split(_FRONT_MATTER.sub("", content)):
            again = [seen[headings]] if seen[headings] else []
            seen[headings] += 1
            own = key("markdown", name, *headings, *again)
            while own in taken:  # another section's headings read the same with colons between
                own = key(own, "#")
            taken.add(own)
            yield {
                "key": own,
                "text": text,
                "metadata": {"source": "markdown", "file": name, "headings": list(headings)},
            }


def _split(content: str) -> Iterator[tuple[tuple[str, ...], str]]:
    """Sections with words of their own, each under its headings from the outermost in."""
    headings: list[tuple[int, str]] = []
    lines: list[str] = []
    fenced = False
    for line in [*content.splitlines(), None]:
        if line is not None and _FENCE.match(line):
            fenced = not fenced
        heading = None if line is None or fenced else _HEADING.fullmatch(line)
        if line is not None and heading is None:
            lines.append(line)
            continue
        if body := "\n".join(lines).strip():
            names = tuple(name for _, name in headings)
            yield names, f"{names[-1]}\n\n{body}" if names else body
        lines = []
        if heading is not None:
            level = len(heading[1])
            headings = [*(outer for outer in headings if outer[0] < level), (level, heading[2])]
