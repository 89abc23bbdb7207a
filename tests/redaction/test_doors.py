"""Every way in: what is stored is looked through at each of them, and what was found is nowhere afterwards."""

from __future__ import annotations

import base64
import json
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from maas import PersonalMemoryBrain
from maas.client import MaasClient
from maas.errors import ConfigError, InvalidInputError
from maas.settings import load_settings
from tests.fakes import FakeEmbedder, StreamingFakeEmbedder
from tests.live import Live, serving, someone
from tests.mcp.clients import over_http, with_client
from tests.redaction.secrets import PEM
from tests.ui.desk import Desk

CARD, MAIL = "4111 1111 1111 1111", "ana@example.org"
TEXT = f"Pay the boat with {CARD} or write to {MAIL}"
MASKED = "Pay the boat with [card] or write to [email]"

pytestmark = pytest.mark.server


def opened(folder: Path, mode: str, embedder: FakeEmbedder | None = None) -> PersonalMemoryBrain:
    settings = load_settings(data_dir=folder, redaction={"mode": mode})
    return PersonalMemoryBrain(settings, embedder=embedder or StreamingFakeEmbedder())


@pytest.fixture
def masking(tmp_path: Path) -> Iterator[PersonalMemoryBrain]:
    with opened(tmp_path, "mask") as brain:
        yield brain
    assert_nothing_left(tmp_path)


@pytest.fixture
def blocking(tmp_path: Path) -> Iterator[PersonalMemoryBrain]:
    with opened(tmp_path, "block") as brain:
        yield brain
        assert brain.list(user_id="ana").results == []
        assert brain.list_documents(user_id="ana").results == []
    assert_nothing_left(tmp_path)


@pytest.fixture(scope="module", params=["mask", "block"])
def mode(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory, mode: str) -> Iterator[Live]:
    folder = tmp_path_factory.mktemp("data")
    with serving(folder, StreamingFakeEmbedder(), redaction={"mode": mode}) as live:
        yield live
    assert_nothing_left(folder)


def assert_nothing_left(folder: Path) -> None:
    for file in folder.rglob("*"):
        if file.is_file():
            content = file.read_bytes()
            assert CARD.encode() not in content, file
            assert MAIL.encode() not in content, file


def texts(brain: PersonalMemoryBrain, user: str = "ana") -> list[str]:
    return sorted(memory.text for memory in brain.list(user_id=user).results)


def test_it_is_off_unless_told_otherwise(brain: PersonalMemoryBrain) -> None:
    brain.store(TEXT, user_id="ana")
    assert texts(brain) == [TEXT]


def test_a_memory_its_metadata_and_what_is_answered(masking: PersonalMemoryBrain) -> None:
    metadata = {"from": MAIL, "deep": [{"card": [CARD, 7, None]}], "number": 1, "flag": True}
    answer = masking.store(TEXT, user_id="ana", metadata=metadata, key="about-paying")
    assert answer.results[0].text == MASKED
    (memory,) = masking.list(user_id="ana").results
    assert (memory.text, memory.key) == (MASKED, "about-paying")
    assert memory.metadata == {"from": "[email]", "deep": [{"card": ["[card]", 7, None]}], "number": 1, "flag": True}
    assert masking.recall("the boat", user_id="ana").results[0].text == MASKED


def test_turns_batches_and_upserts(masking: PersonalMemoryBrain) -> None:
    masking.store_messages([{"role": "user", "name": MAIL, "content": TEXT}], user_id="ana", session_id="s")
    masking.store_batch([{"user_id": "ana", "text": "clean"}, {"user_id": "ana", "text": TEXT, "key": "k"}])
    masking.store(f"{MAIL} it is now", user_id="ana", key="k")
    assert texts(masking) == sorted([MASKED, "clean", "[email] it is now"])
    assert {memory.name for memory in masking.list(user_id="ana").results} == {None, "[email]"}


def test_what_was_masked_alike_is_one_memory(masking: PersonalMemoryBrain) -> None:
    first = masking.store("mail ana@example.org", user_id="ana", idempotency_key="once")
    assert masking.store("mail ana@example.org", user_id="ana", idempotency_key="once") == first
    assert masking.store("mail ben@example.org", user_id="ana").results[0].event == "NONE"


