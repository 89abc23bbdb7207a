"""One memory: what is known of it, how it became so, and what lies around it; and forgetting it."""

from __future__ import annotations

from starlette.responses import Response

from maas.api.dependencies import Grant
from maas.records import Memory
from maas.ui.changes import versions
from maas.ui.routing import pages
from maas.ui.visit import PageVisit, Visit

router = pages()


@router.get("/ui/memory")
def memory(visit: PageVisit) -> Response:
    grant = visit.grant("read")
    found = named(visit, grant)
    history = grant.brain.history(found.id, user_id=found.user_id).results
    around = grant.brain.surroundings(found.id, user_id=found.user_id)
    return visit.page(
        "memory.html",
        user=found.user_id,
        memory=found,
        versions=versions(history),
        around=around,
        done=visit.values.get("done", ""),
    )


@router.get("/ui/memory/forget")
def forget_form(visit: PageVisit) -> Response:
    grant = visit.grant("write")
    found = named(visit, grant)
    return visit.page("forget.html", user=found.user_id, memory=found)


@router.post("/ui/memory/forget")
def forget(visit: PageVisit) -> Response:
    grant = visit.posted("write")
    found = named(visit, grant)
    grant.brain.delete(found.id, user_id=found.user_id)
    return visit.to("timeline" if visit.can("read") else "memory/new", user=found.user_id, done="forgotten")


def named(visit: Visit, grant: Grant) -> Memory:
    """The memory the page is about. Raises NotFoundError, also where it is not the user's who is named."""
    return grant.brain.get(visit.values.get("id", ""), user_id=grant.owner(visit.values.get("user") or None))
