"""``serve`` as a process: what it prints, what it refuses, how it stops."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest

from maas.api.server import address_of, bind, check, serve
from maas.errors import ConfigError
from maas.settings import load_settings

PROGRAM = """
import sys
import maas.brain
from maas.api.server import serve
from maas.settings import load_settings
from tests.fakes import FakeEmbedder
maas.brain._build = lambda settings: FakeEmbedder()
serve(load_settings(data_dir=sys.argv[1], server={"port": 0}))
"""


@contextmanager
def process(folder: Path, **environment: str) -> Iterator[subprocess.Popen[str]]:
    root = Path(__file__).parents[2]
    running = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(folder)],
        cwd=root,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        yield running
    finally:
        running.kill()
        running.communicate()


def lines_until_ready(running: subprocess.Popen[str]) -> list[str]:
    assert running.stdout is not None
    lines = []
    for line in running.stdout:
        lines.append(line.strip())
        if line.startswith("maas is listening on "):
            return lines
    raise AssertionError(f"the server ended: {lines}")


@pytest.mark.server
def test_the_first_key_is_shown_once_and_works(tmp_path: Path) -> None:
    with process(tmp_path) as running:
        lines = lines_until_ready(running)
        keys = re.findall(r"maas_\w+", "\n".join(lines))
        url = lines[-1].removeprefix("maas is listening on ")
        answer = httpx2.get(f"{url}/v1/keys", headers={"X-API-Key": keys[0]})
        assert answer.status_code == 200
        running.send_signal(signal.SIGTERM)
        assert running.wait(20) == 0
    with process(tmp_path) as running:
        assert len(lines_until_ready(running)) == 1


@pytest.mark.server
def test_a_request_under_way_is_finished_before_the_end(tmp_path: Path) -> None:
    with process(tmp_path, MAAS_BOOTSTRAP_KEY="maas_first_0123456789abcdef") as running:
        url = lines_until_ready(running)[-1].removeprefix("maas is listening on ")
        headers = {"Authorization": "Bearer maas_first_0123456789abcdef"}
        body = {"memories": [{"user_id": "a", "text": f"memory {n}"} for n in range(500)]}
        with httpx2.Client(base_url=url, headers=headers, timeout=30) as http, ThreadPoolExecutor(1) as pool:
            assert http.get("/readyz").status_code == 200
            sent = pool.submit(http.post, "/v1/memories/batch", json=body)
            while "maas_http_requests_in_flight 2.0" not in http.get("/metrics").text and not sent.done():
                time.sleep(0.01)
            running.send_signal(signal.SIGINT)
            assert sent.result().status_code == 201
        assert running.wait(30) == 0


@pytest.mark.model
@pytest.mark.server
@pytest.mark.timeout(300)
def test_workers_share_the_data_folder_and_one_address(tmp_path: Path) -> None:
    environment = {"MAAS_SERVER__WORKERS": "2", "MAAS_BOOTSTRAP_KEY": "maas_first_0123456789abcdef"}
    # Workers are fresh processes: they load the embedder that the settings name.
    environment["MAAS_EMBEDDER__BACKEND"] = "sentence-transformers"
    with process(tmp_path, **environment) as running:
        url = lines_until_ready(running)[-1].removeprefix("maas is listening on ")
        headers = {"Authorization": "Bearer maas_first_0123456789abcdef"}
        for n in range(10):  # each on a connection of its own, so that both workers get some
            body = {"user_id": "a", "text": f"memory {n}"}
            assert httpx2.post(f"{url}/v1/memories", json=body, headers=headers, timeout=60).status_code == 201
            listed = httpx2.get(f"{url}/v1/memories?user_id=a", headers=headers, timeout=60).json()
            assert len(listed["results"]) == n + 1
        running.send_signal(signal.SIGTERM)
        assert running.wait(60) == 0


def test_a_port_in_use_is_one_clear_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=rf"port {port} on 127.0.0.1 is in use"):
            bind("127.0.0.1", port)


def test_port_zero_takes_a_free_one() -> None:
    with bind("127.0.0.1", 0) as listener:
        assert re.fullmatch(r"http://127\.0\.0\.1:[1-9]\d+", address_of(listener))


def test_a_host_of_another_machine_is_refused() -> None:
    with pytest.raises(ConfigError, match="server.host"):
        bind("203.0.113.7", 0)


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.5", "::", "memory.example"])
def test_without_authentication_only_loopback_is_served(tmp_path: Path, host: str) -> None:
    settings = load_settings(data_dir=tmp_path, server={"host": host}, auth={"enabled": False})
    with pytest.raises(ConfigError, match=r"auth\.enabled"):
        serve(settings)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.8.8.8"])
def test_without_authentication_loopback_passes(tmp_path: Path, host: str) -> None:
    check(load_settings(data_dir=tmp_path, server={"host": host}, auth={"enabled": False}))


def test_a_data_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(ConfigError, match="data folder"):
        check(load_settings(data_dir=tmp_path / "file"))
