"""Documents, keys, the audit log and MCP: the calls beside those about single memories."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import rule

from tests.isolation.world import USERS, Holder, World, all_of, holders, mark, modes, picks, users, words


class CallsOnDocuments(World):
    def some_document(self, pick: int) -> str:
        ids = sorted(self.documents)
        return ids[pick % len(ids)] if ids else "0123456789"

    def reaches_document(self, holder: Holder, document_id: str) -> bool:
        owner = self.documents.get(document_id)
        return owner is not None and owner[0] == holder.tenant and holder.reaches(owner[1])

    @rule(who=holders, user=users, word=words, pick=picks)
    def store_document(self, who: tuple[str, str], user: str, word: str, pick: int) -> None:
        holder = self.holders[who]
        own = mark(holder.tenant, user)
        body = {"user_id": user, "text": f"The {word} of {own} in chapter {pick % 3}.", "title": own}
        answer = self.call(holder, "POST", "/v1/documents", json=body)
        assert answer.status_code == (201 if holder.may("write", user) else 403)
        if answer.status_code == 201:
            self.documents[answer.json()["id"]] = (holder.tenant, user)
            self.learn(holder.tenant, user)

    @rule(who=holders, pick=picks)
    def get_document(self, who: tuple[str, str], pick: int) -> None:
        holder, document_id = self.holders[who], self.some_document(pick)
        answer = self.call(holder, "GET", f"/v1/documents/{document_id}")
        assert answer.status_code == (200 if self.reaches_document(holder, document_id) else 404)

    @rule(who=holders, user=users)
    def list_documents(self, who: tuple[str, str], user: str) -> None:
        holder = self.holders[who]
        answer = self.call(holder, "GET", "/v1/documents", params={"user_id": user})
        assert answer.status_code == (200 if holder.may("read", user) else 403)
        if answer.status_code == 200:
            listed = {document["id"] for document in answer.json()["results"]}
            assert listed == {d for d, owner in self.documents.items() if owner == (holder.tenant, user)}

    @rule(who=holders, pick=picks)
    def delete_document(self, who: tuple[str, str], pick: int) -> None:
        holder, document_id = self.holders[who], self.some_document(pick)
        answer = self.call(holder, "DELETE", f"/v1/documents/{document_id}")
        if "write" not in holder.scopes:
            assert answer.status_code == 403
        elif self.reaches_document(holder, document_id):
            assert answer.status_code == 200
            self.forget_document(document_id)
        else:
            assert answer.status_code == 404


class CallsOfAdministration(World):
    @rule(who=holders, path=st.sampled_from(["/v1/keys", "/v1/admin/audit", "/v1/admin/reindex"]))
    def administer(self, who: tuple[str, str], path: str) -> None:
        holder = self.holders[who]
        answer = self.call(holder, "GET", path)
        assert answer.status_code == (200 if holder.administers else 403)
        if not holder.administers:
            return
        if path == "/v1/keys":
            assert {key["tenant"] for key in answer.json()["results"]} == {holder.tenant}
        if path == "/v1/admin/audit":
            done = [entry["subject"] for entry in answer.json()["results"] if entry["outcome"] == "done"]
            assert {self.model[i][0] for i in done if i in self.model} <= {holder.tenant}

    @rule(who=holders)
    def list_users(self, who: tuple[str, str]) -> None:
        holder = self.holders[who]
        answer = self.call(holder, "GET", "/v1/users")
        assert answer.status_code == (200 if holder.user is None else 403)
        if answer.status_code == 200:
            counts = {found["user_id"]: found["memories"] for found in answer.json()["results"] if found["memories"]}
            owned = {user: len(self.owned(holder.tenant, user)) for user in USERS}
            assert counts == {user: count for user, count in owned.items() if count}

    @rule(who=holders)
    def reindex(self, who: tuple[str, str]) -> None:
        holder = self.holders[who]
        assert self.call(holder, "POST", "/v1/admin/reindex").status_code == (202 if holder.administers else 403)

    @rule(who=holders, user=st.none() | users)
    def create_key(self, who: tuple[str, str], user: str | None) -> None:
        holder = self.holders[who]
        answer = self.call(holder, "POST", "/v1/keys", json={"scopes": ["read", "write"], "user_id": user})
        assert answer.status_code == (201 if holder.administers else 403)
        if answer.status_code == 201:
            self._keep(answer.json())

    @rule(who=holders, pick=picks, change=st.sampled_from(["revoke", "rotate"]))
    def end_key(self, who: tuple[str, str], pick: int, change: str) -> None:
        if not self.spare:
            return
        holder = self.holders[who]
        key_id = sorted(self.spare)[pick % len(self.spare)]
        ended = self.spare[key_id]
        if change == "revoke":
            answer = self.call(holder, "DELETE", f"/v1/keys/{key_id}")
        else:
            answer = self.call(holder, "POST", f"/v1/keys/{key_id}/rotate", json={})
        if not holder.administers:
            assert answer.status_code == 403
        elif ended.tenant != holder.tenant:
            assert answer.status_code == 404
        else:
            assert answer.status_code == (200 if change == "revoke" else 201)
            del self.spare[key_id]
            if change == "rotate":
                self._keep(answer.json())
            user = ended.user or "ann"
            assert self.call(ended, "GET", "/v1/memories", params=all_of(user)).status_code == 401
            return
        assert self.call(ended, "GET", "/v1/memories", params=all_of(ended.user or "ann")).status_code == 200

    def _keep(self, made: dict[str, Any]) -> None:
        self.spare[made["id"]] = Holder(made["tenant"], made["scopes"], made["user_id"], made["key"])

    @rule(who=holders, path=st.sampled_from(["/metrics", "/openapi.json", "/healthz", "/readyz", "/v1/models"]))
    def look_around(self, who: tuple[str, str], path: str) -> None:
        assert self.call(self.holders[who], "GET", path).status_code == 200


class CallsOverMcp(World):
    @rule(who=holders, pick=picks, tool=st.sampled_from(["get_memory", "fetch"]))
    def read_by_tool(self, who: tuple[str, str], pick: int, tool: str) -> None:
        holder, memory_id = self.holders[who], self.some_id(pick)
        asked = {"id": memory_id} if tool == "fetch" else {"memory_id": memory_id, "include_history": True}
        found = self.tool(holder, tool, **asked)
        assert (found is not None) == self.reachable(holder, memory_id)

    @rule(who=holders, user=users, word=words)
    def search_by_tool(self, who: tuple[str, str], user: str, word: str) -> None:
        holder = self.holders[who]
        found = self.tool(holder, "search_memories", query=word, user_id=user, limit=100)
        assert (found is not None) == holder.may("read", user)
        if found is not None:
            own = self.owned(holder.tenant, user)
            assert {note["id"]: note["text"] for note in found["results"]}.items() <= own.items()

    @rule(who=holders, user=users, word=words, tool=st.sampled_from(["get_context", "get_memories"]))
    def read_many_by_tool(self, who: tuple[str, str], user: str, word: str, tool: str) -> None:
        holder = self.holders[who]
        asked = {"query": word} if tool == "get_context" else {}
        assert (self.tool(holder, tool, user_id=user, **asked) is not None) == holder.may("read", user)

    @rule(who=holders, user=users, word=words)
    def add_by_tool(self, who: tuple[str, str], user: str, word: str) -> None:
        holder = self.holders[who]
        text = f"{word} {mark(holder.tenant, user)} by tool"
        found = self.tool(holder, "add_memory", text=text, user_id=user)
        assert (found is not None) == holder.may("write", user)
        if found is not None:
            self.model[found["results"][0]["id"]] = (holder.tenant, user, text)

    @rule(who=holders, pick=picks, word=words)
    def update_by_tool(self, who: tuple[str, str], pick: int, word: str) -> None:
        holder, memory_id = self.holders[who], self.some_id(pick)
        owner = self.model[memory_id][:2] if self.reachable(holder, memory_id) else (holder.tenant, "ann")
        text = f"{word} {mark(*owner)} changed by tool"
        found = self.tool(holder, "update_memory", memory_id=memory_id, text=text)
        allowed = "write" in holder.scopes and self.reachable(holder, memory_id) and memory_id not in self.passages
        assert (found is not None) == allowed
        if found is not None:
            self.model[memory_id] = (*owner, text)

    @rule(who=holders, pick=picks)
    def delete_by_tool(self, who: tuple[str, str], pick: int) -> None:
        holder, memory_id = self.holders[who], self.some_id(pick)
        found = self.tool(holder, "delete_memory", memory_id=memory_id)
        allowed = "write" in holder.scopes and self.reachable(holder, memory_id) and memory_id not in self.passages
        assert (found is not None) == allowed
        if found is not None:
            del self.model[memory_id]

    @rule(who=holders, user=users, mode=modes)
    def resource(self, who: tuple[str, str], user: str, mode: str) -> None:
        kind = "recent" if mode == "lexical" else "profile"
        uri = f"maas://users/{user.replace('/', '%2F').replace('%', '%25')}/{kind}"
        body = {"jsonrpc": "2.0", "id": 1, "method": "resources/read", "params": {"uri": uri}}
        headers = {"Accept": "application/json, text/event-stream"}
        answer = self.call(self.holders[who], "POST", "/mcp", headers, json=body)
        if user.isalpha():
            assert ("result" in answer.json()) == self.holders[who].may("read", user), answer.text
