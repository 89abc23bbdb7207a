"""The pages, a file for each thing they are about."""

from __future__ import annotations

from maas.ui.pages import (
    assets,
    audit,
    documents,
    erasure,
    keys,
    landscape,
    memory,
    model,
    reindexing,
    search,
    sign_in,
    timeline,
    transfer,
    users,
    writing,
)
from maas.ui.routing import pages

router = pages()
for area in (
    *(sign_in, users, search, timeline, memory, writing, landscape, documents, transfer, erasure),
    *(keys, reindexing, audit, model),
    assets,  # last: it answers for what nobody else does
):
    router.include_router(area.router)
