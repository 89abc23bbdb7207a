"""Who gets in, what a key may, and what a stranger's page or text cannot do."""

from __future__ import annotations

import re
from pathlib import Path

import httpx2
import pytest

from tests.conftest import FakeClock
from tests.fakes import FakeEmbedder
from tests.live import Live, serving
from tests.ui.desk import TOKEN, Desk, said

EVIL = '"><script>alert(1)</script><img src=x onerror=alert(2)>'
READ = [
    *("/ui/", "/ui/search?user=ann", "/ui/timeline?user=ann", "/ui/memory?id=x", "/ui/map?user=ann"),
    *("/ui/documents?user=ann", "/ui/transfer?user=ann", "/ui/export?user=ann", "/ui/model", "/ui/model/scaling.png"),
]
WRITE = ["/ui/memory/new?user=ann", "/ui/memory/edit?id=x", "/ui/memory/forget?id=x", "/ui/erase?user=ann"]
ADMIN = ["/ui/keys", "/ui/reindex", "/ui/audit"]
POSTS = {
    "write": ["/ui/memory/new", "/ui/memory/edit", "/ui/memory/forget", "/ui/documents", "/ui/documents/forget",
              "/ui/import", "/ui/erase"],
    "admin": ["/ui/keys", "/ui/keys/rotate", "/ui/keys/revoke", "/ui/reindex"],
    "": ["/ui/sign-out", "/ui/theme", "/ui/sign-in"],
}  # fmt: skip


def test_every_answer_forbids_foreign_scripts_frames_and_styles(desk: Desk, user: str) -> None:
    for page in ("/ui/", f"/ui/search?user={user}", "/ui/nowhere", "/ui/static/app.css", "/ui/sign-out"):
        headers = desk.get(page).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "script-src 'self';" in policy
        assert "style-src 'self';" in policy
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "same-origin"
    assert desk.get("/ui/").headers["cache-control"] == "no-store"


def test_pages_hold_no_inline_script_and_no_inline_style() -> None:
    for path in (Path(__file__).parents[2] / "maas" / "ui" / "templates").iterdir():
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"<script(?! src=)|<style|\bstyle=|\son[a-z]+=|javascript:", text), path.name
        # Only the icons, which are written there.
        assert text.count("| safe") == (path.name == "_macros.html"), path.name


def test_the_cookie_is_out_of_reach_of_scripts_and_other_sites(live: Live) -> None:
    with Desk(live) as desk:
        answer = desk.send("/ui/sign-in", page="/ui/sign-in", key=live.admin_key)
        cookie = answer.headers["set-cookie"]
        assert cookie.startswith("maas_session=")
        assert live.admin_key not in cookie
        for part in ("HttpOnly", "SameSite=strict", "Path=/ui", "Max-Age=28800"):
            assert part in cookie
        assert "Secure" not in cookie
        forwarded = desk.http.get("/ui/sign-in", headers={"X-Forwarded-Proto": "https"})
        assert all("Secure" in value for value in forwarded.headers.get_list("set-cookie"))


def test_a_wrong_key_does_not_sign_in(live: Live) -> None:
    with Desk(live) as desk:
        answer = desk.send("/ui/sign-in", page="/ui/sign-in", key="maas_nobody_0000000000000000")
        assert answer.status_code == 401
        assert "not known here" in said(answer)
        assert "maas_nobody" not in answer.text
        assert desk.get("/ui/").status_code == 303


def test_a_session_ends_by_sign_out_by_time_and_with_its_key(tmp_path: Path) -> None:
    clock = FakeClock()
    with serving(tmp_path, server={"ui_session_minutes": 10}, clock=clock) as live:
        made = live.brain.create_key(name="desk")
        with Desk(live, made.key) as first, Desk(live, made.key) as second, Desk(live, live.admin_key) as third:
            kept = first.http.cookies["maas_session"]
            first.send("/ui/sign-out")
            first.http.cookies.set("maas_session", kept)
            assert first.get("/ui/").status_code == 303
            assert second.get("/ui/").status_code == 200
            live.brain.revoke_key(made.id)
            ended = second.get("/ui/")
            assert (ended.status_code, ended.headers["location"]) == (303, "/ui/sign-in?ended=1")
            token = third.token("/ui/model")
            clock.advance(minutes=10)
            late = third.http.post("/ui/memory/new", data={"form_token": token, "user": "ann", "text": "late"})
            assert late.status_code == 401
            assert "nothing was changed" in said(late)
            assert live.brain.list(user_id="ann").results == []
            again = {"form_token": TOKEN.findall(late.text)[-1], "key": live.admin_key}
            assert third.http.post("/ui/sign-in", data=again).status_code == 303, "from the very page"


