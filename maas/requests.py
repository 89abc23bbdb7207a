"""What maas accepts. The brain's arguments, a REST body and the SDK's body are validated by these same models."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    Strict,
    StrictBool,
    TypeAdapter,
    ValidationError,
    WithJsonSchema,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from maas.errors import FieldError, InvalidInputError, MaasError, PayloadTooLargeError
from maas.recall.diversity import BALANCE
from maas.records import Dedupe, KeyScope, Mode, Outcome, Role

MAX_TEXT_BYTES = 1_000_000
MAX_DOCUMENT_BYTES = 50_000_000
MAX_ID_LENGTH = 256
MAX_BATCH = 1_000
MAX_TOP_K = 1_000
MAX_PAGE = 1_000
MAX_METADATA_BYTES = 65_536
MAX_DEPTH = 32
MAX_SHOWN_PATH = 200

_TOO_LARGE = "payload_too_large"


def _too_large(message: str) -> PydanticCustomError:
    return PydanticCustomError(_TOO_LARGE, "{message}", {"message": message})


def _misfit(field: str, message: str) -> PydanticCustomError:
    """A fault seen only with the whole request in view, reported under the field to change."""
    return PydanticCustomError("misfit", "{message}", {"message": message, "field": field})


def _storable(text: str) -> str:
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
    size = len(_storable(text).encode("utf-8"))
    if size > limit:
        raise _too_large(f"is {size:,} bytes, the limit is {limit:,}; {remedy}")
    return text


def _identifier(value: str) -> str:
    if not value.strip():
        raise ValueError("is empty")
    if len(value) > MAX_ID_LENGTH:
        raise ValueError(f"is {len(value)} characters long, the limit is {MAX_ID_LENGTH}")
    if any(ord(c) < 32 or ord(c) == 127 for c in value):
        raise ValueError("holds a control character")
    return _storable(value)


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
        return len(_storable(value).encode("utf-8")) + 2
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


class Request(BaseModel):
    """Base of all requests: unknown fields are refused, and so are JSON values of another type.

    Times are the exception to strictness: they are read from ISO 8601 strings.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)


class Message(Request):
    """One turn of a conversation, in the chat shape of the field."""

    role: Role
    content: MemoryText
    name: Identifier | None = None
    created_at: Timestamp | None = None


class StoreRequest(Request):
    """One memory (``text``) or a run of turns (``messages``), and how to keep it."""

    model_config = ConfigDict(json_schema_extra={"anyOf": [{"required": ["text"]}, {"required": ["messages"]}]})

    user_id: Identifier
    text: MemoryText | None = None
    messages: Annotated[list[Message], Field(min_length=1, max_length=MAX_BATCH)] | None = None
    metadata: Metadata = Field(default_factory=dict)
    agent_id: Identifier | None = None
    session_id: Identifier | None = None
    created_at: Timestamp | None = None
    expires_at: Timestamp | None = None
    importance: Importance | None = None
    key: Identifier | None = None
    supersedes: Identifier | None = None
    dedupe: Dedupe = "exact"

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.text is None) == (self.messages is None):
            raise _misfit("text", "give either text or messages, and not both")
        if self.messages is not None and len(self.messages) > 1:
            for field in ("key", "supersedes"):
                if getattr(self, field) is not None:
                    raise _misfit(field, f"names one memory, but {len(self.messages)} messages were given")
        return self


class BatchRequest(Request):
    memories: Annotated[list[StoreRequest], Field(min_length=1, max_length=MAX_BATCH)]


