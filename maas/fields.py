"""The fields that requests are made of: what a text, an id, a time and metadata may be."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, Strict, TypeAdapter, ValidationError, WithJsonSchema
from pydantic_core import PydanticCustomError

MAX_TEXT_BYTES = 1_000_000
MAX_DOCUMENT_BYTES = 50_000_000
MAX_ID_LENGTH = 256
MAX_METADATA_BYTES = 65_536
MAX_DEPTH = 32

TOO_LARGE = "payload_too_large"
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def _too_large(message: str) -> PydanticCustomError:
    return PydanticCustomError(TOO_LARGE, "{message}", {"message": message})


def storable(text: str) -> str:
    """Text that SQLite, JSON and a tokenizer can all carry."""
    if "\x00" in text:
        raise ValueError("holds a NUL character; remove it")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValueError(f"holds a lone surrogate at position {error.start}; send valid Unicode") from None
    return text


def _memory_text(text: str) -> str:
    return _bounded_text(text, MAX_TEXT_BYTES, "store it as a document, or split it into several memories")


def _document_text(text: str) -> str:
    return _bounded_text(text, MAX_DOCUMENT_BYTES, "split it into several documents")


def _bounded_text(text: str, limit: int, remedy: str) -> str:
    if not text.strip():
        raise ValueError("is empty; give at least one visible character")
    size = len(storable(text).encode("utf-8"))
    if size > limit:
        raise _too_large(f"is {size:,} bytes, the limit is {limit:,}; {remedy}")
    return text


def _identifier(value: str) -> str:
    if not value.strip():
        raise ValueError("is empty")
    if len(value) > MAX_ID_LENGTH:
        raise ValueError(f"is {len(value)} characters long, the limit is {MAX_ID_LENGTH}")
    if _CONTROL.search(value):
        raise ValueError("holds a control character")
    return storable(value)


def _utc(value: datetime) -> datetime:
    """Times without a zone are taken as UTC."""
    try:
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
    except OverflowError:
        raise ValueError("is outside the years 1 to 9999 in UTC") from None


def _not_a_number(value: Any) -> Any:
    """Pydantic reads 1700000000 as seconds since 1970; a caller who means milliseconds would be off by centuries."""
    digits = isinstance(value, str) and re.fullmatch(r"\s*[-+]?[\d_.]+\s*", value)
    if digits or isinstance(value, (int, float)):
        raise ValueError("is a number; give an ISO 8601 string such as 2024-05-01T12:00:00Z")
    return value


def _plain_json(value: Any, depth: int = 0) -> int:
    """Size in bytes of a JSON value; refuses what JSON cannot say."""
    if depth > MAX_DEPTH:
        raise ValueError(f"is nested deeper than {MAX_DEPTH} levels")
    if value is None or isinstance(value, bool):
        return 5
    if isinstance(value, int):
        if abs(value) >= 2**63:
            raise ValueError(f"holds the integer {str(value)[:24]}, outside 64 bits; send it as a string")
        return 20
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"holds {value}, which JSON cannot carry")
        return 24
    if isinstance(value, str):
        return len(storable(value).encode("utf-8")) + 2
    if isinstance(value, Mapping):
        if bad := next((k for k in value if not isinstance(k, str)), None):
            raise ValueError(f"has the key {bad!r}; keys are strings")
        return sum(_plain_json(k) + _plain_json(v, depth + 1) for k, v in value.items())
    if isinstance(value, (list, tuple)):
        return sum(_plain_json(v, depth + 1) for v in value)
    raise ValueError(f"holds a {type(value).__name__}, which JSON cannot carry")


def _metadata(value: dict[str, Any]) -> dict[str, Any]:
    size = _plain_json(value)
    if size > MAX_METADATA_BYTES:
        raise _too_large(f"is about {size:,} bytes, the limit is {MAX_METADATA_BYTES:,}")
    return value


# What of the validators JSON Schema can say, so that generated clients and tests know it too.
_VISIBLE = WithJsonSchema({"type": "string", "minLength": 1, "pattern": r"\S"})
_NO_CONTROLS = r"[^\u0000-\u001f\u007f]*"
_OPAQUE = WithJsonSchema(
    {"type": "string", "minLength": 1, "maxLength": MAX_ID_LENGTH, "pattern": rf"^{_NO_CONTROLS}\S{_NO_CONTROLS}$"}
)

MemoryText = Annotated[str, AfterValidator(_memory_text), _VISIBLE]
DocumentText = Annotated[str, AfterValidator(_document_text), _VISIBLE]
Identifier = Annotated[str, AfterValidator(_identifier), _OPAQUE]
Timestamp = Annotated[datetime, BeforeValidator(_not_a_number), AfterValidator(_utc)]
Metadata = Annotated[dict[str, Any], AfterValidator(_metadata)]
Share = Annotated[float, Strict(), Field(ge=0, le=1, allow_inf_nan=False)]
Importance = Share

_IDENTIFIER: TypeAdapter[str] = TypeAdapter(Identifier)


def is_identifier(value: object) -> bool:
    """Whether ``value`` may be an id at all."""
    try:
        _IDENTIFIER.validate_python(value)
    except ValidationError:
        return False
    return True
