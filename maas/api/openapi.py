"""The OpenAPI description: bodies are read by our own strict reader, so their schemas are declared here."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from maas.api.problems import MEDIA_TYPE, Problem
from maas.requests import (
    BatchRequest,
    ContextRequest,
    DocumentRequest,
    EmbeddingsRequest,
    EncodeRequest,
    KeyRequest,
    RecallRequest,
    RotateRequest,
    StoreRequest,
    UpdateRequest,
)

REF = "#/components/schemas/{model}"
OPEN: dict[str, Any] = {"security": []}

_BODIES = (
    BatchRequest,
    ContextRequest,
    DocumentRequest,
    EmbeddingsRequest,
    EncodeRequest,
    KeyRequest,
    RecallRequest,
    RotateRequest,
    StoreRequest,
    UpdateRequest,
)
_PROBLEMS = {
    400: "The body is no valid JSON, or was cut off",
    401: "No key, or one that is wrong, revoked or expired",
    403: "The key lacks the scope, or is narrowed to another user",
    404: "Not there, or another tenant's",
    405: "An id that a client resolved away, such as `..`, made another route of this one",
    408: "The body came too slowly, or stopped coming",
    409: "Same Idempotency-Key with another body, or vectors of another embedder",
    413: "The body, or a text in it, is too large",
    415: "The body is compressed",
    422: "A field is missing, malformed or out of range",
    429: "Too many requests; see Retry-After",
    500: "The server failed",
    503: "Overloaded or not ready; see Retry-After",
}
_IDEMPOTENCY_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "schema": {"type": "string", "minLength": 1, "maxLength": 256},
    "description": "The same key and body again, within 24 hours, answer as the first time and write nothing.",
}


def responses() -> dict[int | str, dict[str, Any]]:
    """Every route answers its failures in one shape."""
    content = {MEDIA_TYPE: {"schema": {"$ref": REF.format(model="Problem")}}}
    return {status: {"description": meaning, "content": content} for status, meaning in _PROBLEMS.items()}


def operation(
    *,
    body: type[BaseModel] | None = None,
    example: dict[str, Any] | None = None,
    idempotent: bool = False,
    path: dict[str, str] | None = None,
    query: type[BaseModel] | None = None,
    json_fields: tuple[str, ...] = (),
) -> dict[str, Any]:
    """What FastAPI cannot see of a route.

    Args:
        body: model of the JSON body, shown with ``example``.
        idempotent: whether the route honours Idempotency-Key.
        path: name → meaning of each path parameter.
        query: model whose fields are the query parameters; those in ``json_fields`` carry JSON.
    """
    extra: dict[str, Any] = {"parameters": []}
    for name, meaning in (path or {}).items():
        schema = {"type": "string"}
        extra["parameters"].append(
            {"name": name, "in": "path", "required": True, "schema": schema, "description": meaning}
        )
    if query is not None:
        extra["parameters"].extend(_in_query(query, json_fields))
    if idempotent:
        extra["parameters"].append(_IDEMPOTENCY_KEY)
    if body is not None:
        content = {"schema": {"$ref": REF.format(model=body.__name__)}, "example": example}
        extra["requestBody"] = {"required": True, "content": {"application/json": content}}
    return extra


def _in_query(model: type[BaseModel], json_fields: tuple[str, ...]) -> list[dict[str, Any]]:
    schema = model.model_json_schema()
    found = []
    for name, field in schema["properties"].items():
        parameter: dict[str, Any] = {"name": name, "in": "query", "required": name in schema.get("required", [])}
        if name in json_fields:
            parameter["content"] = {"application/json": {"schema": field}}
        else:
            parameter["schema"] = field
        found.append(parameter)
    return found


def describe(app: FastAPI) -> None:
    """Make ``/openapi.json`` tell of request bodies, problems and security as well."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            schema = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
            components = schema.setdefault("components", {})
            _, defined = models_json_schema([(model, "validation") for model in (*_BODIES, Problem)], ref_template=REF)
            components.setdefault("schemas", {}).update(defined["$defs"])
            components["securitySchemes"] = {
                "bearer": {"type": "http", "scheme": "bearer"},
                "apiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
            }
            schema["security"] = [{"bearer": []}, {"apiKey": []}]
            app.openapi_schema = schema
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]
