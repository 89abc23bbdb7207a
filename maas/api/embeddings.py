"""The encoder by itself: ``/encode``, and OpenAI's embeddings for clients that speak it."""

from __future__ import annotations

import base64
import time
from typing import Any

import numpy as np
from fastapi import APIRouter
from pydantic_core import to_json
from starlette.responses import Response

from maas.api.answers import answer
from maas.api.dependencies import BodyCall, PlainCall
from maas.api.openapi import operation
from maas.api.tokens import count_tokens
from maas.embedders.protocol import Vectors
from maas.errors import FieldError, InvalidInputError
from maas.records import Embeddings
from maas.requests import EmbeddingsRequest, EncodeRequest

router = APIRouter(tags=["embeddings"])


@router.post(
    "/encode",
    response_model=Embeddings,
    openapi_extra=operation(body=EncodeRequest, example={"texts": ["I moved to Tokyo in May"]}),
)
def encode(call: BodyCall) -> Response:
    """Unit vectors of up to 1,000 texts, in order."""
    grant = call.grant("read")
    request = call.parse(EncodeRequest)
    call.metrics.texts.observe(len(request.texts))
    vectors = grant.brain.encode(request.texts)
    embedder = grant.brain.embedder
    return answer(Embeddings.model_construct(embeddings=vectors.tolist(), model=embedder.name, dim=embedder.dim))


@router.post(
    "/v1/embeddings",
    openapi_extra=operation(body=EmbeddingsRequest, example={"input": "I moved to Tokyo in May", "model": "maas"}),
)
def openai_embeddings(call: BodyCall) -> Response:
    """OpenAI's embeddings. ``model`` is accepted and the configured embedder answers; its name is in the answer."""
    grant = call.grant("read")
    request = call.parse(EmbeddingsRequest)
    embedder = grant.brain.embedder
    dimensions = request.dimensions or embedder.dim
    if dimensions > embedder.dim:
        message = f"is {dimensions}; vectors of {embedder.name} have {embedder.dim} at most"
        raise InvalidInputError(f"dimensions {message}", errors=[FieldError("dimensions", message)])
    call.metrics.texts.observe(len(request.input))
    vectors = shortened(grant.brain.encode(request.input), dimensions)
    tokens = count_tokens(embedder, request.input)
    embeddings = _base64(vectors) if request.encoding_format == "base64" else vectors.tolist()
    content: dict[str, Any] = {
        "object": "list",
        "data": [{"object": "embedding", "index": index, "embedding": value} for index, value in enumerate(embeddings)],
        "model": embedder.name,
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }
    return Response(to_json(content), media_type="application/json")


@router.get("/v1/models")
def models(call: PlainCall) -> Response:
    """The configured embedder, in the shape of OpenAI's list of models."""
    embedder = call.grant("read").brain.embedder
    model = {"id": embedder.name, "object": "model", "created": int(time.time()), "owned_by": "maas"}
    return Response(to_json({"object": "list", "data": [model]}), media_type="application/json")


def shortened(vectors: Vectors, dimensions: int) -> Vectors:
    """The first ``dimensions`` of each (n, dim) vector, made unit length again."""
    if dimensions == vectors.shape[1]:
        return vectors
    cut = vectors[:, :dimensions]
    lengths = np.linalg.norm(cut, axis=1, keepdims=True)
    unit: Vectors = cut / np.maximum(lengths, np.finfo(np.float32).tiny)
    return unit


def _base64(vectors: Vectors) -> list[str]:
    return [base64.b64encode(vector.astype("<f4").tobytes()).decode() for vector in vectors]