def test_a_key_that_may_only_write_is_shown_no_titles(live: Live, user: str) -> None:
    live.brain.store_document("The tenant shall pay.", user_id=user, title="Secret lease")
    made = live.brain.create_key(name="writer", scopes=["write"])
    with Desk(live, made.key) as desk:
        refused = desk.send("/ui/documents", page="/ui/memory/new", user=user, text="")
    assert refused.status_code == 422
    assert "Secret lease" not in refused.text


@pytest.mark.parametrize("page", [page for pages in POSTS.values() for page in pages])
def test_a_form_without_its_token_changes_nothing(live: Live, desk: Desk, user: str, page: str) -> None:
    (memory,) = live.brain.store("Stay", user_id=user).results
    keys = live.brain.list_keys().results
    fields = {"user": user, "id": memory.id, "text": "Evil", "confirmed": user, "version": "1", "scope_read": "1"}
    with Desk(live, live.admin_key) as other:
        foreign = other.token("/ui/model")
    for token in ("", "0" * 64, foreign):
        answer = desk.http.post(page, data={**fields, "form_token": token})
        assert answer.status_code == 403, page
        assert "another page sent it" in said(answer)
    right = desk.token("/ui/model")
    crossed = desk.http.post(page, data={**fields, "form_token": right}, headers={"Sec-Fetch-Site": "cross-site"})
    assert crossed.status_code == 403
    assert [m.text for m in live.brain.list(user_id=user).results] == ["Stay"]
    assert live.brain.list_keys().results == keys
    assert desk.get("/ui/").status_code == 200


def test_a_key_sees_and_does_what_it_may(live: Live, user: str) -> None:
    (memory,) = live.brain.store("Mine", user_id=user).results
    with Desk(live, live.key(scopes=["read"])) as reader:
        page = reader.get("/ui/memory", id=memory.id, user=user).text
        assert "Mine" in page
        for deed in ("/ui/memory/edit", "/ui/memory/forget", "/ui/memory/new", "/ui/keys", "/ui/audit"):
            assert deed not in page
        for address in (*WRITE, *ADMIN):
            assert reader.get(address).status_code == 403, address
        for address in (*POSTS["write"], *POSTS["admin"]):
            answer = reader.send(address, user=user, id=memory.id, text="x", confirmed=user)
            assert answer.status_code == 403, address
            assert "this needs the scope" in said(answer)
    assert live.brain.get(memory.id).text == "Mine"
    with Desk(live, live.key(scopes=["admin"])) as administrator:
        assert administrator.get("/ui/keys").status_code == 200
        for address in (*READ, *WRITE):
            assert administrator.get(address).status_code == 403, address
    with Desk(live) as writer:
        key = live.key(scopes=["write"])
        landed = writer.send("/ui/sign-in", page="/ui/sign-in", key=key).headers["location"]
        assert landed == "/ui/memory/new"
        assert writer.get(landed).status_code == 200
        stored = writer.send("/ui/memory/new", page=landed, user=user, text="Written blind")
        assert stored.headers["location"].startswith("/ui/memory/new?")


def test_a_key_of_one_user_reaches_no_other(live: Live, user: str) -> None:
    (theirs,) = live.brain.store("A secret", user_id="somebody-else").results
    with Desk(live, live.key(scopes=["read", "write", "admin"], user_id=user)) as desk:
        assert desk.get("/ui/").headers["location"] == f"/ui/search?user={user}"
        for page in ("search", "timeline", "map", "documents", "transfer", "export", "erase"):
            assert desk.get(f"/ui/{page}", user="somebody-else").status_code == 403, page
            assert desk.get(f"/ui/{page}", user=user).status_code == 200, page
        assert desk.get("/ui/memory", id=theirs.id).status_code == 404
        assert desk.get("/ui/memory", id=theirs.id, user="somebody-else").status_code == 403
        assert desk.send("/ui/memory/new", user="somebody-else", text="x").status_code == 403
        for page in ADMIN:
            assert desk.get(page).status_code == 403
    refused = live.brain.audit(user_id="somebody-else", outcome="refused").results
    assert "GET /ui/search" in {entry.action for entry in refused}


def test_another_tenant_is_not_there(live: Live, user: str) -> None:
    (memory,) = live.brain.store("A secret of the first", user_id=user).results
    with Desk(live, live.key(tenant="second", scopes=["read", "write", "admin"])) as desk:
        assert user not in desk.text("/ui/")
        assert desk.get("/ui/memory", id=memory.id, user=user).status_code == 404
        assert desk.get("/ui/memory/edit", id=memory.id).status_code == 404
        assert desk.send("/ui/memory/forget", id=memory.id, user=user).status_code == 404
        for page in ("search", "timeline", "map"):
            assert "A secret" not in desk.text(f"/ui/{page}", user=user)
        assert "A secret" not in desk.get("/ui/export", user=user).text
        assert "bootstrap" not in desk.text("/ui/keys")
    assert live.brain.get(memory.id).text == "A secret of the first"


