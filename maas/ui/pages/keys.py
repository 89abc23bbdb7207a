"""The keys of the tenant: made, rotated, revoked."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, get_args

from starlette.responses import Response

from maas.brain import PersonalMemoryBrain
from maas.errors import InvalidInputError
from maas.records import ApiKey, KeyScope, NewApiKey
from maas.ui.forms import faults, filled
from maas.ui.routing import pages
from maas.ui.visit import PageVisit, Visit

router = pages()
SCOPES = get_args(KeyScope)
GRACES = {"0": "at once", "3600": "in an hour", "86400": "in a day", "604800": "in a week"}


@router.get("/ui/keys")
def keys(visit: PageVisit) -> Response:
    return _page(visit, visit.administration())


@router.post("/ui/keys")
def make(visit: PageVisit) -> Response:
    brain, values = visit.administration(posted=True), visit.values
    fields: dict[str, Any] = filled(values, ("name", "user_id", "expires_at"))
    fields["scopes"] = [scope for scope in SCOPES if values.get(f"scope_{scope}")]
    try:
        made = brain.create_key(**fields, idempotency_key=values.get("once") or None)
    except InvalidInputError as error:
        return _page(visit, brain, wrong=faults(error), status=422)
    return _page(visit, brain, made=made)


@router.post("/ui/keys/rotate")
def rotate(visit: PageVisit) -> Response:
    brain, values = visit.administration(posted=True), visit.values
    grace = values.get("grace", "0")
    seconds = int(grace) if grace in GRACES else 0
    made = brain.rotate_key(values.get("id", ""), grace_seconds=seconds, idempotency_key=values.get("once") or None)
    return _page(visit, brain, made=made)


@router.post("/ui/keys/revoke")
def revoke(visit: PageVisit) -> Response:
    brain = visit.administration(posted=True)
    brain.revoke_key(visit.values.get("id", ""))
    return visit.to("keys", done="revoked")


def _page(
    visit: Visit,
    brain: PersonalMemoryBrain,
    *,
    made: NewApiKey | None = None,
    wrong: dict[str, str] | None = None,
    status: int = 200,
) -> Response:
    now = datetime.now(UTC)
    known = [(key, _state(key, now)) for key in brain.list_keys().results]
    known.sort(key=lambda entry: (entry[1] != "works", -entry[0].created_at.timestamp()))
    return visit.page(
        "keys.html",
        status=status,
        keys=known,
        made=made,
        faults=wrong or {},
        values=visit.values,
        scopes=SCOPES,
        graces=GRACES,
        done=visit.values.get("done", ""),
    )


def _state(key: ApiKey, now: datetime) -> str:
    if key.revoked_at is not None:
        return "revoked"
    return "expired" if key.expires_at is not None and key.expires_at <= now else "works"
