"""Where a list goes on: the last row seen, tied to the question it belongs to."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from datetime import datetime
from typing import Any

from maas.errors import FieldError, InvalidInputError
from maas.requests import ListRequest


def encode_cursor(tenant: str, request: ListRequest, created_at: datetime, seq: int) -> str:
    content = [_question(tenant, request), created_at.isoformat(), seq]
    return base64.urlsafe_b64encode(json.dumps(content).encode()).decode().rstrip("=")


def decode_cursor(tenant: str, request: ListRequest) -> tuple[datetime, int] | None:
    """The (created_at, row) to go on after; None on the first page.

    Raises:
        InvalidInputError: not a cursor of ours, or one of another question.
    """
    if request.cursor is None:
        return None
    try:
        content: Any = json.loads(base64.urlsafe_b64decode(request.cursor.encode("ascii") + b"=" * 4))
        question, at, seq = content
        after = datetime.fromisoformat(at), int(seq)
        if after[0].tzinfo is None or not 0 <= after[1] < 2**63:
            raise ValueError(at)
    except (ValueError, TypeError, OverflowError, binascii.Error, RecursionError):
        raise _fault("is not one that this service gave out; pass next_cursor of the page before") from None
    if question != _question(tenant, request):
        raise _fault("belongs to a list with other parameters; keep user_id and filters as they were")
    return after


def _question(tenant: str, request: ListRequest) -> str:
    asked = request.model_dump(mode="json", exclude={"cursor", "limit"})
    canonical = json.dumps([tenant, asked], sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def _fault(message: str) -> InvalidInputError:
    return InvalidInputError(f"cursor {message}", errors=[FieldError("cursor", message)])
