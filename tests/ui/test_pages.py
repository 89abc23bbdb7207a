"""What the pages show, and what their forms do, over HTTP."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from maas.ui import report
from tests.fakes import FakeEmbedder, OtherFakeEmbedder
from tests.live import Live, serving
from tests.ui.desk import Desk, said


def test_without_a_session_every_page_leads_to_the_sign_in_and_back(live: Live) -> None:
    with Desk(live) as desk:
        asked = desk.get("/ui/search", user="ann", q="boat")
        assert asked.status_code == 303
        assert asked.headers["location"] == "/ui/sign-in?next=%2Fui%2Fsearch%3Fuser%3Dann%26q%3Dboat"
        answer = desk.send("/ui/sign-in", page="/ui/sign-in", key=live.admin_key, next="/ui/search?user=ann&q=boat")
        assert (answer.status_code, answer.headers["location"]) == (303, "/ui/search?user=ann&q=boat")
        assert desk.get("/ui").headers["location"] == "/ui/"


@pytest.mark.parametrize("onward", ["https://elsewhere.example/", "//elsewhere.example", "/ui/\\evil", "/v1/users"])
def test_the_sign_in_leads_nowhere_else(live: Live, onward: str) -> None:
    with Desk(live) as desk:
        answer = desk.send("/ui/sign-in", page="/ui/sign-in", key=live.admin_key, next=onward)
        assert answer.headers["location"] == "/ui/"


def test_users_are_found_by_a_part_of_their_id(live: Live, desk: Desk, user: str) -> None:
    live.brain.store("The boat is red", user_id=user)
    assert user in desk.text("/ui/", matching=user[5:20])
    nobody = desk.text("/ui/", matching=f"no {user}")
    assert "No user has" in nobody
    assert "Add the first memory" in nobody


def test_a_memory_is_added_found_changed_superseded_and_forgotten(live: Live, desk: Desk, user: str) -> None:
    added = desk.send(
        "/ui/memory/new",
        user=user,
        text="The boat is red\r\nand old",
        metadata='{"kind": "boat"}',
        importance="0.9",
        created_at="2024-05-02T14:05",
        session_id="harbour",
    )
    assert added.status_code == 303, said(added)
    page = added.headers["location"]
    (memory,) = live.brain.list(user_id=user).results
    assert (memory.text, memory.metadata, memory.importance) == ("The boat is red\nand old", {"kind": "boat"}, 0.9)
    assert memory.created_at == datetime(2024, 5, 2, 14, 5, tzinfo=UTC)
    shown = desk.text(page)
    assert "Remembered." in shown
    assert "2 May 2024, 14:05" in shown
    found = desk.get("/ui/search", user=user, q="red boats")
    assert "The <mark>boat</mark> is <mark>red</mark>" in found.text
    assert "Words" in said(found)
    changed = desk.send(
        "/ui/memory/edit", id=memory.id, user=user, version="1", text="The boat is blue", metadata="", importance=""
    )
    shown = desk.text(changed.headers["location"])
    assert "version 2" in shown
    memory = live.brain.get(memory.id)
    assert (memory.text, memory.metadata, memory.importance) == ("The boat is blue", {}, None)
    assert "<del>red\nand old</del><ins>blue</ins>" in desk.get(changed.headers["location"]).text
    old = desk.text("/ui/memory/new", user=user, supersedes=memory.id)
    assert "The boat is blue" in old
    newer = desk.send("/ui/memory/new", user=user, supersedes=memory.id, text="The boat is sold")
    assert "This is the past" in desk.text("/ui/memory", id=memory.id, user=user)
    (current,) = live.brain.list(user_id=user).results
    assert current.id in newer.headers["location"]
    gone = desk.send("/ui/memory/forget", id=current.id, user=user)
    assert "The memory is forgotten" in desk.text(gone.headers["location"])
    assert [m.text for m in live.brain.list(user_id=user).results] == ["The boat is blue"]


def test_bad_input_is_named_and_what_was_typed_stays(live: Live, desk: Desk, user: str) -> None:
    refused = desk.send("/ui/memory/new", user=user, text="Keep this", metadata="{no json", importance="much")
    assert refused.status_code == 422
    assert "is no valid JSON" in said(refused)
    assert "Keep this</textarea>" in refused.text
    assert "{no json</textarea>" in refused.text
    refused = desk.send("/ui/memory/new", user=user, text="Keep this", importance="7")
    assert 'id="h-importance" class="fault"' in refused.text
    assert desk.send("/ui/memory/new", user="", text="Keep this").status_code == 422
    assert live.brain.list(user_id=user).results == []
    asked = desk.get("/ui/search", user=user, q="boat", filters='{"colour": 1}')
    assert asked.status_code == 422
    assert "is no field" in said(asked)
    assert desk.get("/ui/timeline", user=user, since="yesterday").status_code == 422


def test_an_edit_of_an_older_version_is_held_back_once(live: Live, desk: Desk, user: str) -> None:
    (memory,) = live.brain.store("one", user_id=user).results
    live.brain.update(memory.id, text="two")
    held = desk.send("/ui/memory/edit", id=memory.id, user=user, version="1", text="three", metadata="")
    assert held.status_code == 409
    assert "was changed meanwhile, to version 2" in said(held)
    assert "three</textarea>" in held.text
    assert live.brain.get(memory.id).text == "two"


def test_sending_a_form_twice_does_its_work_once(live: Live, desk: Desk, user: str) -> None:
    for _ in range(2):
        desk.send("/ui/memory/new", user=user, text="Twice", dedupe="off", once=f"once-{user}")
    assert len(live.brain.list(user_id=user).results) == 1
    made, again = (desk.send("/ui/keys", name=user, scope_read="1", once=f"key-{user}") for _ in range(2))
    assert made.status_code == 200
    assert again.status_code == 409
    assert sum(key.name == user for key in live.brain.list_keys().results) == 1


def test_the_timeline_goes_by_days_and_on(live: Live, desk: Desk, user: str) -> None:
    begin = datetime(2024, 1, 1, 9, tzinfo=UTC)
    live.brain.store_batch(
        [
            {"user_id": user, "text": f"note {n}", "created_at": begin + timedelta(days=n), "session_id": f"s{n % 2}"}
            for n in range(45)
        ]
    )
    first = desk.get("/ui/timeline", user=user)
    assert said(first).index("Wednesday, 14 February 2024") < said(first).index("Tuesday, 13 February 2024")
    earlier = re.search(r'hx-get="([^"]+cursor=[^"]+)"', first.text)
    assert earlier
    part = desk.http.get(earlier.group(1).replace("&amp;", "&"), headers={"HX-Request": "true"})
    assert "<html" not in part.text
    assert "note 0<" in part.text
    assert "note 44" not in desk.text("/ui/timeline", user=user, session_id="s1")
    assert "note 3 " in desk.text("/ui/timeline", user=user, until="2024-01-05T00:00")


def test_around_a_memory_stand_its_neighbours(live: Live, desk: Desk, user: str) -> None:
    turns = [{"role": "user", "content": f"turn {n}"} for n in range(5)]
    ids = [result.id for result in live.brain.store_messages(turns, user_id=user, session_id="s").results]
    shown = desk.text("/ui/memory", id=ids[2], user=user)
    assert shown.index("turn 1") < shown.rindex("turn 3")
    assert "Close in meaning" in shown


def test_the_map_draws_a_link_for_each_memory(live: Live, desk: Desk, user: str) -> None:
    assert "nothing to draw" in desk.text("/ui/map", user=user)
    for topic in ("garden", "cinema"):
        live.brain.store_batch([{"user_id": user, "text": f"the {topic} of day {n}"} for n in range(8)])
    page = desk.get("/ui/map", user=user).text
    links = re.findall(r'<a href="(/ui/memory\?[^"]+)" aria-label="([^"]+)"><circle', page)
    assert {label for _, label in links} == {f"the {t} of day {n}" for t in ("garden", "cinema") for n in range(8)}
    assert ">garden</text>" in page
    assert desk.get(links[0][0].replace("&amp;", "&")).status_code == 200


def test_documents_are_kept_shown_and_forgotten(live: Live, desk: Desk, user: str) -> None:
    text = " ".join(f"Sentence {n} tells of many things." for n in range(200))
    kept = desk.send("/ui/documents", user=user, text=text, title="A <b>long</b> one")
    assert kept.status_code == 303, said(kept)
    page = desk.get("/ui/documents", user=user).text
    assert "A &lt;b&gt;long&lt;/b&gt; one" in page
    (document,) = live.brain.list_documents(user_id=user).results
    deadline = time.monotonic() + 30
    while not (passages := live.brain.list(user_id=user).results) and time.monotonic() < deadline:
        time.sleep(0.02)
    passage = passages[0]
    shown = desk.get("/ui/memory", id=passage.id, user=user)
    assert "a document stays whole" in said(shown)
    assert "/ui/memory/edit" not in shown.text
    assert desk.send("/ui/documents", user=user, text=" ").status_code == 422
    desk.send("/ui/documents/forget", user=user, id=document.id)
    assert "No document is kept" in desk.text("/ui/documents", user=user)


def test_an_export_comes_back_by_import(live: Live, desk: Desk, user: str) -> None:
    live.brain.store("The boat is red", user_id=user)
    export = desk.get("/ui/export", user=user)
    assert export.headers["content-disposition"] == f'attachment; filename="maas-{user}.jsonl"'
    assert len(export.text.splitlines()) == 2
    live.brain.erase_user(user)
    back = desk.send("/ui/import", user=user, source="maas", files={"file": ("export.jsonl", export.content)})
    assert "1 imported, 0 already there" in said(back)
    assert [memory.text for memory in live.brain.list(user_id=user).results] == ["The boat is red"]
    broken = desk.send("/ui/import", user=user, source="maas", files={"file": ("x.jsonl", b"{no json\n")})
    assert broken.status_code == 400
    assert "lines.0" in said(broken)


def test_exports_of_other_services_come_in(live: Live, desk: Desk, user: str) -> None:
    notes = b"# Boat\n\nIt is red.\n\n# Cat\n\nIt is called Miso.\n"
    done = desk.send("/ui/import", user=user, source="markdown", files={"file": ("notes.md", notes)})
    assert "2 imported" in said(done)
    again = desk.send("/ui/import", user=user, source="markdown", files={"file": ("notes.md", notes)})
    assert "0 imported, 0 changed, 2 already there" in said(again)
    other = desk.send(
        "/ui/import", user=user, source="markdown", files={"file": ("../trip.md", b"# Boat\n\nA ferry.\n")}
    )
    assert "1 imported, 0 changed" in said(other), "sections of another file replace none"
    deep = desk.send("/ui/import", user=user, source="jsonl", files={"file": ("d.jsonl", b"[" * 100_000)})
    assert deep.status_code == 422
    wrong = desk.send("/ui/import", user=user, source="chatgpt", files={"file": ("c.json", b"[1]")})
    assert wrong.status_code == 422
    assert str(live.brain.settings.data_dir) not in wrong.text
    assert desk.send("/ui/import", user=user, source="nothing", files={"file": ("c.json", b"[]")}).status_code == 422
    assert desk.send("/ui/import", user=user, source="maas").status_code in (400, 422)


def test_odd_questions_and_addresses_are_no_failures(desk: Desk, user: str) -> None:
    assert desk.get("/ui/search", user=user, q="boat", top_k="²").status_code == 200
    assert desk.send("/ui/theme", next="//[", theme="dark").status_code < 400


def test_a_user_is_forgotten_with_a_receipt(live: Live, desk: Desk, user: str) -> None:
    live.brain.store("The boat is red", user_id=user)
    careless = desk.send("/ui/erase", user=user, confirmed="somebody else")
    assert careless.status_code == 422
    assert len(live.brain.list(user_id=user).results) == 1
    receipt = desk.send("/ui/erase", user=user, confirmed=user)
    shown = said(receipt)
    assert "Receipt of an erasure" in shown
    assert re.search(r"memories 1 0", shown)
    (entry,) = live.brain.audit(action="erase", user_id=user).results
    assert entry.subject in shown
    assert live.brain.list(user_id=user).results == []


def test_keys_are_made_rotated_and_revoked(live: Live, desk: Desk, user: str) -> None:
    made = desk.send("/ui/keys", name=f"<i>{user}", scope_read="1", user_id=user)
    key = re.search(r'readonly value="(maas_[^"]+)"', made.text)
    assert key
    assert "<i>" not in made.text
    known = live.brain.authenticate(key.group(1))
    assert (known.scopes, known.user_id) == (["read"], user)
    assert key.group(1) not in desk.get("/ui/keys").text
    rotated = desk.send("/ui/keys/rotate", id=known.id, grace="3600")
    newer = re.search(r'readonly value="(maas_[^"]+)"', rotated.text)
    assert newer
    renewed = live.brain.authenticate(newer.group(1))
    assert live.brain.authenticate(key.group(1)).expires_at is not None
    desk.send("/ui/keys/revoke", id=renewed.id)
    assert {k.id: k for k in live.brain.list_keys().results}[renewed.id].revoked_at is not None
    assert desk.send("/ui/keys", name="no scopes").status_code == 422
    assert desk.send("/ui/keys/revoke", id="nothing").status_code == 404


def test_reindexing_is_started_and_watched(desk: Desk) -> None:
    assert desk.send("/ui/reindex").headers["location"] == "/ui/reindex"
    for _ in range(200):
        part = desk.http.get("/ui/reindex", headers={"HX-Request": "true"})
        assert "<html" not in part.text
        if "Done" in part.text:
            break
    assert "Done" in desk.text("/ui/reindex")
    assert "hx-trigger" not in part.text


def test_the_audit_log_names_keys(live: Live, desk: Desk, user: str) -> None:
    desk.send("/ui/memory/new", user=user, text="Noted")
    shown = desk.text("/ui/audit", user_id=user)
    assert re.search(rf"bootstrap store {user}", shown)
    assert desk.get("/ui/audit", outcome="odd").status_code == 422


def test_the_model_page_has_the_report_and_its_plots(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    page = desk.get("/ui/model").text
    assert "streaming-fake:384" in page
    assert "Evaluation of lam-base-v1" in page
    plots = re.findall(r'src="(/ui/model/[^"]+)"', page)
    assert plots
    for plot in plots:
        assert desk.get(plot).content.startswith(b"\x89PNG")
    for wrong in ("nothing.png", "REPORT.md", "..%2Fapi.md"):
        assert desk.get(f"/ui/model/{wrong}").status_code == 404
    monkeypatch.setattr(report, "FOLDER", tmp_path)
    assert "did not come with this installation" in desk.text("/ui/model")


def test_what_is_not_there_is_said_so_on_a_page(desk: Desk, user: str) -> None:
    for page in ("/ui/nowhere", f"/ui/memory?id=nothing&user={user}", "/ui/static/nothing.js"):
        answer = desk.get(page)
        assert answer.status_code == 404
        assert answer.headers["content-type"].startswith("text/html")
        assert "Not found" in said(answer)


def test_light_and_dark_are_remembered(desk: Desk) -> None:
    assert "data-theme" not in desk.get("/ui/").text
    assert desk.send("/ui/theme", theme="dark", next="/ui/keys").headers["location"] == "/ui/keys"
    assert '<html lang="en" data-theme="dark">' in desk.get("/ui/").text
    desk.send("/ui/theme", theme="odd")
    assert "data-theme" not in desk.get("/ui/").text


def test_it_can_be_switched_off(tmp_path: Path) -> None:
    with serving(tmp_path, server={"ui": False}) as live, live.http() as http:
        assert http.get("/ui/").status_code == 404
        assert http.get("/ui/sign-in").json()["code"] == "not_found"


def test_pages_are_no_part_of_the_described_interface(live: Live) -> None:
    with live.http() as http:
        assert not [path for path in http.get("/openapi.json").json()["paths"] if path.startswith("/ui")]


def test_recall_amid_foreign_vectors_says_what_to_do(tmp_path: Path) -> None:
    with serving(tmp_path, FakeEmbedder()) as live:
        live.brain.store("The boat is red", user_id="ann")
        key = live.admin_key
    with serving(tmp_path, OtherFakeEmbedder()) as live, Desk(live, key) as desk:
        refused = desk.get("/ui/search", user="ann", q="boat")
        assert refused.status_code == 409
        assert "maas reindex" in said(refused)
        assert desk.get("/ui/search", user="ann", q="boat", mode="lexical").status_code == 200
        part = desk.http.get("/ui/search", params={"user": "ann", "q": "boat"}, headers={"HX-Request": "true"})
        assert "<html" not in part.text
