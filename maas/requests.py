"""What maas accepts. The brain's arguments, a REST body and the SDK's body are validated by these same models."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    Strict,
    StrictBool,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from maas.errors import FieldError, InvalidInputError, MaasError, PayloadTooLargeError
from maas.fields import (
    MAX_ID_LENGTH,
    TOO_LARGE,
    DocumentText,
    Identifier,
    Importance,
    MemoryText,
    Metadata,
    Share,
    Timestamp,
    storable,
)
from maas.recall.diversity import BALANCE
from maas.records import Dedupe, KeyScope, Mode, Outcome, Role

MAX_BATCH = 1_000
MAX_TOP_K = 1_000
MAX_PAGE = 1_000
MAX_SHOWN_PATH = 200


def _misfit(field: str, message: str) -> PydanticCustomError:
    """A fault seen only with the whole request in view, reported under the field to change."""
    return PydanticCustomError("misfit", "{message}", {"message": message, "field": field})


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

    matching: Annotated[str, Field(max_length=MAX_ID_LENGTH), AfterValidator(storable)] = ""
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
    if all(fault["type"] == TOO_LARGE for fault in reported):
        return PayloadTooLargeError(detail, errors=faults)
    return InvalidInputError(detail, errors=faults)