def test_whatever_is_stored_is_only_text(live: Live, desk: Desk) -> None:
    user = f"u {EVIL}"
    fields = {"session_id": EVIL, "agent_id": EVIL, "key": EVIL, "metadata": {EVIL: [EVIL]}}
    (memory,) = live.brain.store(f"boat {EVIL}", user_id=user, **fields).results
    live.brain.update(memory.id, text=f"red boat {EVIL}")
    live.brain.store_messages([{"role": "user", "content": f"boat {EVIL} two", "name": EVIL}], user_id=user)
    live.brain.store_document(f"{EVIL} is a long text.", user_id=user, title=EVIL)
    live.brain.create_key(name=EVIL[:90], user_id=user)
    pages = [f"/ui/{name}" for name in ("search", "timeline", "map", "documents", "transfer", "erase", "memory/new")]
    answers = [desk.get(page, user=user) for page in pages]
    answers += [
        desk.get("/ui/search", user=user, q=f"boat {EVIL}", filters=EVIL),
        desk.get("/ui/search", user=user, q="boat"),
    ]
    answers += [desk.get(f"/ui/memory{deed}", id=memory.id, user=user) for deed in ("", "/edit", "/forget")]
    answers += [desk.get("/ui/", matching=EVIL), desk.get("/ui/keys"), desk.get("/ui/audit", user_id=user)]
    answers += [desk.send("/ui/memory/new", user=user, text=EVIL, metadata=EVIL)]
    answers += [desk.send("/ui/erase", user=user, confirmed=user), desk.get("/ui/memory", id=EVIL)]
    for answer in answers:
        assert answer.status_code in (200, 404, 422), answer.url
        assert "alert(1)" in answer.text or answer.status_code == 404 or "/ui/documents" in str(answer.url), answer.url
        assert "<script>alert" not in answer.text, answer.url
        assert "<img src=x" not in answer.text, answer.url


def test_requests_are_counted_by_key_as_those_of_the_api(tmp_path: Path) -> None:
    with serving(tmp_path, server={"requests_per_minute": 4}) as live, Desk(live, live.admin_key) as desk:
        statuses = [desk.get("/ui/model").status_code for _ in range(6)]
        assert statuses == [200] * 4 + [429] * 2
        refused = desk.get("/ui/model")
        assert int(refused.headers["retry-after"]) >= 1
        assert "Too many requests" in said(refused)
        assert desk.get("/ui/static/app.css").status_code == 200


def test_a_body_that_is_too_large_or_no_form_is_refused_on_a_page(tmp_path: Path) -> None:
    with serving(tmp_path, server={"max_body_bytes": 20_000}) as live, Desk(live, live.admin_key) as desk:
        large = desk.send("/ui/memory/new", user="ann", text="x" * 30_000)
        assert large.status_code == 413
        assert "larger than 20,000 bytes" in said(large)
        odd = desk.http.post("/ui/memory/new", json={"text": "x"})
        assert odd.status_code == 400
        assert "expected a form" in said(odd)


def test_without_authentication_it_is_open_to_this_machine_alone(tmp_path: Path) -> None:
    with serving(tmp_path, FakeEmbedder(), auth={"enabled": False}) as live, Desk(live) as desk:
        assert desk.get("/ui/sign-in").headers["location"] == "/ui/"
        assert "Authentication is off" in desk.get("/ui/").text
        assert desk.send("/ui/memory/new", user="ann", text="Open").status_code == 303
        assert desk.http.post("/ui/memory/new", data={"user": "ann", "text": "Evil"}).status_code == 403
        assert desk.http.get("/ui/", headers={"Host": "evil.example"}).status_code == 403
        foreign = {"form_token": desk.token("/ui/model"), "user": "ann", "text": "Evil"}
        refused = desk.http.post("/ui/memory/new", data=foreign, headers={"Origin": "https://evil.example"})
        assert refused.status_code == 403
        assert len(live.brain.list(user_id="ann").results) == 1


def test_the_session_opens_no_door_of_the_api(live: Live, desk: Desk) -> None:
    answer: httpx2.Response = desk.http.get(
        "/v1/users", headers={"Cookie": "; ".join(f"{name}={value}" for name, value in desk.http.cookies.items())}
    )
    assert answer.status_code == 401
