"""Whatever calls come in whatever order, with whatever key: nobody reads or changes what is not theirs.

Every text holds the mark of the tenant and user it belongs to. No answer may hold the mark of a scope that its key
does not reach, and what is stored must be what a plain model says. ``ISOLATION_OPERATIONS`` sets how many calls.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import rule
from starlette.testclient import TestClient

from maas import PersonalMemoryBrain
from maas.api.app import create_app
from maas.settings import load_settings
from tests.fakes import FakeEmbedder
from tests.isolation.calls_beside import CallsOfAdministration, CallsOnDocuments, CallsOverMcp
from tests.isolation.world import (
    KINDS,
    USERS,
    all_of,
    escaped,
    holders,
    lines_of,
    mark,
    modes,
    picks,
    users,
    words,
)

OPERATIONS = int(os.environ.get("ISOLATION_OPERATIONS", "1500"))
STEPS = 50


class Isolation(CallsOnDocuments, CallsOfAdministration, CallsOverMcp):
    """The calls about memories, beside all others."""

    @rule(who=holders, user=users, word=words, pick=picks)
    def store(self, who: tuple[str, str], user: str, word: str, pick: int) -> None:
        holder = self.holders[who]
        text = f"{word} {mark(holder.tenant, user)} {pick % 7}"
        answer = self.call(holder, "POST", "/v1/memories", json={"user_id": user, "text": text})
        assert answer.status_code == (201 if holder.may("write", user) else 403)
        if answer.status_code == 201:
            (result,) = answer.json()["results"]
            assert all(similar["id"] in self.owned(holder.tenant, user) for similar in result["similar"])
            if result["event"] == "ADD":
                self.model[result["id"]] = (holder.tenant, user, text)
            else:
                assert self.model[result["id"]] == (holder.tenant, user, text)

    @rule(who=holders, user=users, word=words, pick=picks)
    def store_superseding(self, who: tuple[str, str], user: str, word: str, pick: int) -> None:
        """``supersedes`` names any memory at all: only the user's own is known."""
        holder, old = self.holders[who], self.some_id(pick)
        text = f"{word} {mark(holder.tenant, user)} after {pick}"
        body = {"user_id": user, "text": text, "supersedes": old, "dedupe": "off"}
        answer = self.call(holder, "POST", "/v1/memories", json=body)
        if not holder.may("write", user):
            assert answer.status_code == 403
        elif old in self.owned(holder.tenant, user):
            assert answer.status_code == 201
            self.model[answer.json()["results"][0]["id"]] = (holder.tenant, user, text)
        else:
            assert answer.status_code == 422

    @rule(who=holders, user=users, word=words, key=st.sampled_from(["home", "work"]))
    def store_keyed(self, who: tuple[str, str], user: str, word: str, key: str) -> None:
        """Everyone has the same keys, each their own memory under them."""
        holder = self.holders[who]
        text = f"{word} {mark(holder.tenant, user)} under {key}"
        answer = self.call(holder, "POST", "/v1/memories", json={"user_id": user, "text": text, "key": key})
        assert answer.status_code == (201 if holder.may("write", user) else 403)
        if answer.status_code == 201:
            (result,) = answer.json()["results"]
            known = self.model.get(result["id"])
            assert (known is not None) == (result["event"] != "ADD")
            assert known is None or known[:2] == (holder.tenant, user)
            self.model[result["id"]] = (holder.tenant, user, text)

    @rule(who=holders, user=users, word=words)
    def store_once(self, who: tuple[str, str], user: str, word: str) -> None:
        """Everyone sends the same Idempotency-Key; another tenant's answer is nobody's."""
        holder = self.holders[who]
        text = f"{word} {mark(holder.tenant, user)} once"
        body = {"user_id": user, "text": text, "dedupe": "off"}
        answer = self.call(holder, "POST", "/v1/memories", {"Idempotency-Key": "everyone's"}, json=body)
        if not holder.may("write", user):
            assert answer.status_code == 403
            return
        assert answer.status_code in (201, 409)
        if answer.status_code == 201:
            before = self.owned(holder.tenant, user)
            self.learn(holder.tenant, user)
            fresh = self.owned(holder.tenant, user).keys() - before.keys()
            assert fresh <= {answer.json()["results"][0]["id"]}

    @rule(who=holders, user=users)
    def first_page(self, who: tuple[str, str], user: str) -> None:
        holder = self.holders[who]
        answer = self.call(holder, "GET", "/v1/memories", params={**all_of(user), "limit": 1})
        if answer.status_code == 200 and answer.json()["next_cursor"]:
            self.cursors.append((holder.tenant, user, answer.json()["next_cursor"]))

    @rule(who=holders, user=users, pick=picks)
    def next_page(self, who: tuple[str, str], user: str, pick: int) -> None:
        """With anyone's cursor."""
        if not self.cursors:
            return
        holder = self.holders[who]
        tenant, owner, cursor = self.cursors[pick % len(self.cursors)]
        answer = self.call(holder, "GET", "/v1/memories", params={**all_of(user), "cursor": cursor})
        if not holder.may("read", user):
            assert answer.status_code == 403
        else:
            assert answer.status_code == (200 if (tenant, owner) == (holder.tenant, user) else 422)

    @rule(who=holders, word=words)
    def store_batch(self, who: tuple[str, str], word: str) -> None:
        holder = self.holders[who]
        texts = {user: f"{word} {mark(holder.tenant, user)}" for user in USERS[:2]}
        body = {"memories": [{"user_id": u, "text": t, "dedupe": "off"} for u, t in texts.items()]}
        answer = self.call(holder, "POST", "/v1/memories/batch", json=body)
        allowed = all(holder.may("write", user) for user in texts)
        assert answer.status_code == (201 if allowed else 403)
        if allowed:
            for result, (user, text) in zip(answer.json()["results"], texts.items(), strict=True):
                self.model[result["id"]] = (holder.tenant, user, text)

    @rule(who=holders, user=users, word=words, mode=modes)
    def recall(self, who: tuple[str, str], user: str, word: str, mode: str) -> None:
        holder = self.holders[who]
        body = {"user_id": user, "query": word, "mode": mode, "top_k": 1000, "include_superseded": True}
        answer = self.call(holder, "POST", "/v1/recall", json=body)
        assert answer.status_code == (200 if holder.may("read", user) else 403)
        if answer.status_code == 200:
            own = self.owned(holder.tenant, user)
            found = {hit["id"]: hit["text"] for hit in answer.json()["results"]}
            assert found.items() <= own.items()
            if mode == "lexical":
                assert found == {i: text for i, text in own.items() if word in text}

    @rule(who=holders, user=users, word=words)
    def context(self, who: tuple[str, str], user: str, word: str) -> None:
        holder = self.holders[who]
        body = {"user_id": user, "query": word, "max_tokens": 500}
        answer = self.call(holder, "POST", "/v1/context", json=body)
        assert answer.status_code == (200 if holder.may("read", user) else 403)
        if answer.status_code == 200:
            assert {memory["id"] for memory in answer.json()["memories"]} <= self.owned(holder.tenant, user).keys()

    @rule(who=holders, user=users)
    def list_all(self, who: tuple[str, str], user: str) -> None:
        holder = self.holders[who]
        answer = self.call(holder, "GET", "/v1/memories", params=all_of(user))
        assert answer.status_code == (200 if holder.may("read", user) else 403)
        if answer.status_code == 200:
            listed = {memory["id"]: memory["text"] for memory in answer.json()["results"]}
            assert listed == self.owned(holder.tenant, user)

    @rule(who=holders, pick=picks, part=st.sampled_from(["", "/history"]))
    def get(self, who: tuple[str, str], pick: int, part: str) -> None:
        holder, memory_id = self.holders[who], self.some_id(pick)
        answer = self.call(holder, "GET", f"/v1/memories/{memory_id}{part}")
        assert answer.status_code == (200 if self.reachable(holder, memory_id) else 404)

    @rule(who=holders, pick=picks, word=words)
    def update(self, who: tuple[str, str], pick: int, word: str) -> None:
        holder, memory_id = self.holders[who], self.some_id(pick)
        reachable = self.reachable(holder, memory_id)
        owner = self.model[memory_id][1] if reachable else USERS[0]
        text = f"{word} {mark(holder.tenant, owner)} changed"
        answer = self.call(holder, "PATCH", f"/v1/memories/{memory_id}", json={"text": text})
        if "write" not in holder.scopes:
            assert answer.status_code == 403
        elif reachable and memory_id in self.passages:
            assert answer.status_code == 409
        elif reachable:
            assert answer.status_code == 200
            self.model[memory_id] = (*self.model[memory_id][:2], text)
        else:
            assert answer.status_code == 404

    @rule(who=holders, pick=picks)
    def delete(self, who: tuple[str, str], pick: int) -> None:
        holder, memory_id = self.holders[who], self.some_id(pick)
        reachable = self.reachable(holder, memory_id)
        answer = self.call(holder, "DELETE", f"/v1/memories/{memory_id}")
        if "write" not in holder.scopes:
            assert answer.status_code == 403
        elif reachable and memory_id in self.passages:
            assert answer.status_code == 409
        elif reachable:
            assert answer.status_code == 200
            del self.model[memory_id]
        else:
            assert answer.status_code == 404

    @rule(who=holders, user=users)
    def export(self, who: tuple[str, str], user: str) -> None:
        holder = self.holders[who]
        answer = self.call(holder, "GET", f"/v1/users/{escaped(user)}/export")
        assert answer.status_code == (200 if holder.may("read", user) else 403)
        if answer.status_code == 200:
            exported = {line["memory"]["id"] for line in lines_of(answer.text) if "memory" in line}
            assert exported == self.owned(holder.tenant, user).keys()
            self.exports.append((holder.tenant, user, answer.text))

    @rule(who=holders, user=users, pick=picks)
    def import_again(self, who: tuple[str, str], user: str, pick: int) -> None:
        """Lines of the same tenant and user: those of others would bring their marks along, and rightly so."""
        holder = self.holders[who]
        fitting = [lines for tenant, u, lines in self.exports if (tenant, u) == (holder.tenant, user)]
        if not fitting:
            return
        path = "/v1/import"
        lines = fitting[pick % len(fitting)]
        answer = self.call(holder, "POST", path, content=lines, params={"user_id": user})
        if not holder.may("write", user):
            assert answer.status_code == 403
            return
        # A key, or a document's text, may have been given to another memory since.
        taken = any(line.get("document") or line.get("memory", {}).get("key") for line in lines_of(lines))
        assert answer.status_code == 200 or (taken and answer.status_code == 422)
        if answer.status_code == 200:  # what had been deleted meanwhile is back
            before = self.owned(holder.tenant, user)
            self.learn(holder.tenant, user)
            assert self.owned(holder.tenant, user).items() >= before.items()

    @rule(who=holders, user=users, sure=st.integers(0, 3))
    def erase(self, who: tuple[str, str], user: str, sure: int) -> None:
        holder = self.holders[who]
        if sure or (holder.may("write", user) and user == "ann"):  # seldom, and never a user with a key of their own
            return
        answer = self.call(holder, "DELETE", f"/v1/users/{escaped(user)}")
        assert answer.status_code == (200 if holder.may("write", user) else 403)
        if answer.status_code == 200:
            own = self.owned(holder.tenant, user)
            assert answer.json()["before"]["memories"] == len(own)
            assert not any(answer.json()["after"].values())
            for memory_id in own:
                del self.model[memory_id]
                self.passages.pop(memory_id, None)
            mine = (holder.tenant, user)
            self.documents = {d: owner for d, owner in self.documents.items() if owner != mine}
            self.spare = {i: key for i, key in self.spare.items() if (key.tenant, key.user) != mine}
            if user == "a/b%":  # their key went with them
                self.holders[who[0], "slashed"] = self.new_holder(holder.tenant, *KINDS["slashed"])


def _opened() -> Iterator[None]:
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        chosen = load_settings(data_dir=Path(folder))
        brain = stack.enter_context(PersonalMemoryBrain(chosen, embedder=FakeEmbedder(dim=32)))
        Isolation.brain = brain
        Isolation.client = stack.enter_context(TestClient(create_app(chosen, brain=brain)))
        yield


@pytest.mark.timeout(0)
class TestIsolation(Isolation.TestCase):  # type: ignore[misc, name-defined]
    settings = settings(
        max_examples=max(1, OPERATIONS // STEPS),
        stateful_step_count=STEPS,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )

    @classmethod
    def setup_class(cls) -> None:
        cls.opened = _opened()
        next(cls.opened)

    @classmethod
    def teardown_class(cls) -> None:
        next(cls.opened, None)