def test_a_change_is_looked_through_and_touches_nothing_else(masking: PersonalMemoryBrain) -> None:
    memory_id = masking.store("the boat", user_id="ana", importance=0.5).results[0].id
    changed = masking.update(memory_id, text=TEXT, metadata={"from": MAIL})
    assert (changed.text, changed.metadata, changed.importance) == (MASKED, {"from": "[email]"}, 0.5)


def test_documents(masking: PersonalMemoryBrain) -> None:
    document = masking.store_document(f"{TEXT}. And so on.", user_id="ana", title=f"For {MAIL}", metadata={"a": MAIL})
    assert (document.title, document.metadata) == ("For [email]", {"a": "[email]"})
    (passage,) = masking.list(user_id="ana").results
    assert passage.text == f"{MASKED}. And so on."
    assert masking.store_document(f"{TEXT}. And so on.", user_id="ana", title=f"For {MAIL}").id == document.id


def exported(folder: Path, write: Callable[[PersonalMemoryBrain], Any]) -> list[dict[str, Any]]:
    with opened(folder / "elsewhere", "off") as brain:
        write(brain)
        lines = list(brain.export_user("ana"))
    for file in (folder / "elsewhere").iterdir():
        file.unlink()
    return lines


def with_history(brain: PersonalMemoryBrain) -> None:
    memory_id = brain.store(TEXT, user_id="ana", metadata={"from": MAIL}).results[0].id
    brain.update(memory_id, text=f"again {TEXT}")
    brain.store("clean", user_id="ana")
    brain.store_document(f"{TEXT}. And so on.", user_id="ana", title=MAIL)


def test_an_import_with_its_versions_and_no_vector_that_has_read_them(
    masking: PersonalMemoryBrain, tmp_path: Path
) -> None:
    lines = exported(tmp_path, with_history)
    report = masking.import_memories(lines)
    assert (report.imported, report.reembedded) == (3, 2)
    assert texts(masking) == sorted([f"again {MASKED}", "clean", f"{MASKED}. And so on."])
    (changed,) = [memory for memory in masking.list(user_id="ana").results if memory.text.startswith("again")]
    assert [entry.text for entry in masking.history(changed.id).results] == [MASKED, f"again {MASKED}"]
    own = {line["memory"]["text"]: line["vectors"] for line in masking.export_user("ana") if "memory" in line}
    (vector,) = own[f"again {MASKED}"].values()
    expected = StreamingFakeEmbedder().encode([f"again {MASKED}"])[0].astype("<f2").tobytes()
    assert base64.b64decode(vector) == expected
    assert masking.import_memories(list(masking.export_user("ana"))).imported == 0


def test_a_document_half_read_elsewhere_is_refused_in_one_line(masking: PersonalMemoryBrain, tmp_path: Path) -> None:
    lines = exported(tmp_path, lambda brain: brain.add_document(TEXT, user_id="ana"))
    with pytest.raises(InvalidInputError, match=r"lines\.1\.source belongs to a document that is not read to its end"):
        masking.import_memories(lines)
    assert masking.list_documents(user_id="ana").results == []


@pytest.mark.parametrize(
    ("field", "write"),
    [
        ("text", lambda brain: brain.store(TEXT, user_id="ana")),
        ("metadata.deep.0.from", lambda b: b.store("x", user_id="ana", metadata={"deep": [{"from": MAIL}]})),
        ("metadata.[email]", lambda brain: brain.store("x", user_id="ana", metadata={MAIL: CARD})),
        (
            "messages.1.content",
            lambda b: b.store_messages([{"role": "user", "content": t} for t in ("clean", TEXT)], user_id="ana"),
        ),
        ("memories.1.text", lambda b: b.store_batch([{"user_id": "ana", "text": t} for t in ("clean", TEXT)])),
        ("text", lambda brain: brain.store_document(TEXT, user_id="ana")),
        ("title", lambda brain: brain.add_document("clean", user_id="ana", title=MAIL)),
    ],
)
def test_block_names_field_and_kind_and_writes_nothing(
    blocking: PersonalMemoryBrain, field: str, write: Callable[[PersonalMemoryBrain], Any]
) -> None:
    with pytest.raises(InvalidInputError) as caught:
        write(blocking)
    assert field in {fault.field for fault in caught.value.errors}
    said = f"{caught.value} {caught.value.errors}"
    assert "holds a card number" in said or "holds an e-mail address" in said
    assert CARD not in said
    assert MAIL not in said


