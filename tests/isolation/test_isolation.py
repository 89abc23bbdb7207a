"""Whatever calls come in whatever order, with whatever key: nobody reads or changes what is not theirs.

Every text holds the mark of the tenant and user it belongs to. No answer may hold the mark of a scope that its key
does not reach, and what is stored must be what a plain model says. ``ISOLATION_OPERATIONS`` sets how many calls.
"""

from __future__ import annotations

import itertools
import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule
from starlette.testclient import TestClient

from maas import PersonalMemoryBrain
from maas.api.app import create_app
from maas.settings import load_settings
from tests.fakes import FakeEmbedder

OPERATIONS = int(os.environ.get("ISOLATION_OPERATIONS", "2000"))
STEPS = 50
TENANTS = ("red", "blue")
USERS = ("ann", "bob", "a/b%")
KINDS = {
    "whole": (["read", "write", "admin"], None),
    "reader": (["read"], None),
    "ann": (["read", "write", "admin"], "ann"),
    "slashed": (["read", "write"], "a/b%"),
}
WORDS = ("boat", "dog", "key", "tea", "rain")

_serial = itertools.count()


@dataclass(frozen=True)
class Holder:
    """A key, and what it may do."""

    tenant: str
    scopes: list[str]
    user: str | None
    secret: str

    def reaches(self, user: str) -> bool:
        return self.user in (None, user)

    def may(self, scope: str, user: str) -> bool:
        return scope in self.scopes and self.reaches(user)


def mark(tenant: str, user: str) -> str:
    return f"of{tenant}x{USERS.index(user)}y"


users = st.sampled_from(USERS)
words = st.sampled_from(WORDS)
holders = st.tuples(st.sampled_from(TENANTS), st.sampled_from(sorted(KINDS)))
modes = st.sampled_from(["hybrid", "dense", "lexical"])
picks = st.integers(0, 10**6)


class Isolation(RuleBasedStateMachine):
    """The service with its keys, and a dictionary that says what it must hold."""

    client: TestClient
    brain: PersonalMemoryBrain

    @initialize()
    def begin(self) -> None:
        run = next(_serial)
        self.model: dict[str, tuple[str, str, str]] = {}  # id → tenant, user, text
        self.exports: list[tuple[str, str, str]] = []  # tenant, user, lines
        self.holders = {}
        for tenant in TENANTS:
            for kind, (scopes, user) in KINDS.items():
                self.holders[tenant, kind] = self._holder(f"{tenant}{run}", scopes, user)

    def _holder(self, tenant: str, scopes: list[str], user: str | None) -> Holder:
        made = self.brain.acting_as(tenant, "test").create_key(scopes=scopes, user_id=user)
        return Holder(tenant, scopes, user, made.key)

    def call(self, holder: Holder, method: str, path: str, **options: Any) -> Any:
        """Send it, and look through the answer for the marks of others."""
        headers = {"Authorization": f"Bearer {holder.secret}"}
        answer = self.client.request(method, path, headers=headers, **options)
        assert answer.status_code < 500, answer.text
        for tenant in {holder.tenant for holder in self.holders.values()}:
            for user in USERS:
                if tenant != holder.tenant or not holder.reaches(user):
                    assert mark(tenant, user) not in answer.text, (method, path, answer.text)
        return answer

    def owned(self, tenant: str, user: str) -> dict[str, str]:
        return {i: text for i, (t, u, text) in self.model.items() if (t, u) == (tenant, user)}

    def some_id(self, pick: int) -> str:
        ids = sorted(self.model)
        return ids[pick % len(ids)] if ids else "0123456789"

    def reachable(self, holder: Holder, memory_id: str) -> bool:
        known = self.model.get(memory_id)
        return known is not None and known[0] == holder.tenant and holder.reaches(known[1])

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
        body = {"user_id": user, "query": word, "mode": mode, "top_k": 100}
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

    @rule(who=holders, user=users)
    def list_all(self, who: tuple[str, str], user: str) -> None:
        holder = self.holders[who]
        answer = self.call(holder, "GET", "/v1/memories", params={"user_id": user, "limit": 1000})
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
            assert answer.text.count("\n") == 1 + len(self.owned(holder.tenant, user))
            self.exports.append((holder.tenant, user, answer.text))

    @rule(who=holders, user=users, pick=picks)
    def import_again(self, who: tuple[str, str], user: str, pick: int) -> None:
        """Lines of the same tenant and user: those of others would bring their marks along, and rightly so."""
        holder = self.holders[who]
        fitting = [lines for tenant, u, lines in self.exports if (tenant, u) == (holder.tenant, user)]
        if not fitting:
            return
        path = "/v1/import"
        answer = self.call(holder, "POST", path, content=fitting[pick % len(fitting)], params={"user_id": user})
        assert answer.status_code == (200 if holder.may("write", user) else 403)
        if answer.status_code == 200:  # what had been deleted meanwhile is back
            listed = self.call(self.holders[who[0], "whole"], "GET", "/v1/memories", params=all_of(user)).json()
            there = {memory["id"]: memory["text"] for memory in listed["results"]}
            assert there.items() >= self.owned(holder.tenant, user).items()
            self.model |= {i: (holder.tenant, user, text) for i, text in there.items()}

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
            if user == "a/b%":  # their key went with them
                self.holders[who[0], "slashed"] = self._holder(holder.tenant, *KINDS["slashed"])

    @rule(who=holders, path=st.sampled_from(["/v1/keys", "/v1/admin/audit", "/v1/admin/reindex"]))
    def administer(self, who: tuple[str, str], path: str) -> None:
        holder = self.holders[who]
        answer = self.call(holder, "GET", path)
        allowed = "admin" in holder.scopes and holder.user is None
        assert answer.status_code == (200 if allowed else 403)
        if allowed and path == "/v1/keys":
            assert {key["tenant"] for key in answer.json()["results"]} == {holder.tenant}

    def teardown(self) -> None:
        """Nothing that a call changed out of its reach went unseen."""
        if not hasattr(self, "model"):
            return
        tenants = {holder.tenant for holder in self.holders.values()}
        for tenant in tenants:
            view = self.brain.acting_as(tenant, "test")
            for user in USERS:
                assert len(view.list(user_id=user, limit=1000).results) == len(self.owned(tenant, user))


def escaped(user: str) -> str:
    from urllib.parse import quote

    return quote(user, safe="")


def all_of(user: str) -> dict[str, Any]:
    return {"user_id": user, "limit": 1000}


def _opened() -> Iterator[None]:
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        chosen = load_settings(data_dir=Path(folder))
        brain = stack.enter_context(PersonalMemoryBrain(chosen, embedder=FakeEmbedder(dim=32)))
        Isolation.brain = brain
        Isolation.client = stack.enter_context(TestClient(create_app(chosen, brain=brain)))
        yield


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
