"""All of a user's memories as a file, and files taken in: our own, and the exports of other services."""

from __future__ import annotations

import itertools
import re
import shutil
import tempfile
from collections import Counter
from pathlib import Path

from starlette.datastructures import UploadFile
from starlette.responses import Response, StreamingResponse

from maas.api.bodies import json_lines
from maas.api.dependencies import Grant
from maas.api.users import JSON_LINES, encoded_lines
from maas.errors import InvalidInputError, MaasError
from maas.imports.sources import READERS, batches, read
from maas.ui.routing import pages
from maas.ui.visit import PageVisit, Visit

router = pages()
OURS = "maas"
_REFUSED = (400, 409, 413, 422)


@router.get("/ui/transfer")
def transfer(visit: PageVisit) -> Response:
    grant = visit.grant("read")
    return _page(visit, visit.user(grant))


@router.get("/ui/export")
def export(visit: PageVisit) -> Response:
    grant = visit.grant("read")
    user = visit.user(grant)
    lines = iter(grant.brain.export_user(user))
    first = list(itertools.islice(lines, 1))  # an error known at the start is still a page
    name = re.sub(r"[^A-Za-z0-9._-]+", "_", user).strip("._")[:80] or "user"
    headers = {"Content-Disposition": f'attachment; filename="maas-{name}.jsonl"'}
    return StreamingResponse(encoded_lines(itertools.chain(first, lines)), media_type=JSON_LINES, headers=headers)


@router.post("/ui/import")
def take_in(visit: PageVisit) -> Response:
    grant = visit.posted("write")
    user, source = visit.user(grant), visit.values.get("source", OURS)
    upload = None if visit.uploads is None else visit.uploads.get("file")
    try:
        if not isinstance(upload, UploadFile) or not upload.filename:
            raise InvalidInputError("no file was chosen")
        happened = _ours(visit, grant, user, upload) if source == OURS else _foreign(visit, grant, user, source, upload)
    except MaasError as error:
        if error.status not in _REFUSED:
            raise
        return _page(visit, user, fault=error.detail, status=error.status)
    return _page(visit, user, happened=happened)


def _ours(visit: Visit, grant: Grant, user: str, upload: UploadFile) -> dict[str, int]:
    """All or nothing."""
    lines = json_lines(upload.file, visit.settings.server.max_body_bytes)
    done = grant.brain.import_memories(lines, user_id=user)
    return {"imported": done.imported, "already there": done.skipped, "read again by this model": done.reembedded}


def _foreign(visit: Visit, grant: Grant, user: str, source: str, upload: UploadFile) -> dict[str, int]:
    if source not in READERS:
        raise InvalidInputError(f"no format is called {source!r}; known are {', '.join(READERS)}")
    events: Counter[str] = Counter()
    with tempfile.TemporaryDirectory(dir=visit.settings.data_dir) as folder:
        # Markdown sections are known by their file's name, so it keeps its own.
        name = re.sub(r"[^\w.-]+", "_", Path(upload.filename or "").name).lstrip(".")[-100:]
        path = Path(folder) / (name or "upload")
        with path.open("wb") as file:
            shutil.copyfileobj(upload.file, file)
        try:
            for batch in batches(read(source, path, user)):
                answer = grant.brain.store_batch(batch)
                visit.metrics.count_stored(answer)
                events.update(result.event for result in answer.results)
        except InvalidInputError as error:
            detail = error.detail.replace(str(path), "the file")
            raise InvalidInputError(f"{detail} (stored before that: {events.total():,})") from None
    return {"imported": events["ADD"], "changed": events["UPDATE"], "already there": events["NONE"]}


def _page(
    visit: Visit, user: str, *, fault: str = "", happened: dict[str, int] | None = None, status: int = 200
) -> Response:
    limit = visit.settings.server.max_body_bytes // 1_000_000
    return visit.page(
        "transfer.html",
        status=status,
        user=user,
        ours=OURS,
        sources=(OURS, *READERS),
        megabytes=limit,
        fault=fault,
        happened=happened,
    )
