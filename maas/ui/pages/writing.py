"""Adding a memory, on its own or in the place of another, and changing one."""

from __future__ import annotations

import json
from typing import Any

from starlette.responses import Response

from maas.api.dependencies import Grant
from maas.errors import FieldError, InvalidInputError, PayloadTooLargeError
from maas.records import Memory
from maas.ui.forms import Values, faults, filled, with_json, with_number
from maas.ui.pages.memory import named
from maas.ui.routing import pages
from maas.ui.visit import PageVisit, Visit

router = pages()
DEDUPE = ("exact", "semantic", "off")
_FIELDS = ("text", "metadata", "session_id", "agent_id", "created_at", "expires_at", "importance", "key", "dedupe")
_HAPPENED = {"ADD": "added", "UPDATE": "updated", "NONE": "known"}


@router.get("/ui/memory/new")
def new_form(visit: PageVisit) -> Response:
    grant = visit.grant("write")
    user = visit.values.get("user") or grant.user_id or ""
    values = {"user": user, "supersedes": visit.values.get("supersedes", ""), "metadata": "", "dedupe": "exact"}
    return _new_page(visit, grant, values, {})


@router.post("/ui/memory/new")
def add(visit: PageVisit) -> Response:
    grant, values = visit.posted("write"), visit.values
    try:
        user = visit.user(grant)
        fields = with_number(with_json(filled(values, (*_FIELDS, "supersedes")), "metadata"), "importance")
        answer = grant.brain.store(user_id=user, idempotency_key=values.get("once") or None, **fields)
    except (InvalidInputError, PayloadTooLargeError) as error:
        return _new_page(visit, grant, values, faults(error), error.status)
    visit.metrics.count_stored(answer)
    stored = answer.results[0]
    if not visit.can("read"):
        return visit.to("memory/new", user=user, done=_HAPPENED[stored.event])
    return visit.to("memory", id=stored.id, user=user, done=_HAPPENED[stored.event])


@router.get("/ui/memory/edit")
def edit_form(visit: PageVisit) -> Response:
    found = named(visit, visit.grant("write"))
    values = {
        "text": found.text,
        "metadata": _shown_json(found.metadata),
        "importance": "" if found.importance is None else str(found.importance),
        "expires_at": "" if found.expires_at is None else found.expires_at.strftime("%Y-%m-%dT%H:%M:%S"),
        "version": str(found.version),
    }
    return _edit_page(visit, found, values, {})


@router.post("/ui/memory/edit")
def edit(visit: PageVisit) -> Response:
    grant, values = visit.posted("write"), visit.values
    found = named(visit, grant)
    if values.get("version") != str(found.version):
        message = f"was changed meanwhile, to version {found.version}; look at it, then send again to overwrite it"
        return _edit_page(visit, found, {**values, "version": str(found.version)}, {"": f"The memory {message}."}, 409)
    try:
        grant.brain.update(
            found.id, user_id=found.user_id, idempotency_key=values.get("once") or None, **_changes(found, values)
        )
    except (InvalidInputError, PayloadTooLargeError) as error:
        return _edit_page(visit, found, values, faults(error), error.status)
    return visit.to("memory", id=found.id, user=found.user_id, done="changed")


def _changes(before: Memory, values: Values) -> dict[str, Any]:
    """All four fields; an empty one clears, but for the text, and an expiry that stays keeps its fractions."""
    read = with_number(with_json(filled(values, ("metadata", "importance", "expires_at")), "metadata"), "importance")
    if not isinstance(read.get("metadata", {}), dict):
        raise InvalidInputError("metadata: is no object", errors=[FieldError("metadata", "is no JSON object")])
    expires: Any = read.get("expires_at")
    if before.expires_at is not None and expires == before.expires_at.strftime("%Y-%m-%dT%H:%M:%S"):
        expires = before.expires_at
    return {
        "text": values.get("text", ""),
        "metadata": read.get("metadata", {}),
        "importance": read.get("importance"),
        "expires_at": expires,
    }


def _new_page(visit: Visit, grant: Grant, values: Values, wrong: dict[str, str], status: int = 200) -> Response:
    replaced = values.get("supersedes") or None
    old = grant.brain.get(replaced, user_id=visit.user(grant)) if replaced and "supersedes" not in wrong else None
    return visit.page(
        "new.html",
        status=status,
        user=values.get("user", ""),
        values=values,
        faults=wrong,
        old=old,
        dedupe=DEDUPE,
        done=values.get("done", ""),
    )


def _edit_page(visit: Visit, memory: Memory, values: Values, wrong: dict[str, str], status: int = 200) -> Response:
    return visit.page("edit.html", status=status, user=memory.user_id, memory=memory, values=values, faults=wrong)


def _shown_json(metadata: dict[str, Any]) -> str:
    return json.dumps(metadata, ensure_ascii=False, indent=2) if metadata else ""
