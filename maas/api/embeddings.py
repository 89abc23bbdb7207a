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
from maas.embedders.batching import BatchingEmbedder
from maas.embedders.protocol import Embedder, Vectors, contextual
from maas.errors import FieldError, InvalidInputError
from maas.records import Embeddings, EncoderModel
from maas.requests import EmbeddingsRequest, EncodeRequest

router = APIRouter(tags=["embeddings"])


@router.post(
    "/encode",
    response_model=Embeddings,
    openapi_extra=operation(body=EncodeRequest, example={"texts": ["I moved to Tokyo in May"]}),
)
def encode(call: BodyCall) -> Response:
    """Unit vectors of up to 1,000 texts, in order; of each alone, or with ``in_context`` of each among the others."""
    grant = call.grant("read")
    request = call.parse(EncodeRequest)
    call.metrics.texts.observe(len(request.texts))
    embedder = grant.brain.embedder
    vectors = _in_context(embedder, request) if request.in_context else grant.brain.encode(request.texts)
    return answer(
        Embeddings.model_construct(
            embeddings=vectors.tolist(), model=embedder.name, dim=embedder.dim, fingerprint=embedder.fingerprint
        )
    )


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
        "fingerprint": embedder.fingerprint,
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }
    return Response(to_json(content), media_type="application/json")


@router.get("/v1/models")
def models(call: PlainCall) -> Response:
    """The configured embedder, in the shape of OpenAI's list of models."""
    embedder = call.grant("read").brain.embedder
    model = EncoderModel(
        id=embedder.name,
        created=int(time.time()),
        owned_by="maas",
        fingerprint=embedder.fingerprint,
        dim=embedder.dim,
        max_tokens=embedder.max_tokens if isinstance(embedder, BatchingEmbedder) else None,
        contextual=contextual(embedder) is not None,
    )
    return Response(to_json({"object": "list", "data": [model]}), media_type="application/json")


def _in_context(embedder: Embedder, request: EncodeRequest) -> Vectors:
    reader = contextual(embedder)
    if reader is None:
        message = f"needs an encoder that reads texts in their context, and {embedder.name} does not; leave it out"
        raise InvalidInputError(f"in_context: {message}", errors=[FieldError("in_context", message)])
    if not request.texts:
        return np.zeros((0, embedder.dim), np.float32)
    try:
        return reader.encode_in_context(request.texts, request.window)
    except ValueError as error:
        raise InvalidInputError(f"window: {error}", errors=[FieldError("window", str(error))]) from None


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
