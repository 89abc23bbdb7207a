"""The service with its keys, and a plain model that says what it must hold."""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize
from starlette.testclient import TestClient

from maas import PersonalMemoryBrain

TENANTS = ("red", "blue")
USERS = ("ann", "bob", "a/b%")
KINDS = {
    "whole": (["read", "write", "admin"], None),
    "reader": (["read"], None),
    "ann": (["read", "write", "admin"], "ann"),
    "slashed": (["read", "write"], "a/b%"),
}
WORDS = ("boat", "dog", "key", "tea", "rain")
MCP = {"Accept": "application/json, text/event-stream"}

_serial = itertools.count()

users = st.sampled_from(USERS)
words = st.sampled_from(WORDS)
holders = st.tuples(st.sampled_from(TENANTS), st.sampled_from(sorted(KINDS)))
modes = st.sampled_from(["hybrid", "dense", "lexical"])
picks = st.integers(0, 10**6)


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

    @property
    def administers(self) -> bool:
        return "admin" in self.scopes and self.user is None


def mark(tenant: str, user: str) -> str:
    return f"of{tenant}x{USERS.index(user)}y"


def escaped(user: str) -> str:
    return quote(user, safe="")


def all_of(user: str) -> dict[str, Any]:
    return {"user_id": user, "limit": 1000, "include_superseded": "true"}


class World(RuleBasedStateMachine):
    """Every text holds the mark of the tenant and user it belongs to."""

    client: TestClient
    brain: PersonalMemoryBrain

    @initialize()
    def begin(self) -> None:
        run = next(_serial)
        self.model: dict[str, tuple[str, str, str]] = {}  # id → tenant, user, text
        self.passages: dict[str, str] = {}  # id → document
        self.documents: dict[str, tuple[str, str]] = {}  # id → tenant, user
        self.exports: list[tuple[str, str, str]] = []  # tenant, user, lines
        self.cursors: list[tuple[str, str, str]] = []  # tenant, user, cursor
        self.spare: dict[str, Holder] = {}  # keys made through the API, by id
        self.holders = {}
        for tenant in TENANTS:
            for kind, (scopes, user) in KINDS.items():
                self.holders[tenant, kind] = self.new_holder(f"{tenant}{run}", scopes, user)

    def new_holder(self, tenant: str, scopes: list[str], user: str | None) -> Holder:
        made = self.brain.acting_as(tenant, "test").create_key(scopes=scopes, user_id=user)
        return Holder(tenant, scopes, user, made.key)

    def call(
        self, holder: Holder, method: str, path: str, headers: dict[str, str] | None = None, **options: Any
    ) -> Any:
        """Send it, and look through the answer for the marks of others."""
        headers = {"Authorization": f"Bearer {holder.secret}", **(headers or {})}
        answer = self.client.request(method, path, headers=headers, **options)
        assert answer.status_code < 500, answer.text
        for tenant in {holder.tenant for holder in self.holders.values()}:
            for user in USERS:
                if tenant != holder.tenant or not holder.reaches(user):
                    assert mark(tenant, user) not in answer.text, (method, path, answer.text)
        return answer

    def tool(self, holder: Holder, name: str, **arguments: Any) -> dict[str, Any] | None:
        """What a tool answers over MCP; None if it was refused."""
        body = {
            "jsonrpc": "2.0",
            "id": 1,
            "method": "tools/call",
            "params": {"name": name, "arguments": arguments},
        }
        answer = self.call(holder, "POST", "/mcp", MCP, json=body)
        assert answer.status_code == 200, answer.text
        result = answer.json()["result"]
        found: dict[str, Any] | None = None if result.get("isError") else result["structuredContent"]
        return found

    def owned(self, tenant: str, user: str) -> dict[str, str]:
        return {i: text for i, (t, u, text) in self.model.items() if (t, u) == (tenant, user)}

    def some_id(self, pick: int) -> str:
        ids = sorted(self.model)
        return ids[pick % len(ids)] if ids else "0123456789"

    def reachable(self, holder: Holder, memory_id: str) -> bool:
        known = self.model.get(memory_id)
        return known is not None and known[0] == holder.tenant and holder.reaches(known[1])

    def learn(self, tenant: str, user: str) -> None:
        """Take over what is there of one user, after it was seen to belong to them."""
        holder = next(h for (_, kind), h in self.holders.items() if h.tenant == tenant and kind == "whole")
        for memory in self.call(holder, "GET", "/v1/memories", params=all_of(user)).json()["results"]:
            assert mark(tenant, user) in memory["text"]
            self.model[memory["id"]] = (tenant, user, memory["text"])
            if memory["document_id"]:
                self.passages[memory["id"]] = memory["document_id"]
                self.documents[memory["document_id"]] = (tenant, user)

    def forget_document(self, document_id: str) -> None:
        del self.documents[document_id]
        for passage in [p for p, d in self.passages.items() if d == document_id]:
            del self.model[passage], self.passages[passage]

    def teardown(self) -> None:
        """Nothing that a call changed out of its reach went unseen."""
        if not hasattr(self, "model"):
            return
        for tenant in {holder.tenant for holder in self.holders.values()}:
            view = self.brain.acting_as(tenant, "test")
            for user in USERS:
                listed = view.list(user_id=user, limit=1000, include_superseded=True).results
                assert {memory.id: memory.text for memory in listed} == self.owned(tenant, user)
                documents = {document.id for document in view.list_documents(user_id=user).results}
                assert documents == {d for d, owner in self.documents.items() if owner == (tenant, user)}


def lines_of(exported: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in exported.splitlines()]
