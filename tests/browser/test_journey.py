"""Storing, recalling and forgetting in a real browser, with the keyboard alone; and what a script must not do."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import Page, expect

from tests.browser.conftest import sign_in
from tests.live import Live, someone

STEPS = 80  # of the Tab key, before a thing counts as out of reach


def tab_to(page: Page, role: str, name: str) -> None:
    """Go there with the Tab key, as somebody without a mouse does."""
    wanted = page.get_by_role(role, name=name, exact=True).first  # type: ignore[arg-type]
    wanted.wait_for()
    for _ in range(STEPS):
        if wanted.evaluate("element => element === document.activeElement"):
            return
        page.keyboard.press("Tab")
    raise AssertionError(f"the {role} {name!r} is not reached by Tab")


def press(page: Page, role: str, name: str) -> None:
    tab_to(page, role, name)
    page.keyboard.press("Enter")


def test_a_memory_is_stored_recalled_and_forgotten_with_the_keyboard(page: Page, live: Live) -> None:
    user = someone()
    page.goto("/ui/")
    page.keyboard.type(live.admin_key)  # the field has the focus
    page.keyboard.press("Enter")
    tab_to(page, "searchbox", "Find a user by a part of their id")
    page.keyboard.type(user)
    page.keyboard.press("Enter")
    press(page, "button", f"Add the first memory of {user}")
    tab_to(page, "textbox", "What to remember")
    page.keyboard.type("I parked on level 3, next to the lift.")
    press(page, "button", "Remember")
    expect(page.get_by_role("status")).to_have_text("Remembered.")
    (memory,) = live.brain.list(user_id=user).results
    assert memory.text == "I parked on level 3, next to the lift."

    press(page, "link", "Search")
    tab_to(page, "searchbox", "Ask in your own words")
    page.keyboard.type("On which level did I park?")  # no Enter: it looks while one types
    expect(page.locator("mark").first).to_have_text("parked")
    page.wait_for_url("**q=On**")
    tab_to(page, "searchbox", "Ask in your own words")
    page.keyboard.press("Tab")
    page.locator(".hit summary").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("rowheader", name="Words", exact=True)).to_be_visible()
    press(page, "link", "Open the memory: I parked on level 3, next to the lift.")

    press(page, "button", "Edit")
    tab_to(page, "textbox", "What to remember")
    page.keyboard.press("Control+A")
    page.keyboard.type("I parked on level 4, next to the lift.")
    press(page, "button", "Save")
    expect(page.locator(".history ins")).to_have_text("4,")
    expect(page.locator(".history del")).to_have_text("3,")

    press(page, "button", "Forget")
    press(page, "button", "Forget it")
    expect(page.get_by_role("status")).to_have_text("The memory is forgotten.")
    assert live.brain.list(user_id=user).results == []
    press(page, "button", "Sign out")
    expect(page.get_by_label("API key")).to_be_focused()


def test_a_user_is_carried_over_and_forgotten_with_a_receipt(signed_in: Page, live: Live, tmp_path: Path) -> None:
    page, user, copy = signed_in, someone(), someone()
    live.brain.store("The boat is red", user_id=user)
    page.goto(f"/ui/transfer?user={user}")
    with page.expect_download() as download:
        page.get_by_role("button", name="Export").click()
    file = tmp_path / "export.jsonl"
    download.value.save_as(file)
    page.goto(f"/ui/transfer?user={copy}")
    page.get_by_label("File").set_input_files(file)
    page.get_by_role("button", name="Import").click()
    expect(page.get_by_role("status")).to_contain_text("1 imported")
    page.goto(f"/ui/transfer?user={user}")
    page.get_by_role("button", name="Forget this user").click()
    page.get_by_label("To go on, type the id of the user").fill(user)
    page.get_by_role("button", name="Forget this user for good").click()
    expect(page.get_by_role("heading", name="Receipt of an erasure")).to_be_visible()
    expect(page.get_by_role("row", name="memories 1 0", exact=True)).to_be_visible()
    assert live.brain.list(user_id=user).results == []
    assert [memory.text for memory in live.brain.list(user_id=copy).results] == ["The boat is red"]


def test_the_map_leads_to_memories_without_a_script(signed_in: Page) -> None:
    signed_in.goto("/ui/map?user=anna")
    dots = signed_in.locator("figure a")
    assert dots.count() > 40
    dots.first.focus()
    text = dots.first.get_attribute("aria-label") or ""
    signed_in.keyboard.press("Enter")
    expect(signed_in.locator("blockquote")).to_contain_text(text[:40])


def test_earlier_days_are_added_below(signed_in: Page, live: Live) -> None:
    user = someone()
    live.brain.store_batch([{"user_id": user, "text": f"note {n}"} for n in range(45)])
    signed_in.goto(f"/ui/timeline?user={user}")
    assert signed_in.locator(".entry").count() == 40
    signed_in.get_by_role("button", name="Earlier").click()
    expect(signed_in.locator(".entry")).to_have_count(45)
    assert "cursor" not in signed_in.url


def test_a_rotated_key_is_shown_once_and_works(signed_in: Page, live: Live) -> None:
    name = someone()
    page = signed_in
    page.goto("/ui/keys")
    page.get_by_label("Name", exact=True).fill(name)
    page.get_by_role("button", name="Make the key").click()
    first = page.get_by_label("The new key").input_value()
    row = page.get_by_role("row").filter(has_text=name)
    row.locator("summary").click()
    row.get_by_role("button", name="Rotate").click()
    expect(page.get_by_label("The new key")).not_to_have_value(first)
    assert live.brain.authenticate(page.get_by_label("The new key").input_value()).name == name
    page.reload()  # asks nothing, and makes no third key
    assert sum(key.name == name for key in live.brain.list_keys().results) == 2


def test_re_embedding_is_watched(signed_in: Page) -> None:
    signed_in.goto("/ui/reindex")
    signed_in.get_by_role("button", name="Start").click()
    expect(signed_in.locator("#progress strong")).to_have_text("Done")


def test_text_that_would_be_a_script_is_shown_and_does_nothing(signed_in: Page, live: Live) -> None:
    evil = '<script>alert(1)</script><img src=x onerror="alert(2)">'
    user = f"{evil} {someone()}"
    (memory,) = live.brain.store(f"boat {evil}", user_id=user, session_id=evil, metadata={evil: evil}).results
    for page in ("search", "timeline", "map", "transfer"):
        signed_in.goto("/ui/")
        signed_in.evaluate(
            "([page, user]) => { location = `/ui/${page}?user=${encodeURIComponent(user)}&q=boat` }", [page, user]
        )
        signed_in.wait_for_url(f"**/ui/{page}?*")
        expect(signed_in.locator(".whose")).to_contain_text("<script>alert(1)</script>")
    signed_in.goto(f"/ui/memory?id={memory.id}")
    expect(signed_in.locator("blockquote")).to_have_text(f"boat {evil}")
    assert signed_in.locator("main img, main script").count() == 0


def test_the_policy_stops_a_script_that_got_in_anyway(signed_in: Page, complaints: list[str]) -> None:
    blocked = signed_in.evaluate("""() => new Promise(resolve => {
        addEventListener('securitypolicyviolation', event => resolve(event.effectiveDirective));
        const image = document.createElement('img');
        image.src = 'https://elsewhere.example/steal.png';
        document.body.append(image);
    })""")
    assert blocked == "img-src"
    inline = signed_in.evaluate("""() => {
        const script = document.createElement('script');
        script.textContent = 'window.gotIn = true';
        document.body.append(script);
        return window.gotIn === undefined;
    }""")
    assert inline
    assert "Content Security Policy" in complaints[-1]
    complaints.clear()


def test_somebody_who_may_only_read_sees_nothing_to_change(page: Page, live: Live) -> None:
    sign_in(page, live.key(scopes=["read"], user_id="anna"))
    page.wait_for_url("**/ui/search?user=anna")
    page.locator(".entry-text").first.click()
    expect(page.get_by_role("heading", name="History")).to_be_visible()
    for name in ("Edit", "Supersede", "Forget", "Add a memory", "Keys", "Users"):
        assert page.get_by_text(name, exact=True).count() == 0, name


def test_dark_is_kept_on_every_page(signed_in: Page) -> None:
    signed_in.get_by_role("button", name="Dark").click()
    signed_in.goto("/ui/keys")
    dark = "() => getComputedStyle(document.documentElement).backgroundColor"
    assert signed_in.evaluate(dark) == "rgb(15, 20, 24)"
    signed_in.get_by_role("button", name="Light").click()
    signed_in.wait_for_function("() => document.documentElement.dataset.theme === 'light'")
    assert signed_in.evaluate(dark) == "rgb(246, 244, 239)"


def test_it_asks_nobody_else(signed_in: Page, live: Live) -> None:
    asked: list[str] = []
    signed_in.on("request", lambda request: asked.append(request.url))
    for address in ("/ui/", "/ui/search?user=anna&q=key", "/ui/model", "/ui/map?user=anna"):
        signed_in.goto(address)
    assert len(asked) > 8
    assert all(url.startswith((live.url, "data:")) for url in asked)
