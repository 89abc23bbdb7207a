"""Every example, and every block of the quick start, run as it stands; only the encoder is the deterministic one."""

from __future__ import annotations

import importlib.util
import io
import json
import re
import shlex
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from maas import PersonalMemoryBrain, load_settings
from tests.cli.conftest import Run, run
from tests.fakes import FakeEmbedder
from tests.live import Live, serving

__all__ = ["run"]

DOCS = Path(__file__).parents[2] / "docs"
EXAMPLES = DOCS / "examples"


@pytest.fixture(autouse=True)
def somewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty folder, and the encoder that needs no model."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("maas.embedders.factory.build_embedder", lambda settings: FakeEmbedder())


def loaded(name: str) -> dict[str, Any]:
    """An example's names, imported from its file."""
    path = EXAMPLES / name
    spec = importlib.util.spec_from_file_location(f"example_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module.__dict__


def printed(main: Callable[[], object], capsys: pytest.CaptureFixture[str]) -> str:
    main()
    return capsys.readouterr().out


def chat(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *lines: str, model: str = "") -> str:
    monkeypatch.setattr(sys, "argv", ["chat.py", "--user-id", "anna", *(["--model", model] if model else [])])
    monkeypatch.setattr(sys, "stdin", io.StringIO("\n".join([*lines, "", ""])))
    return printed(loaded("chat.py")["main"], capsys)


def test_a_chat_remembers_across_its_runs(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    first = chat(monkeypatch, capsys, "The bike is behind the house.", "The lift is broken.", "Where is the bike?")
    assert first == "> I will remember that.\n> I will remember that.\n> You have not told me yet.\n> "
    second = chat(monkeypatch, capsys, "Where is the bike?")
    assert second == "> You told me: The bike is behind the house.\n> "


def test_the_chat_takes_any_model(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    import httpx2

    asked: list[dict[str, Any]] = []

    def answer(url: str, *, json: dict[str, Any], timeout: float) -> httpx2.Response:
        asked.append({"url": url, **json})
        content = {"choices": [{"message": {"role": "assistant", "content": "Behind the house."}}]}
        return httpx2.Response(200, json=content, request=httpx2.Request("POST", url))

    monkeypatch.setattr(httpx2, "post", answer)
    assert "Behind the house." in chat(monkeypatch, capsys, "Where is it?", model="http://127.0.0.1:1/v1")
    assert asked[0]["url"] == "http://127.0.0.1:1/v1/chat/completions"
    assert [message["role"] for message in asked[0]["messages"]] == ["system", "user"]


def test_the_web_application() -> None:
    with TestClient(loaded("fastapi_app.py")["app"]) as client:
        anna, ben = {"X-User": "anna"}, {"X-User": "ben"}
        assert client.get("/journal", params={"ask": "x"}).status_code == 401
        written = client.post("/journal", headers=anna, json={"text": "Planted three tomatoes."})
        assert (written.status_code, written.json()["event"]) == (201, "ADD")
        (found,) = client.get("/journal", headers=anna, params={"ask": "tomatoes"}).json()
        assert found["text"] == "Planted three tomatoes."
        assert client.get("/journal", headers=ben, params={"ask": "tomatoes"}).json() == []
        refused = client.post("/journal", headers=anna, json={"text": " "})
        assert (refused.status_code, refused.json()["code"]) == (422, "invalid_input")
        assert client.delete("/journal", headers=anna).json()["before"]["memories"] == 1
        assert client.get("/journal", headers=anna, params={"ask": "tomatoes"}).json() == []


def test_the_notebook(capsys: pytest.CaptureFixture[str]) -> None:
    notebook = json.loads((EXAMPLES / "memory.ipynb").read_text("utf-8"))
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    assert len({cell["id"] for cell in notebook["cells"]}) == len(notebook["cells"])
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    space: dict[str, Any] = {}
    for cell in cells:
        exec("".join(cell["source"]), space)
        shown = capsys.readouterr().out
        kept = "".join(line for output in cell["outputs"] for line in output["text"])
        assert shape(shown) == shape(kept), cell["source"]


def shape(output: str) -> tuple[int, list[str]]:
    """How many lines an output has, and the words that do not depend on the encoder."""
    return bool(output), re.findall(r"<memories>|memories before|ADD|July 2024|Shibuya|Meguro", output)


@pytest.fixture
def live(tmp_path: Path) -> Iterator[Live]:
    with serving(tmp_path / "served") as live:
        yield live


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (DOCS / "quick-start.md").read_text("utf-8"), re.DOTALL)


def test_the_quick_starts_commands(run: Run) -> None:
    outputs = {}
    for line in "".join(blocks("bash")).splitlines():
        program, *arguments = shlex.split(line)
        assert program == "maas"
        done = run(*arguments)
        assert done.code == 0, done.err
        outputs[arguments[0], arguments[-1]] = done.out
    assert "level 3" in outputs["recall", "1"]
    assert "hazelnuts" in outputs["recall", '{"metadata.topic": "health"}']
    assert "2" in outputs["status", "status"]


def test_the_quick_starts_program(
    live: Live, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("URL", live.url)
    monkeypatch.setenv("KEY", live.admin_key)
    space: dict[str, Any] = {}
    for block in blocks("python"):
        exec(block, space)
    assert space["now"][0].text == "My office moved to Meguro."
    assert "My office is in Shibuya." in [hit.text for hit in space["ever"]]
    assert "Answer with what you know" in space["prompt"]
    output = capsys.readouterr().out
    assert "6 memories before, 0 after" in output
    assert "Mia is allergic to peanuts." in output
    with PersonalMemoryBrain(load_settings(), embedder=FakeEmbedder()) as brain:
        assert brain.list(user_id="anna").results == []
