"""Everything of one user at once: export, import, erasure."""

from __future__ import annotations

import itertools
import json
import tempfile
from collections.abc import Iterator
from typing import IO, Annotated, Any

from fastapi import APIRouter, Depends, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response, StreamingResponse

from maas.api.answers import answer
from maas.api.bodies import json_lines
from maas.api.dependencies import Call, Grant, PlainCall, given
from maas.api.openapi import operation
from maas.fields import Identifier
from maas.records import ErasureReceipt, ImportReport, UserPage
from maas.requests import Request as RequestModel
from maas.requests import UserListRequest, parse

JSON_LINES = "application/x-ndjson"
CHUNK_BYTES = 65_536
USER_ID = {"user_id": "Id of the user, percent-encoded."}

router = APIRouter(tags=["users"])


class UserPath(RequestModel):
    user_id: Identifier


class ImportQuery(RequestModel):
    """``user_id``: give every line to this user, whoever it was exported from."""

    user_id: Identifier | None = None


@router.get("/v1/users", response_model=UserPage, openapi_extra=operation(query=UserListRequest))
def list_users(call: PlainCall) -> Response:
    """The users of this tenant by id, with how much is kept of each. For keys that are not narrowed to one."""
    grant = call.grant("read")
    grant.check_whole_tenant()
    return answer(grant.brain.list_users(**given(call.query(UserListRequest))))


@router.get(
    "/v1/users/{user_id:path}/export",
    response_class=StreamingResponse,
    responses={200: {"content": {JSON_LINES: {"schema": {"type": "string"}}}, "description": "One JSON object a line"}},
    openapi_extra=operation(path=USER_ID),
)
def export_user(call: PlainCall) -> Response:
    """Everything stored of a user as JSON lines: a header, then memories with versions and vectors."""
    grant = call.grant("read")
    user_id = grant.check_user(parse(UserPath, {"user_id": call.path("user_id")}).user_id)
    lines = iter(grant.brain.export_user(user_id))
    first = list(itertools.islice(lines, 1))  # an error known at the start is still an error answer
    return StreamingResponse(encoded_lines(itertools.chain(first, lines)), media_type=JSON_LINES)


@router.delete("/v1/users/{user_id:path}", response_model=ErasureReceipt, openapi_extra=operation(path=USER_ID))
def erase_user(call: PlainCall) -> Response:
    """Erase a user from every table and index; the receipt counts what was there and what is left."""
    grant = call.grant("write")
    user_id = grant.check_user(parse(UserPath, {"user_id": call.path("user_id")}).user_id)
    return answer(grant.brain.erase_user(user_id))


class Upload:
    """A body on its way to disk, because an export can be larger than memory should hold."""

    def __init__(self, call: Call, grant: Grant, file: IO[bytes]) -> None:
        self.call = call
        self.grant = grant
        self.file = file


async def _upload(request: Request) -> Any:
    """Check the key before taking a byte, then spool the body beside the database, whose disk is trusted with it."""
    call = Call(request)
    grant = await run_in_threadpool(call.grant, "write")
    with tempfile.TemporaryFile(dir=call.settings.data_dir) as file:
        async for chunk in request.stream():
            await run_in_threadpool(file.write, chunk)
        file.seek(0)
        yield Upload(call, grant, file)


@router.post(
    "/v1/import",
    response_model=ImportReport,
    openapi_extra={
        **operation(query=ImportQuery, idempotent=True),
        "requestBody": {"required": True, "content": {JSON_LINES: {"schema": {"type": "string"}}}},
    },
)
def import_memories(upload: Annotated[Upload, Depends(_upload)]) -> Response:
    """Read an export back, all or nothing; memories already there by id are skipped."""
    call = upload.call
    user_id = upload.grant.owner(call.query(ImportQuery).user_id)
    lines = json_lines(upload.file, call.settings.server.max_body_bytes)
    report = upload.grant.brain.import_memories(lines, user_id=user_id, idempotency_key=call.idempotency_key)
    return answer(report)


# What str.splitlines takes for the end of a line, and with it many a reader of lines; JSON escapes the rest itself.
_SEPARATORS = str.maketrans({character: f"\\u{ord(character):04x}" for character in "\x85\u2028\u2029"})


def encoded_lines(lines: Iterator[dict[str, Any]]) -> Iterator[bytes]:
    """Lines as JSON, many in a chunk: each chunk costs a turn in the thread pool."""
    chunk = bytearray()
    for line in lines:
        chunk += json.dumps(line, ensure_ascii=False, separators=(",", ":")).translate(_SEPARATORS).encode() + b"\n"
        if len(chunk) > CHUNK_BYTES:
            yield bytes(chunk)
            chunk.clear()
    yield bytes(chunk)