class SearchRequest(Request):
    """What is looked for, and among which memories."""

    user_id: Identifier
    query: MemoryText
    top_k: Annotated[int, Strict(), Field(ge=1, le=MAX_TOP_K)] = 10
    mode: Mode = "hybrid"
    filters: dict[str, Any] | None = None
    agent_id: Identifier | None = None
    session_id: Identifier | None = None
    since: Timestamp | None = None
    until: Timestamp | None = None
    as_of: Timestamp | None = Field(None, description="Recall what was known at this time, as it was known.")
    now: Timestamp | None = Field(None, description="When the question is asked; for its relative dates, and for ages.")
    min_score: Share = 0.0
    include_superseded: StrictBool = False

    @model_validator(mode="before")
    @classmethod
    def _limit_is_top_k(cls, data: Any) -> Any:
        if isinstance(data, Mapping) and "limit" in data:
            if "top_k" in data:
                raise _misfit("limit", "is an alias of top_k; give one of them")
            data = {**data, "top_k": data["limit"]}
            del data["limit"]
        return data


class RecallRequest(SearchRequest):
    explain: StrictBool = False
    rerank: StrictBool = Field(
        False, description="Compare the 50 best word by word as well; needs an encoder that reads in context (LAM)."
    )
    mmr: StrictBool | Share | None = Field(
        None, description="Choose unlike memories: 1 goes by the score alone, lower spreads more; true is 0.7."
    )

    @property
    def balance(self) -> float | None:
        """What ``mmr`` stands for; None without it."""
        if isinstance(self.mmr, bool):
            return BALANCE if self.mmr else None
        return self.mmr


class ContextRequest(SearchRequest):
    """A search, and the room its answer may take: in estimated tokens, in characters, or both."""

    model_config = ConfigDict(
        json_schema_extra={"anyOf": [{"required": ["max_tokens"]}, {"required": ["max_characters"]}]}
    )

    top_k: Annotated[int, Strict(), Field(ge=1, le=MAX_TOP_K)] = 30
    max_tokens: Annotated[int, Strict(), Field(ge=1)] | None = None
    max_characters: Annotated[int, Strict(), Field(ge=1)] | None = None

    @model_validator(mode="after")
    def _bounded(self) -> Self:
        if self.max_tokens is None and self.max_characters is None:
            raise _misfit("max_tokens", "is missing; give max_tokens, max_characters, or both")
        return self


class ListRequest(Request):
    user_id: Identifier
    limit: Annotated[int, Field(ge=1, le=MAX_PAGE)] = 50
    cursor: str | None = None
    filters: dict[str, Any] | None = None
    agent_id: Identifier | None = None
    session_id: Identifier | None = None
    since: Timestamp | None = None
    until: Timestamp | None = None
    include_superseded: bool = False


class UpdateRequest(Request):
    """Fields that are set change; ``expires_at: null`` and ``importance: null`` clear; the rest stays."""

    model_config = ConfigDict(json_schema_extra={"minProperties": 1})

    text: MemoryText | None = None
    metadata: Metadata | None = None
    importance: Importance | None = None
    expires_at: Timestamp | None = None

    @model_validator(mode="after")
    def _something(self) -> Self:
        if not self.model_fields_set:
            raise _misfit("text", "nothing to change; give text, metadata, importance or expires_at")
        for field in ("text", "metadata"):
            if field in self.model_fields_set and getattr(self, field) is None:
                raise _misfit(field, "cannot be null")
        return self


class DocumentRequest(Request):
    """A long text, and what its passages carry."""

    user_id: Identifier
    text: DocumentText
    title: Annotated[Identifier, Field(max_length=MAX_ID_LENGTH)] | None = None
    metadata: Metadata = Field(default_factory=dict)
    agent_id: Identifier | None = None
    created_at: Timestamp | None = None
    expires_at: Timestamp | None = None
    importance: Importance | None = None


class DocumentListRequest(Request):
    user_id: Identifier
    limit: Annotated[int, Field(ge=1, le=MAX_PAGE)] = 50
    cursor: Identifier | None = None


class EncodeRequest(Request):
    """``in_context``: the texts follow each other, and each vector has read those around it, in passes of at most
    ``window`` tokens; without a window, all in one."""

    texts: Annotated[list[MemoryText], Field(max_length=MAX_BATCH)]
    in_context: StrictBool = False
    window: Annotated[int, Strict(), Field(ge=3)] | None = None

    @model_validator(mode="after")
    def _window_of_a_context(self) -> Self:
        if self.window is not None and not self.in_context:
            raise _misfit("window", "means nothing without in_context: true; set that, or leave window out")
        return self


