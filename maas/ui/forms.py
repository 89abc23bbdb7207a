"""Form bodies, and the values in them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from fastapi import Request
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import FormParser, MultiPartException, MultiPartParser

from maas.api.bodies import read_json
from maas.errors import FieldError, InvalidInputError, MaasError, MalformedRequestError

MAX_FIELDS = 60
Values = Mapping[str, str]


async def read_form(request: Request, max_bytes: int) -> FormData:
    """A form as browsers send it; an uploaded file stays in memory, like any other body.

    Raises:
        MalformedRequestError: another kind of body, or one that is cut off.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    parser: FormParser | MultiPartParser
    if kind == "application/x-www-form-urlencoded":
        parser = FormParser(request.headers, request.stream())
    elif kind == "multipart/form-data":
        parser = MultiPartParser(
            request.headers, request.stream(), max_files=1, max_fields=MAX_FIELDS, max_part_size=max_bytes
        )
        parser.spool_max_size = max_bytes
    else:
        raise MalformedRequestError(f"the body is {kind or 'of no kind'}; expected a form")
    try:
        return await parser.parse()
    except MultiPartException as error:
        raise MalformedRequestError(f"the form cannot be read: {error.message}") from None


def texts(form: FormData) -> dict[str, str]:
    """The fields that hold text, line ends as everywhere else; of a name that comes twice, the last."""
    return {
        name: value.replace("\r\n", "\n") for name, value in form.multi_items() if not isinstance(value, UploadFile)
    }


def filled(values: Values, names: Iterable[str]) -> dict[str, Any]:
    """Those of the fields that somebody filled in."""
    return {name: values[name] for name in names if values.get(name, "").strip()}


def with_json(fields: dict[str, Any], name: str) -> dict[str, Any]:
    """The fields, ``name`` read as JSON. Raises InvalidInputError."""
    return fields | {name: read_json(fields[name], name)} if name in fields else fields


def with_number(fields: dict[str, Any], name: str) -> dict[str, Any]:
    """The fields, ``name`` read as a number. Raises InvalidInputError."""
    if name not in fields:
        return fields
    try:
        return fields | {name: float(fields[name])}
    except ValueError:
        message = f"is {fields[name]!r}; expected a number"
        raise InvalidInputError(f"{name}: {message}", errors=[FieldError(name, message)]) from None


def faults(error: MaasError) -> dict[str, str]:
    """What is wrong, by the field to change; what belongs to no single field is under an empty name."""
    return {fault.field.partition(".")[0]: fault.message for fault in error.errors} or {"": error.detail}
