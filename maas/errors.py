"""The one error tree of maas: the brain raises it, REST serialises it, the SDK raises it again.

MaasError                        500 internal
├── InvalidInputError            422 invalid_input        a field is missing, malformed or out of range
├── MalformedRequestError        400 malformed_request    the body is no JSON, or was cut off
├── AuthenticationError          401 unauthenticated      no key, or a key that is wrong, revoked or expired
├── PermissionDeniedError        403 forbidden            the key lacks a scope, or is narrowed to another user
├── NotFoundError                404 not_found            not there, or another tenant's: indistinguishable
├── ConflictError                409 conflict
│   ├── IdempotencyConflictError 409 idempotency_conflict same Idempotency-Key, another body
│   └── FingerprintMismatchError 409 fingerprint_mismatch the stored vectors come from another embedder
├── SlowRequestError             408 request_timeout      the body came too slowly, or stopped coming
├── PayloadTooLargeError         413 payload_too_large
├── UnsupportedEncodingError     415 unsupported_encoding a compressed body
├── RateLimitedError             429 rate_limited         carries retry_after
├── UnavailableError             503 unavailable          carries retry_after
│   ├── OverloadedError          503 overloaded           the encoding queue is full
│   └── NotReadyError            503 not_ready            the model or the database is not ready
├── ConfigError                  500 config               a setting is unknown, malformed or unusable
│   └── EmbedderUnavailableError 500 embedder_unavailable the chosen backend cannot be loaded
├── StorageError                 500 storage              the database refused; nothing was written
└── TransportError               —   transport            SDK only: no answer from the server
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class FieldError:
    """One rejected input: a dotted path such as ``memories.3.text``, and what is wrong with it."""

    field: str
    message: str


class MaasError(Exception):
    """Base of every error maas raises on purpose."""

    code: ClassVar[str] = "internal"
    status: ClassVar[int] = 500
    title: ClassVar[str] = "Internal error"

    def __init__(
        self,
        detail: str,
        *,
        errors: Sequence[FieldError] = (),
        retry_after: float | None = None,
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.errors = tuple(errors)
        self.retry_after = retry_after


class InvalidInputError(MaasError):
    code, status, title = "invalid_input", 422, "Invalid input"


class MalformedRequestError(MaasError):
    code, status, title = "malformed_request", 400, "Malformed request"


class AuthenticationError(MaasError):
    code, status, title = "unauthenticated", 401, "Authentication required"


class PermissionDeniedError(MaasError):
    code, status, title = "forbidden", 403, "Not allowed for this key"
    user_id: str | None = None  # whom the key reached for, where that is known


class NotFoundError(MaasError):
    code, status, title = "not_found", 404, "Not found"


class ConflictError(MaasError):
    code, status, title = "conflict", 409, "Conflict"


class IdempotencyConflictError(ConflictError):
    code, title = "idempotency_conflict", "Idempotency-Key was used with another body"


class FingerprintMismatchError(ConflictError):
    code, title = "fingerprint_mismatch", "Stored vectors come from another embedder"


class PayloadTooLargeError(MaasError):
    code, status, title = "payload_too_large", 413, "Payload too large"


class SlowRequestError(MaasError):
    code, status, title = "request_timeout", 408, "The request came too slowly"


class UnsupportedEncodingError(MaasError):
    code, status, title = "unsupported_encoding", 415, "Compressed bodies are not taken"


class RateLimitedError(MaasError):
    code, status, title = "rate_limited", 429, "Too many requests"


class UnavailableError(MaasError):
    code, status, title = "unavailable", 503, "Temporarily unavailable"


class OverloadedError(UnavailableError):
    code, title = "overloaded", "Too much work is queued"


class NotReadyError(UnavailableError):
    code, title = "not_ready", "Not ready yet"


class ConfigError(MaasError):
    code, title = "config", "Unusable configuration"


class EmbedderUnavailableError(ConfigError):
    code, title = "embedder_unavailable", "The embedder cannot be loaded"


class StorageError(MaasError):
    code, title = "storage", "The database refused"


class TransportError(MaasError):
    """The SDK got no usable answer: refused, timed out, cut off, or not maas on the other side."""

    code, title = "transport", "No answer from the server"


def error_class(code: str) -> type[MaasError]:
    """The class whose ``code`` an answer carries; MaasError itself for a code of a newer server."""
    return _by_code(MaasError).get(code, MaasError)


def _by_code(base: type[MaasError]) -> dict[str, type[MaasError]]:
    found = {base.code: base}
    for child in base.__subclasses__():
        found.update(_by_code(child))
    return found