def test_block_refuses_changes_and_imports_whole(blocking: PersonalMemoryBrain, tmp_path: Path) -> None:
    lines = exported(tmp_path, with_history)
    with pytest.raises(InvalidInputError, match=r"lines\.\d\.\w+\.\S+: holds"):
        blocking.import_memories(lines)
    memory_id = blocking.store("the boat", user_id="ana").results[0].id
    with pytest.raises(InvalidInputError, match="text: holds a secret key, which is not kept here"):
        blocking.update(memory_id, text=PEM)
    assert texts(blocking) == ["the boat"]
    blocking.delete(memory_id)


def test_over_http_and_in_no_log(live: Live, mode: str, capfd: pytest.CaptureFixture[str]) -> None:
    user = someone()
    with live.http() as http:
        kept = http.post("/v1/memories", json={"user_id": user, "text": "clean"}).json()["results"][0]["id"]
        answers = [
            http.post("/v1/memories", json={"user_id": user, "text": TEXT}),
            http.post("/v1/memories", json={"user_id": user, "messages": [{"role": "user", "content": TEXT}]}),
            http.post("/v1/memories/batch", json={"memories": [{"user_id": user, "text": TEXT + "!"}]}),
            http.patch(f"/v1/memories/{kept}", json={"text": TEXT, "metadata": {"a": CARD}}),
            http.post("/v1/documents", json={"user_id": user, "text": TEXT}),
        ]
    for answer in answers:
        assert CARD not in answer.text
        assert MAIL not in answer.text
        if mode == "mask":
            assert answer.is_success, answer.text
        else:
            assert answer.status_code == 422, answer.text
            assert answer.headers["content-type"] == "application/problem+json"
            assert "holds a card number, which is not kept here" in answer.json()["detail"]
    for _ in range(100):
        if mode == "block" or live.brain.list_documents(user_id=user).results[0].state == "done":
            break
        time.sleep(0.05)
    expected = {MASKED, f"{MASKED}!"} if mode == "mask" else {"clean"}
    assert set(texts(live.brain, user)) == expected
    printed = "".join(capfd.readouterr())
    assert CARD not in printed
    assert MAIL not in printed


def test_through_sdk_mcp_and_dashboard(live: Live, mode: str) -> None:
    user = someone()
    with MaasClient(live.url, live.admin_key) as client:
        if mode == "mask":
            assert client.store(TEXT, user_id=user).results[0].text == MASKED
        else:
            with pytest.raises(InvalidInputError, match="text: holds a card number"):
                client.store(TEXT, user_id=user)

    async def add(client: Any) -> None:
        result = await client.call_tool("add_memory", {"text": f"{TEXT} by tool", "user_id": user})
        assert result.is_error == (mode == "block")
        assert CARD not in json.dumps([part.model_dump(mode="json") for part in result.content])

    with_client(lambda: over_http(live, live.admin_key), add)
    with Desk(live, live.admin_key) as desk:
        sent = desk.send("/ui/documents", user=user, text=f"{TEXT} by form")
        line = {"maas_export": 1, "user_id": user, "exported_at": "2025-01-01T00:00:00Z", "memories": 0}
        memory = {
            "id": "a" * 32,
            "user_id": user,
            "text": f"{TEXT} by file",
            "created_at": "2025-01-01T00:00:00Z",
            "updated_at": "2025-01-01T00:00:00Z",
        }
        lines = f"{json.dumps(line)}\n{json.dumps({'memory': memory, 'stored_at': '2025-01-01T00:00:00Z'})}\n"
        taken = desk.send("/ui/import", user=user, source="maas", files={"file": ("x.jsonl", lines.encode())})
    assert [answer.status_code for answer in (sent, taken)] == ([303, 200] if mode == "mask" else [422, 422])
    for answer in (sent, taken):
        assert CARD not in re.sub(r"<textarea.*?</textarea>", "", answer.text, flags=re.DOTALL), "but to correct it"
    expected = [MASKED, f"{MASKED} by file", f"{MASKED} by tool"] if mode == "mask" else []
    assert [text for text in texts(live.brain, user) if "form" not in text] == expected


def test_a_missing_extra_is_one_clear_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for library, kinds in (("phonenumbers", ["phone"]), ("detect_secrets.plugins", ["key"])):
        monkeypatch.setitem(__import__("sys").modules, library, None)
        settings = load_settings(data_dir=tmp_path, redaction={"mode": "mask", "kinds": kinds})
        with pytest.raises(ConfigError, match=r"redaction is on.*pip install 'maas\[redaction\]'"):
            PersonalMemoryBrain(settings, embedder=FakeEmbedder())
