"""Records as responses, serialised in the worker thread that made them."""

from __future__ import annotations

from pydantic import BaseModel
from starlette.responses import Response


def answer(record: BaseModel, status: int = 200) -> Response:
    return Response(record.model_dump_json(), status, media_type="application/json")
