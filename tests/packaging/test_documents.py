"""The examples of the integration documents, run as they stand beside an unpacked bundle."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lam_backend.checkpoint import RELEASED, WEIGHTS_FILE
from lam_backend.packaging import lam_runtime

ROOT = Path(__file__).parents[2]
SDK = (ROOT / "docs" / "sdk-integration.md").read_text(encoding="utf-8")
APPROACHES = (ROOT / "docs" / "integration-approaches.md").read_text(encoding="utf-8")

# Each example in a namespace of its own; a web application then answers one request.
RUNNER = """
import json, sys

def embed(namespace):
    app = namespace.get("app")
    if app is None:
        return None
    body = {"texts": ["the cat", "a dog"]}
    if type(app).__name__ == "Flask":
        client = app.test_client()
        assert client.post("/embed", json={"texts": "no list"}).status_code == 422
        return client.post("/embed", json=body).get_json()
    from fastapi.testclient import TestClient
    with TestClient(app) as client:
        assert client.post("/embed", json={"texts": "no list"}).status_code == 422
        return client.post("/embed", json=body).json()

for block in json.load(open(sys.argv[1])):
    namespace = {"__name__": "example"}
    exec(compile(block, "example", "exec"), namespace)
    answer = embed(namespace)
    if answer:
        print("answered", len(answer["vectors"]), len(answer["vectors"][0]), answer["model"])
"""


def blocks(document: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", document, re.DOTALL)


@pytest.fixture(scope="module")
def folder(unpacked: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder as the documents describe it."""
    here = tmp_path_factory.mktemp("integration")
    shutil.copytree(unpacked, here / "models" / "lam-base-v1", ignore=shutil.ignore_patterns("__pycache__"))
    (here / "texts.jsonl").write_text("".join(json.dumps({"text": f"the cat {n}"}) + "\n" for n in range(9)))
    return here


def test_the_examples_run(folder: Path, encoder: lam_runtime.LAMEncoder) -> None:
    examples = [*blocks(SDK, "python"), *(code for code in blocks(APPROACHES, "python") if "LAMEncoder" in code)]
    assert len(examples) == 7
    (folder / "examples.json").write_text(json.dumps(examples), encoding="utf-8")
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", RUNNER, "examples.json"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(folder / "models" / "lam-base-v1"), str(ROOT)])},
        capture_output=True, text=True,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr[-3000:]
    answers = [line for line in run.stdout.splitlines() if line.startswith("answered")]
    assert answers == [f"answered 2 32 {encoder.fingerprint}"] * 2
    assert (folder / "vectors.npy").is_file()
    assert (folder / "vectors.model").read_text(encoding="utf-8") == encoder.fingerprint


@pytest.mark.model
@pytest.mark.skipif(not (RELEASED / WEIGHTS_FILE).is_file(), reason="no released weights are in this checkout")
def test_the_internal_class_is_made_as_documented() -> None:
    (code,) = (code for code in blocks(APPROACHES, "python") if "DeltaNet6Layer" in code)
    exec(compile(code, "example", "exec"), {})


def test_every_message_of_the_troubleshooting_exists() -> None:
    shipped = Path(lam_runtime.__file__).parent
    source = "\n".join(path.read_text(encoding="utf-8") for path in shipped.glob("*.py"))
    messages = re.findall(r"^\| `(.*?)` \|", SDK, re.MULTILINE)
    assert len(messages) == 11
    assert [message for message in messages if message not in source] == ["No module named 'lam_runtime'"]


def test_the_container_installs_what_the_examples_import() -> None:
    (dockerfile,) = blocks(SDK, "dockerfile")
    for needed in ("numpy", "tokenizers", "onnxruntime>=1.32", "fastapi", "uvicorn", "lam-base-v1-dist.tar.gz"):
        assert needed in dockerfile


def test_named_files_and_commands_exist() -> None:
    cells = re.findall(r"^\| `([\w/.]+)` \|", APPROACHES, re.MULTILINE)
    named = [path for path in cells if "/" in path]
    assert len(named) == 13
    assert [path for path in named if not (ROOT / path).exists()] == []
    for code in blocks(SDK, "bash"):
        for module in re.findall(r"python -m ([\w.]+)", code):
            path = ROOT / module.replace(".", "/")
            assert path.with_suffix(".py").is_file() or (path / "__main__.py").is_file()
    for link in re.findall(r"\]\(([^)#]+)[^)]*\)", SDK + APPROACHES):
        assert (ROOT / "docs" / link).is_file(), link
