"""What came back: a result, the error the server raised, or no answer from maas at all."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TypeVar

import httpx2
from pydantic import BaseModel, ConfigDict, ValidationError

from maas.errors import FieldError, MaasError, TransportError, error_class

T = TypeVar("T")


class _Fault(BaseModel):
    field: str
    message: str


class _Problem(BaseModel):
    model_config = ConfigDict(extra="ignore")

    status: int
    detail: str
    code: str
    errors: list[_Fault] = []


def result(response: httpx2.Response, read: Callable[[bytes], T], now: Callable[[], datetime]) -> T:
    """Read the answer.

    Raises:
        MaasError: the class the server raised, found by its code.
        TransportError: the answer is not from maas.
    """
    if not response.is_success:
        raise error_of(response, now)
    try:
        return read(response.content)
    except ValueError as error:
        raise TransportError(f"{_where(response)} answered what is not maas: {str(error).splitlines()[0]}") from None


def error_of(response: httpx2.Response, now: Callable[[], datetime]) -> MaasError:
    """The error an answer stands for."""
    try:
        problem = _Problem.model_validate_json(response.content)
    except ValidationError:
        kind = response.headers.get("content-type", "no content type")
        return TransportError(
            f"{_where(response)} answered {response.status_code} with {kind}, expected application/problem+json; "
            "is it maas, and is no proxy in between?",
            retry_after=retry_after(response, now),
        )
    return error_class(problem.code)(
        problem.detail,
        errors=[FieldError(fault.field, fault.message) for fault in problem.errors],
        retry_after=retry_after(response, now),
    )


def retry_after(response: httpx2.Response, now: Callable[[], datetime]) -> float | None:
    """Seconds asked for by Retry-After, given as a number or as a date."""
    given = response.headers.get("retry-after")
    if given is None:
        return None
    try:
        return max(0.0, float(given))
    except ValueError:
        pass
    try:
        until = parsedate_to_datetime(given)
    except ValueError:
        return None
    until = until if until.tzinfo is not None else until.replace(tzinfo=UTC)
    return max(0.0, (until - now()).total_seconds())


def no_answer(error: httpx2.HTTPError, base_url: str) -> TransportError:
    return TransportError(f"no answer from {base_url}: {str(error) or type(error).__name__}")


def _where(response: httpx2.Response) -> str:
    return f"{response.request.method} {response.request.url}"
