from __future__ import annotations

import threading
import time
from typing import Any

import httpx2

from maas import PersonalMemoryBrain
from maas.api.reading import BackgroundReading
from maas.records import Document, Scope
from tests.api.problems import fields_of, problem_of
from tests.conftest import FakeClock


def test_a_document_is_stored_recalled_listed_and_deleted(http: httpx2.Client, user: str) -> None:
    text = "\n\n".join(f"Chapter {n}: ship {n} sails. " + "The sea is calm. " * 30 for n in range(20))
    response = http.post("/v1/documents", json={"user_id": user, "text": text, "title": "Log"})
    assert response.status_code in (201, 202)
    document = response.json()
    while document["state"] == "reading":
        time.sleep(0.05)
        document = http.get(f"/v1/documents/{document['id']}").json()
    assert document["read_passages"] == document["passages"] > 10
    hit = http.post("/v1/recall", json={"user_id": user, "query": "ship 7 sails", "top_k": 1}).json()["results"][0]
    assert text[hit["start"] : hit["end"]] == hit["text"]
    assert (hit["document_id"], "ship 7" in hit["text"]) == (document["id"], True)
    assert hit["after"] in text
    again = http.post("/v1/documents", json={"user_id": user, "text": text, "title": "Log"})
    assert (again.status_code, again.json()["id"]) == (201, document["id"])
    listed = http.get("/v1/documents", params={"user_id": user}).json()["results"]
    assert [(one["id"], one["title"], one["vector"]) for one in listed] == [(document["id"], "Log", None)]
    assert problem_of(http.delete(f"/v1/memories/{hit['id']}"), 409)["code"] == "conflict"
    assert http.delete(f"/v1/documents/{document['id']}").json() == {"id": document["id"], "event": "DELETE"}
    assert problem_of(http.get(f"/v1/documents/{document['id']}"), 404)["code"] == "not_found"
    assert http.get("/v1/memories", params={"user_id": user}).json()["results"] == []


def test_what_a_killed_server_left_is_read_on(brain: PersonalMemoryBrain, clock: FakeClock) -> None:
    view = brain.acting_as("t", "someone")
    document = view.add_document("The sea is calm. " * 200, user_id="u")
    with brain._store.write() as transaction:
        transaction.change_document(Scope("t", "u"), document.id, runner="killed")
    reading = BackgroundReading(look_every=0.02)
    reading.resume(brain)
    try:
        assert reading.wait(view, document, 0.2).state == "reading", "it may be alive"
        clock.advance(minutes=3)
        deadline = time.monotonic() + 30
        while (state := view.get_document(document.id).state) != "done" and time.monotonic() < deadline:
            time.sleep(0.02)
        assert state == "done"
    finally:
        reading.stop()


def test_a_document_that_waits_behind_another_is_being_read(brain: PersonalMemoryBrain) -> None:
    first, second = (brain.add_document(f"The sea is calm. {n} " * 200, user_id="u") for n in (1, 2))
    begun, go_on = threading.Event(), threading.Event()

    class Slow(PersonalMemoryBrain):
        def read_document(self, *names: Any, **options: Any) -> Document:
            begun.set()
            assert go_on.wait(30)
            return super().read_document(*names, **options)

    slow = brain.acting_as(brain.tenant, brain.actor)
    slow.__class__ = Slow
    reading = BackgroundReading()
    try:
        reading.add(slow, first)
        reading.add(slow, second)
        assert begun.wait(30)
        assert reading.wait(brain, second, 0.05).state == "reading"
        assert brain.get_document(second.id).state == "interrupted", "no reader has begun"
        go_on.set()
        assert reading.wait(brain, second, 30).state == "done"
    finally:
        go_on.set()
        reading.stop()


def test_bad_documents_name_the_field(http: httpx2.Client, user: str) -> None:
    assert fields_of(http.post("/v1/documents", json={"user_id": user, "text": " "}), 422) == {"text"}
    assert fields_of(http.post("/v1/documents", json={"user_id": user, "text": "a", "key": "k"}), 422) == {"key"}
    assert fields_of(http.get("/v1/documents"), 422) == {"user_id"}
