"""Recall, with what it went by."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response

from maas.api.dependencies import Grant
from maas.errors import FingerprintMismatchError, InvalidInputError
from maas.recall.highlights import excerpt
from maas.records import RecallResponse
from maas.ui.explaining import bars
from maas.ui.forms import Values, faults, filled, with_json
from maas.ui.routing import pages
from maas.ui.visit import PageVisit, Visit

router = pages()
MODES = ("hybrid", "dense", "lexical")
SIZES = (5, 10, 20, 50)
_RECENT = 5
_TEXT_FIELDS = ("mode", "session_id", "since", "until", "as_of", "filters")


@router.get("/ui/search")
def search(visit: PageVisit) -> Response:
    grant = visit.grant("read")
    user, query = visit.user(grant), visit.values.get("q", "").strip()
    context: dict[str, Any] = {"user": user, "query": query, "values": visit.values, "modes": MODES, "sizes": SIZES}
    context |= {"answer": None, "fault": "", "faults": {}, "recent": []}
    status = 200
    if query:
        try:
            context["answer"] = _recalled(visit, grant, user, query)
        except InvalidInputError as error:
            context["faults"], status = faults(error), 422
        except FingerprintMismatchError as error:
            context["fault"], status = error.detail, 409
    else:
        context["recent"] = grant.brain.list(user_id=user, limit=_RECENT).results
    context["found"] = [(hit, excerpt(hit.text, query), bars(hit.explain)) for hit in _hits(context["answer"])]
    return visit.page("_results.html" if visit.partial else "search.html", status=status, **context)


def _recalled(visit: Visit, grant: Grant, user: str, query: str) -> RecallResponse:
    answer = grant.brain.recall(query, user_id=user, explain=True, **_fields(visit.values))
    visit.metrics.recalled.inc(len(answer.results))
    return answer


def _fields(values: Values) -> dict[str, Any]:
    fields = with_json(filled(values, _TEXT_FIELDS), "filters")
    top_k = values.get("top_k", "")
    if top_k.isdecimal() and int(top_k) in SIZES:
        fields["top_k"] = int(top_k)
    return fields | {name: True for name in ("include_superseded", "rerank") if values.get(name)}


def _hits(answer: RecallResponse | None) -> list[Any]:
    return [] if answer is None else answer.results
