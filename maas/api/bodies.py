"""Request bodies: strict JSON in, validated requests out."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import IO, Any, TypeVar

from pydantic import BaseModel
from pydantic_core import from_json

from maas.errors import FieldError, InvalidInputError, MaasError, MalformedRequestError, PayloadTooLargeError
from maas.requests import parse

M = TypeVar("M", bound=BaseModel)

_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*"|[{}\[\]]', re.DOTALL)


def parse_body(raw: bytes, model: type[M]) -> M:
    """Read ``raw`` as one JSON object and validate it.

    Raises:
        MalformedRequestError: no JSON, cut off, not UTF-8, nested too deep, or NaN, Infinity and lone surrogates.
        InvalidInputError, PayloadTooLargeError: JSON that ``model`` refuses.
    """
    if not raw.strip():
        raise MalformedRequestError(f"the body is empty; expected a JSON object for {model.__name__}")
    try:
        data = from_json(raw, allow_inf_nan=False)
    except ValueError as fault:
        raise _malformed(raw, model, fault) from None
    return parse(model, _object(data))


def read_json(text: str, field: str) -> Any:
    """A JSON value given in a query parameter."""
    try:
        return from_json(text, allow_inf_nan=False)
    except ValueError as fault:
        message = f"is no valid JSON: {fault}"
        raise InvalidInputError(f"{field}: {message}", errors=[FieldError(field, message)]) from None


def json_lines(stream: IO[bytes], max_line_bytes: int) -> Iterator[dict[str, Any]]:
    """The objects of a JSONL stream, one a line; blank lines are skipped.

    Raises:
        MalformedRequestError: a line that is no JSON object, named ``lines.<number>`` and counted from 0.
        PayloadTooLargeError: a line longer than ``max_line_bytes``.
    """
    for number, line in enumerate(iter(lambda: stream.readline(max_line_bytes + 1), b"")):
        where = f"lines.{number}"
        if len(line) > max_line_bytes:
            message = f"is longer than {max_line_bytes:,} bytes"
            raise PayloadTooLargeError(f"{where} {message}", errors=[FieldError(where, message)])
        if not line.strip():
            continue
        try:
            value = from_json(line, allow_inf_nan=False)
        except ValueError as fault:
            message = f"is no valid JSON: {fault}"
            raise MalformedRequestError(f"{where} {message}", errors=[FieldError(where, message)]) from None
        if not isinstance(value, dict):
            message = f"is a {type(value).__name__}; expected a JSON object"
            raise MalformedRequestError(f"{where} {message}", errors=[FieldError(where, message)])
        yield value


def _object(data: Any) -> dict[str, Any]:
    if not isinstance(data, dict):
        message = f"is a {type(data).__name__}; expected a JSON object"
        raise InvalidInputError(f"the body {message}", errors=[FieldError("request", message)])
    return data


def _malformed(raw: bytes, model: type[BaseModel], fault: ValueError) -> MaasError:
    """Explain why ``raw`` was refused, naming the field where one can be found.

    Python's reader takes NaN and lone surrogates, so that validation can say which field holds them.
    """
    try:
        parse(model, _object(json.loads(raw)))
    except MaasError as error:
        return error
    except (ValueError, RecursionError):
        pass
    if "recursion limit" not in str(fault):
        return MalformedRequestError(f"the body is no valid JSON: {fault}")
    field = _deepest_field(raw)
    message = "is nested too deep"
    return MalformedRequestError(f"{field} {message}: {fault}", errors=[FieldError(field, message)])


def _deepest_field(raw: bytes, limit: int = 150) -> str:
    """The top-level key whose value is nested deeper than ``limit``, found without recursion."""
    depth, key = 0, b"request"
    for token in _TOKEN.finditer(raw):
        text = token.group()
        if text in (b"{", b"["):
            depth += 1
        elif text in (b"}", b"]"):
            depth -= 1
        elif depth == 1:
            key = text[1:-1]
        if depth > limit:
            break
    return key.decode("utf-8", "replace")[:100]
