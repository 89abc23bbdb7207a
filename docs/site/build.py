"""Builds the documentation site from what lies in the repository, strictly: ``make docs``.

The pages of ``docs`` are copied to ``build/docs``, beside what is generated (the REST reference) and what lives at the
top of the repository (CONTRIBUTING.md and others): any generator that reads mkdocs.yml finds one folder of pages.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
DOCS = ROOT / "docs"
LEFT_OUT = shutil.ignore_patterns(HERE.name, "__pycache__", ".ipynb_checkpoints", "runs")
# Files at the top of the repository that pages of the site link to.
FROM_THE_TOP = {
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "CHANGELOG.md": "changelog.md",
    "config.yaml": "config.yaml",
}


def assemble(pages: Path) -> None:
    """Write every page of the site into the folder ``pages``, which is made anew."""
    from rest import reference

    shutil.rmtree(pages, ignore_errors=True)
    shutil.copytree(DOCS, pages, ignore=LEFT_OUT)
    for name, target in FROM_THE_TOP.items():
        (pages / target).write_text((ROOT / name).read_text(encoding="utf-8"), encoding="utf-8")
    (pages / "reference" / "rest.md").write_text(reference(), encoding="utf-8")
    for page in pages.glob("*.md"):
        page.write_text(relinked(page.read_text(encoding="utf-8")), encoding="utf-8")


def relinked(text: str) -> str:
    """Links into ``docs`` from the top, and out of it, made links within the site."""
    text = re.sub(r"\]\(docs/", "](", text)
    for name, target in FROM_THE_TOP.items():
        text = re.sub(rf"\]\((?:\.\./)?{re.escape(name)}(?=[)#])", f"]({target}", text)
    return re.sub(r"\[([^]]+)\]\(\.\./[^)]*\)", r"`\1`", text)  # what the site does not hold


def main() -> int:
    """Assemble and build; the exit code is the generator's."""
    assemble(ROOT / "build" / "docs")
    command = [sys.executable, "-m", "zensical", "build", "--clean", "--strict"]
    return subprocess.run(command, check=False, cwd=ROOT, env={**os.environ, "NO_COLOR": "1"}).returncode  # noqa: S603


if __name__ == "__main__":
    sys.exit(main())