class KeyRequest(Request):
    name: Annotated[Identifier, Field(max_length=100)] = "unnamed"
    scopes: Annotated[list[KeyScope], Field(min_length=1)] = ["read", "write"]
    user_id: Identifier | None = None
    expires_at: Timestamp | None = None


class RotateRequest(Request):
    """``grace_seconds``: how long the old key goes on working beside the new one."""

    grace_seconds: Annotated[int, Strict(), Field(ge=0, le=30 * 86_400)] = 0


class UserListRequest(Request):
    """``matching``: only ids that contain it, in any case; ``cursor``: the last id seen."""

    matching: Annotated[str, Field(max_length=MAX_ID_LENGTH), AfterValidator(_storable)] = ""
    limit: Annotated[int, Field(ge=1, le=MAX_PAGE)] = 50
    cursor: Identifier | None = None


class AuditRequest(Request):
    """``cursor``: the number of the last entry seen."""

    user_id: Identifier | None = None
    actor: Identifier | None = None
    action: Identifier | None = None
    outcome: Outcome | None = None
    since: Timestamp | None = None
    until: Timestamp | None = None
    limit: Annotated[int, Field(ge=1, le=MAX_PAGE)] = 50
    cursor: Annotated[int, Field(ge=1, lt=2**63)] | None = None


class EmbeddingsRequest(BaseModel):
    """OpenAI's ``POST /v1/embeddings``: its own unknown fields (``user``, …) are accepted and ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    input: Annotated[list[MemoryText], Field(min_length=1, max_length=MAX_BATCH)]
    model: str | None = None
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: Annotated[int, Strict(), Field(ge=1)] | None = None

    @field_validator("input", mode="before")
    @classmethod
    def _texts(cls, value: Any) -> Any:
        if isinstance(value, list) and value and isinstance(value[0], (int, list)):
            raise ValueError("holds token numbers; send the text itself, since each model has its own tokenizer")
        return [value] if isinstance(value, str) else value


R = TypeVar("R", bound=BaseModel)


_IDENTIFIER: TypeAdapter[str] = TypeAdapter(Identifier)


def is_identifier(value: object) -> bool:
    """Whether ``value`` may be an id at all."""
    try:
        _IDENTIFIER.validate_python(value)
    except ValidationError:
        return False
    return True


def parse(model: type[R], data: Mapping[str, Any]) -> R:
    """Validate ``data``.

    Raises:
        InvalidInputError: one FieldError for each fault.
        PayloadTooLargeError: the faults are texts or metadata over their limits, and nothing else.
    """
    try:
        return model.model_validate(dict(data))
    except ValidationError as error:
        raise invalid_input(error) from None


def invalid_input(error: ValidationError, prefix: tuple[str, ...] = ()) -> MaasError:
    """Turn pydantic's report into ours: dotted paths, messages without the library's preamble."""
    reported = error.errors(include_url=False, include_input=False)
    faults = []
    for fault in reported:
        whole = fault.get("ctx", {}).get("field")
        parts = [*prefix, *(str(part) for part in fault["loc"]), *([whole] if whole else [])]
        path = ".".join(parts) or "request"
        message = "is not a known field" if fault["type"] == "extra_forbidden" else fault["msg"]
        faults.append(FieldError(path[:MAX_SHOWN_PATH], message.removeprefix("Value error, ")))
    detail = "; ".join(f"{fault.field}: {fault.message}" for fault in faults[:3])
    if len(faults) > 3:
        detail += f"; and {len(faults) - 3} more"
    if all(fault["type"] == _TOO_LARGE for fault in reported):
        return PayloadTooLargeError(detail, errors=faults)
    return InvalidInputError(detail, errors=faults)
