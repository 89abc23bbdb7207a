"""Every command of README.md, run as it stands against a real server, a real data folder and the packaged model."""

from __future__ import annotations

import json
import os
import re
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(bash|python|mermaid)\n(.*?)```", README, re.DOTALL)
BASH = [code for language, code in BLOCKS if language == "bash"]
PYTHON = [code for language, code in BLOCKS if language == "python"]
SERVE, TEST, EXPORT, CURL, CLI = BASH
EMBEDDED, HTTP = PYTHON

# The environment the tests run in is set up already: make is told so, and to use it.
PREPARED = [f"VENV={sys.prefix}", "-o", f"{sys.prefix}/installed", "-o", f"{sys.prefix}/installed-dev"]

pytestmark = [pytest.mark.server, pytest.mark.model, pytest.mark.timeout(300)]


@dataclass(frozen=True)
class Server:
    url: str
    key: str
    output: str
    log: Path


def environment(data_dir: Path, **variables: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MAAS_", "MAKE", "MFLAGS"))}
    path = f"{Path(sys.prefix) / 'bin'}{os.pathsep}{os.environ['PATH']}"
    return kept | {"PATH": path, "MAAS_DATA_DIR": str(data_dir)} | variables


def command(block: str) -> list[str]:
    """The one command of a block, without its comment."""
    (line,) = block.strip().splitlines()
    return line.split("#")[0].split()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    data_dir = tmp_path_factory.mktemp("served") / "data"
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    log = data_dir.parent / "stderr"
    with (
        log.open("w") as stderr,
        subprocess.Popen(
            [*command(SERVE), *PREPARED],
            cwd=ROOT,
            env=environment(data_dir, MAAS_SERVER__PORT=str(port), PYTHONUNBUFFERED="1"),
            stdout=subprocess.PIPE,
            stderr=stderr,
            start_new_session=True,
        ) as process,
    ):
        try:
            output = read_until_listening(process, log)
            key = re.search(r"maas_[a-z0-9]+_[A-Za-z0-9]+", output)
            assert key, f"no key was printed: {output}"
            yield Server(f"http://127.0.0.1:{port}", key[0], output, log)
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(30)


def read_until_listening(process: subprocess.Popen[bytes], log: Path) -> str:
    assert process.stdout is not None
    output = b""
    end = time.monotonic() + 120
    while b"listening on" not in output:
        assert select.select([process.stdout], [], [], max(0.0, end - time.monotonic()))[0], "no start in 120 s"
        piece = os.read(process.stdout.fileno(), 65536)
        assert piece, f"make serve ended early: {output.decode()}{log.read_text()}"
        output += piece
    return output.decode()


def run(program: list[str], cwd: Path, variables: dict[str, str]) -> str:
    done = subprocess.run(program, cwd=cwd, env=variables, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, f"{program}: {done.stdout}{done.stderr}"
    return done.stdout


def test_no_block_is_left_out() -> None:
    assert README.count("```") == 2 * len(BLOCKS)
    assert (len(BASH), len(PYTHON)) == (5, 2)


def test_make_serve_listens_where_it_is_told_and_prints_the_key_once(server: Server) -> None:
    assert f"listening on {server.url}" in server.output
    assert server.output.count(server.key) == 1
    assert "Error" not in server.log.read_text(), "whoever starts it for the first time would think that it failed"


def test_make_test_runs_pytest(tmp_path: Path) -> None:
    chosen = "tests/docs/test_configuration.py"
    output = run([*command(TEST), *PREPARED, f"ARGS={chosen} -q"], ROOT, environment(tmp_path))
    assert re.search(r"[1-9]\d* passed", output)


def test_the_variables_are_those_the_commands_use() -> None:
    assert re.fullmatch(r"export URL=http://127\.0\.0\.1:8000 KEY=maas_\.\.\. +#.*\n", EXPORT)
    assert set(re.findall(r"\$(\w+)", CURL)) == {"URL", "KEY"}


def test_the_curl_lines(server: Server, tmp_path: Path) -> None:
    variables = environment(tmp_path, URL=server.url, KEY=server.key)
    answers = [json.loads(run(["bash", "-c", line], tmp_path, variables)) for line in CURL.strip().splitlines()]
    stored, recalled, listed, erased = answers
    (result,) = stored["results"]
    assert (result["event"], result["text"]) == ("ADD", "I parked on level 3, next to the lift.")
    assert recalled["results"][0]["id"] == result["id"]
    assert 0 < recalled["results"][0]["score"] <= 1
    assert [memory["id"] for memory in listed["results"]] == [result["id"]]
    assert erased["user_id"] == "anna"
    assert erased["before"]["memories"] == 1
    assert not any(erased["after"].values())


def test_the_embedded_lines(tmp_path: Path) -> None:
    output = run([sys.executable, "-c", EMBEDDED], tmp_path, environment(tmp_path / "data"))
    assert re.search(r"^0\.\d\d  I parked on level 3, next to the lift\.$", output, re.MULTILINE)


def test_the_http_lines(server: Server, tmp_path: Path) -> None:
    output = run([sys.executable, "-c", HTTP], tmp_path, environment(tmp_path, URL=server.url, KEY=server.key))
    assert output == "Mia is allergic to peanuts.\n"


@pytest.mark.parametrize("line", CLI.strip().splitlines())
def test_the_command_lines(line: str, tmp_path: Path) -> None:
    assert run(["bash", "-c", line], tmp_path, environment(tmp_path / "data"))


def test_paths_and_links_lead_somewhere() -> None:
    cells = re.findall(r"^\| (`.*`) \|", README, re.MULTILINE)
    named = {path for cell in cells for path in re.findall(r"`(.*?)`", cell)}
    links = set(re.findall(r"\]\(([^)h][^)]*)\)", README))
    assert len(named) > 10
    assert links
    assert [path for path in sorted(named | links) if not (ROOT / path).exists()] == []
