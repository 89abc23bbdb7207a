"""From a request to the memories its key may touch: there is no way to the brain without naming a scope."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

from fastapi import Depends, Request
from pydantic import BaseModel

from maas.api.bodies import parse_body, read_json
from maas.api.metrics import Metrics
from maas.api.network import authority_is_loopback, origin_is_loopback
from maas.api.rate_limits import RateLimits
from maas.brain import PersonalMemoryBrain
from maas.errors import AuthenticationError, FieldError, InvalidInputError, PermissionDeniedError
from maas.fields import MAX_ID_LENGTH
from maas.records import ApiKey, KeyScope
from maas.requests import parse
from maas.settings import Settings

M = TypeVar("M", bound=BaseModel)

OPEN_ACTOR = "local"


class Grant:
    """The brain as one key may use it.

    Attributes:
        brain: acts as the key's tenant and signs as the key.
        user_id: the only user the key may reach; None: every user of the tenant.
    """

    def __init__(self, brain: PersonalMemoryBrain, user_id: str | None = None) -> None:
        self.brain = brain
        self.user_id = user_id

    def check_user(self, user_id: str) -> str:
        """``user_id`` itself, or PermissionDeniedError if the key is narrowed to somebody else."""
        if self.user_id is not None and user_id != self.user_id:
            denied = PermissionDeniedError(f"this key is narrowed to the user {self.user_id!r}; use a key of that user")
            denied.user_id = user_id
            raise denied
        return user_id

    def owner(self, user_id: str | None) -> str | None:
        """Whose memory an id must be: the one asked for, else the one the key is narrowed to, else anyone's."""
        return self.user_id if user_id is None else self.check_user(user_id)

    def check_whole_tenant(self) -> None:
        if self.user_id is not None:
            raise PermissionDeniedError(
                f"this key is narrowed to the user {self.user_id!r}; this needs one that is not"
            )


class Call:
    """One HTTP request, its body read, its key not yet looked up."""

    def __init__(self, request: Request, body: bytes = b"") -> None:
        self.request = request
        self._body = body

    @property
    def metrics(self) -> Metrics:
        metrics: Metrics = self.request.app.state.metrics
        return metrics

    @property
    def settings(self) -> Settings:
        settings: Settings = self.request.app.state.settings
        return settings

    def grant(self, scope: KeyScope) -> Grant:
        """Look up the key. Reads the database, so call it from a worker thread.

        Raises:
            AuthenticationError: no key, or one that is wrong, revoked or expired.
            RateLimitedError: a key that has made as many requests as it may.
            PermissionDeniedError: a key without ``scope``; or, with authentication off, a request from a web page.
        """
        brain: PersonalMemoryBrain = self.request.app.state.brain
        if not self.settings.auth.enabled:
            self._refuse_strangers()
            return Grant(brain.acting_as("default", OPEN_ACTOR))
        key = self._authenticated(brain)
        self.request.state.actor = key.id
        self.request.state.acting = brain.acting_as(key.tenant, key.id)
        self._count_once(key.id)
        if scope not in key.scopes:
            raise PermissionDeniedError(f"this needs the scope {scope!r}; the key has {', '.join(key.scopes)}")
        return Grant(self.request.state.acting, key.user_id)

    def parse(self, model: type[M]) -> M:
        return parse_body(self._body, model)

    def query(self, model: type[M], *, json_fields: tuple[str, ...] = ()) -> M:
        """Validate the query string; the parameters in ``json_fields`` hold JSON."""
        values: dict[str, Any] = {}
        for name, value in self.request.query_params.multi_items():
            if name in values:
                message = "is given twice"
                raise InvalidInputError(f"{name}: {message}", errors=[FieldError(name, message)])
            values[name] = read_json(value, name) if name in json_fields else value
        return parse(model, values)

    def path(self, name: str) -> str:
        return str(self.request.path_params[name])

    @property
    def idempotency_key(self) -> str | None:
        key = self.request.headers.get("idempotency-key")
        if key is not None and not (0 < len(key) <= MAX_ID_LENGTH and key.isprintable()):
            message = f"must be 1 to {MAX_ID_LENGTH} printable characters"
            raise InvalidInputError(f"Idempotency-Key {message}", errors=[FieldError("Idempotency-Key", message)])
        return key

    def _authenticated(self, brain: PersonalMemoryBrain) -> ApiKey:
        return brain.authenticate(self._key())

    def _key(self) -> str:
        headers = self.request.headers
        scheme, _, token = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and token.strip():
            return token.strip()
        if key := headers.get("x-api-key", "").strip():
            return key
        raise AuthenticationError("no API key; send it as 'Authorization: Bearer <key>' or 'X-API-Key: <key>'")

    def _count_once(self, key_id: str) -> None:
        """A request may ask for its grant several times."""
        if not getattr(self.request.state, "counted", False):
            self.request.state.counted = True
            limits: RateLimits = self.request.app.state.rate_limits
            limits.count(key_id)

    def _refuse_strangers(self) -> None:
        """Without keys, loopback is the only wall; a web page could climb it by a cross-site post or DNS rebinding."""
        headers: Mapping[str, str] = self.request.headers
        origin = headers.get("origin")
        if not authority_is_loopback(headers.get("host", "")) or (origin and not origin_is_loopback(origin)):
            raise PermissionDeniedError(
                "authentication is off, so only this machine may ask: the Host and Origin headers must name loopback"
            )


def given(request: BaseModel) -> dict[str, Any]:
    """The fields the caller set, as arguments for the brain."""
    return {name: getattr(request, name) for name in request.model_fields_set}


async def _with_body(request: Request) -> Call:
    return Call(request, await request.body())


async def _without_body(request: Request) -> Call:
    return Call(request)


BodyCall = Annotated[Call, Depends(_with_body)]
PlainCall = Annotated[Call, Depends(_without_body)]
