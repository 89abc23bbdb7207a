"""Three nodes of PostgreSQL under Patroni, and the etcd they agree in, on free loopback ports."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import httpx2
import psutil
import psycopg
import yaml

from tests.cluster.programs import etcd, give_away, packages, patroni, postgres_programs, unprivileged

DATABASE = "maas"
# How Patroni watches: the least that its own checks allow. A leader that is silent for TTL seconds is replaced.
TTL, LOOP_WAIT, RETRY_TIMEOUT = 20, 2, 5
START_SECONDS = 180.0

Loss = Literal["postgres", "node"]


@dataclass
class Node:
    """One machine of the cluster: its Patroni, and the PostgreSQL that it runs."""

    name: str
    folder: Path
    port: int
    rest_port: int
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def data(self) -> Path:
        return self.folder / "data"

    def start(self, config: dict[str, Any]) -> None:
        path = self.folder / "patroni.yml"
        path.write_text(yaml.safe_dump(config))
        with (self.folder / "patroni.log").open("ab") as log:
            self.processes.append(
                subprocess.Popen(
                    [*patroni(), str(path)],
                    cwd=self.folder,
                    env=packages(),
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                    **unprivileged(),
                )
            )

    def check_alive(self) -> None:
        """Raises RuntimeError with its last lines if Patroni has ended by itself."""
        if self.processes[-1].poll() is not None:
            lines = (self.folder / "patroni.log").read_text(errors="replace").splitlines()
            raise RuntimeError(f"Patroni of {self.name} has ended: {' | '.join(lines[-3:])}")

    def kill(self, loss: Loss) -> None:
        """SIGKILL to PostgreSQL with all its processes; with ``node`` to Patroni first, as when a machine goes."""
        if loss == "node":
            self.processes[-1].kill()
            self.processes.pop().wait()
        for process in self._postgres():
            with suppress(psutil.NoSuchProcess):
                process.kill()

    def stop(self) -> None:
        self.kill("postgres") if not self.processes else self.kill("node")

    def _postgres(self) -> list[psutil.Process]:
        """The postmaster, then its children."""
        try:
            number = int((self.data / "postmaster.pid").read_text().split()[0])
            postmaster = psutil.Process(number)
            return [postmaster, *postmaster.children(recursive=True)]
        except (OSError, ValueError, psutil.NoSuchProcess):
            return []


class Cluster:
    """Use :func:`running_cluster`."""

    def __init__(self, folder: Path, cache: Path) -> None:
        self._folder = folder
        self._etcd_program = etcd(cache)
        self._etcd_port = free_port()
        self._etcd: subprocess.Popen[bytes] | None = None
        self.nodes = [Node(f"node{n}", folder / f"node{n}", free_port(), free_port()) for n in (1, 2, 3)]

    @property
    def url(self) -> str:
        """For ``storage.url``: libpq tries the nodes in turn, and takes the one that can be written."""
        hosts = "&".join(f"host=127.0.0.1:{node.port}" for node in self.nodes)
        return f"postgresql+psycopg://postgres@/{DATABASE}?{hosts}&target_session_attrs=read-write&connect_timeout=3"

    def start(self) -> None:
        self._etcd = self._start_etcd()
        for node in self.nodes:
            node.folder.mkdir()
            give_away(node.folder)
            self.start_node(node)
        self.wait_until_whole()
        with psycopg.connect(f"host=127.0.0.1 port={self.leader().port} user=postgres", autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {DATABASE}")

    def stop(self) -> None:
        for node in self.nodes:
            node.stop()
        if self._etcd is not None:
            self._etcd.kill()
            self._etcd.wait()

    def start_node(self, node: Node) -> None:
        node.start(self._config(node))

    def leader(self) -> Node:
        (name,) = [m["name"] for m in self._members() if m["role"] == "leader"]
        return next(node for node in self.nodes if node.name == name)

    def wait_until_whole(self) -> float:
        """Wait for a leader, and two followers of which one is synchronous; returns the seconds it took."""
        started = time.monotonic()

        def whole() -> bool:
            for node in self.nodes:
                node.check_alive()
            members = self._members()
            roles = sorted(member["role"] for member in members)
            following = all(m["state"] == ("running" if m["role"] == "leader" else "streaming") for m in members)
            return following and roles == ["leader", "replica", "sync_standby"]

        wait_for(whole, START_SECONDS, lambda: f"the cluster did not get whole: {self._members()}; see {self._folder}")
        return time.monotonic() - started

    def _members(self) -> list[dict[str, Any]]:
        for node in self.nodes:
            with suppress(httpx2.HTTPError):
                answer = httpx2.get(f"http://127.0.0.1:{node.rest_port}/cluster", timeout=5, trust_env=False)
                members: list[dict[str, Any]] = answer.json()["members"]
                return members
        return []

    def _start_etcd(self) -> subprocess.Popen[bytes]:
        data = self._folder / "etcd"
        data.mkdir(mode=0o700)
        give_away(data)
        url, peers = f"http://127.0.0.1:{self._etcd_port}", f"http://127.0.0.1:{free_port()}"
        command = [str(self._etcd_program), "--name=etcd", f"--data-dir={data}"]
        command += [f"--listen-client-urls={url}", f"--advertise-client-urls={url}", f"--listen-peer-urls={peers}"]
        command += [f"--initial-advertise-peer-urls={peers}", f"--initial-cluster=etcd={peers}"]
        with (self._folder / "etcd.log").open("wb") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True, **unprivileged())

        def healthy() -> bool:
            with suppress(httpx2.HTTPError):
                return httpx2.get(f"{url}/health", trust_env=False).is_success
            return False

        wait_for(healthy, START_SECONDS, lambda: f"etcd did not start; see {self._folder / 'etcd.log'}")
        return process

    def _config(self, node: Node) -> dict[str, Any]:
        """What a real one has: synchronous commit on a standby, rewind, slots; trust, since all of it is loopback."""
        rest, address = f"127.0.0.1:{node.rest_port}", f"127.0.0.1:{node.port}"
        trusted = ["local all all trust", "host all all 127.0.0.1/32 trust", "host replication all 127.0.0.1/32 trust"]
        return {
            "scope": "maas",
            "name": node.name,
            "restapi": {"listen": rest, "connect_address": rest},
            "etcd3": {"hosts": [f"127.0.0.1:{self._etcd_port}"]},
            "bootstrap": {
                "dcs": {
                    "ttl": TTL,
                    "loop_wait": LOOP_WAIT,
                    "retry_timeout": RETRY_TIMEOUT,
                    "synchronous_mode": True,
                    "primary_start_timeout": 0,  # a killed PostgreSQL is replaced, not waited for
                    "postgresql": {"use_pg_rewind": True, "use_slots": True},
                },
                "initdb": [{"encoding": "UTF8"}, {"locale": "C.UTF-8"}, "data-checksums"],
            },
            "postgresql": {
                "listen": address,
                "connect_address": address,
                "data_dir": str(node.data),
                # A node with changes that the new primary never had, and that cannot be wound back, is copied anew.
                "remove_data_directory_on_rewind_failure": True,
                "remove_data_directory_on_diverged_timelines": True,
                "bin_dir": str(postgres_programs()),
                "pgpass": str(node.folder / "pgpass"),
                "pg_hba": trusted,
                "authentication": {
                    "superuser": {"username": "postgres", "password": "loopback"},
                    "replication": {"username": "replicator", "password": "loopback"},
                },
                "parameters": {"unix_socket_directories": str(node.folder), "max_connections": 100},
            },
        }


@contextmanager
def running_cluster(folder: Path, cache: Path) -> Iterator[Cluster]:
    """Three nodes, one of them leading, one following synchronously; killed at the end."""
    folder.chmod(0o755)
    cluster = Cluster(folder, cache)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()


def wait_for(met: Callable[[], bool], seconds: float, otherwise: Callable[[], str]) -> None:
    deadline = time.monotonic() + seconds
    while not met():
        if time.monotonic() > deadline:
            raise TimeoutError(otherwise())
        time.sleep(0.1)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        number: int = probe.getsockname()[1]
        return number
