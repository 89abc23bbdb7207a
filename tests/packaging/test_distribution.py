"""The wheel and the sdist hold all they need, and run where nothing else is installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LEFT_OUT = shutil.ignore_patterns(".*", "data", "dist", "build", "runs", "*.egg-info", "__pycache__", "weights")
BUILD = "from setuptools import build_meta as b; import sys; print(getattr(b, 'build_' + sys.argv[1])(sys.argv[2]))"

pytestmark = pytest.mark.timeout(600)


def ran(*command: str | Path, cwd: Path) -> str:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MAAS_", "PYTHON"))}
    done = subprocess.run(command, cwd=cwd, env=kept, capture_output=True, text=True)
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


def build(kind: str, source: Path, out: Path) -> Path:
    return out / ran(sys.executable, "-c", BUILD, kind, str(out), cwd=source).split()[-1]


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sdist")
    shutil.copytree(ROOT, folder / "source", ignore=LEFT_OUT)
    return build("sdist", folder / "source", folder)


@pytest.fixture(scope="module")
def wheel(sdist: Path) -> Path:
    """Built from the sdist, so that what the sdist lacks is missed here."""
    with tarfile.open(sdist) as archive:
        archive.extractall(sdist.parent / "unpacked", filter="data")
    return build("wheel", next((sdist.parent / "unpacked").iterdir()), sdist.parent)


@pytest.fixture(scope="module")
def python(wheel: Path) -> Path:
    """An environment with the wheel, and the packages it depends on lent from this one."""
    folder = wheel.parent / "venv"
    venv.create(folder, with_pip=False, symlinks=True)
    (site,) = folder.glob("lib/python*/site-packages")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    # A path in a .pth file lends packages, but not what this environment's own .pth files add: this checkout.
    (lent,) = [path for path in map(Path, sys.path) if path.name == "site-packages" and (path / "pydantic").is_dir()]
    (site / "lent.pth").write_text(f"{lent}\n")
    return folder / "bin" / "python"


def test_the_sdist_holds_the_sources_of_everything(sdist: Path) -> None:
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    wanted = {
        "pyproject.toml",
        "setup.py",
        "README.md",
        "CHANGELOG.md",
        "CONTRIBUTING.md",
        "LICENSE",
        "NOTICE",
        "config.yaml",
        "constraints.txt",
        "Makefile",
        "docs/api.md",
        "migrations/env.py",
        "migrations/versions/0001_initial.py",
        "tests/conftest.py",
        "tests/adapters/requirements.txt",
    }
    assert wanted <= names
    assert not {name for name in names if name.startswith(("data/", ".venv", "dist/"))}


def test_the_wheel_holds_what_runs_and_nothing_beside(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    versions = {path.name for path in (ROOT / "migrations" / "versions").glob("*.py")}
    assert {
        "maas/py.typed",
        "lam_backend/py.typed",
        "maas/demo/conversation.jsonl",
        "maas/demo/questions.jsonl",
        "maas/migrations/env.py",
        "maas/migrations/script.py.mako",
        *(f"maas/migrations/versions/{name}" for name in versions),
        *(path.relative_to(ROOT).as_posix() for path in (ROOT / "maas" / "ui").glob("[st]*/*") if path.is_file()),
        "maas/ui/static/LICENSE-htmx",
        "maas/ui/static/LICENSE-pico",
        "maas/ui/templates/search.html",
        "maas/ui/lam-report/REPORT.md",
        "maas/ui/lam-report/scaling.png",
    } <= names
    packages = {path.relative_to(ROOT).as_posix() for folder in ("maas", "lam_backend") for path in python_of(folder)}
    assert packages <= names
    assert {name.partition("/")[0] for name in names if ".dist-info" not in name} == {"maas", "lam_backend"}
    assert {name.partition("/")[2] for name in names if "/licenses/" in name} == {"licenses/LICENSE", "licenses/NOTICE"}


def test_the_notice_leads_to_each_licence() -> None:
    notice = (ROOT / "NOTICE").read_text(encoding="utf-8")
    held = {path.relative_to(ROOT).as_posix() for folder in ("maas", "lam_backend") for path in licences_of(folder)}
    assert held
    assert {path for path in held if path not in notice} == set()


def licences_of(folder: str) -> list[Path]:
    return list((ROOT / folder).rglob("LICENSE*"))


def python_of(folder: str) -> list[Path]:
    return [path for path in (ROOT / folder).rglob("*.py") if "weights" not in path.parts]


def test_it_runs_from_the_wheel_alone(python: Path, tmp_path: Path) -> None:
    where = ran(python, "-c", "import maas, lam_backend; print(maas.__file__, lam_backend.__file__)", cwd=tmp_path)
    assert all(path.startswith(str(python.parents[1])) for path in where.split())
    version = ran(python, "-m", "maas", "--version", cwd=tmp_path)
    assert version == f"maas {version_in_pyproject()}\n"
    migrated = ran(python, "-m", "maas", "migrate", "--data-dir", "data", "--json", cwd=tmp_path)
    assert '"changed": true' in migrated
    assert "nothing to do" in ran(python, "-m", "maas", "migrate", "--data-dir", "data", cwd=tmp_path)
    program = (
        "from maas.ui.report import figure, report; print(figure('scaling.png') is not None and 'LAM' in report())"
    )
    assert ran(python, "-c", program, cwd=tmp_path) == "True\n"
    program = "from maas.demo.tour import shipped_conversation; print(len(shipped_conversation().questions))"
    assert int(ran(python, "-c", program, cwd=tmp_path)) > 0


def version_in_pyproject() -> str:
    version: str = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    return version


def test_the_version_is_written_once() -> None:
    version = version_in_pyproject()
    written = [path for folder in ("maas", "lam_backend") for path in (ROOT / folder).rglob("*.py")]
    assert not [path for path in written if f'"{version}"' in path.read_text(encoding="utf-8")]
