"""Encoding by another maas server, so that models and memories grow apart: its ``/v1/embeddings`` and ``/encode``."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, TypeVar

import httpx2
import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from maas.client import MaasClient
from maas.client._requests import Call
from maas.client._retries import Retries
from maas.embedders.protocol import Vectors
from maas.errors import (
    AuthenticationError,
    EmbedderUnavailableError,
    FingerprintMismatchError,
    MaasError,
    NotReadyError,
    PermissionDeniedError,
    RateLimitedError,
    TransportError,
    UnavailableError,
)
from maas.records import Embeddings, EncoderModel
from maas.requests import MAX_BATCH

if TYPE_CHECKING:
    from maas.settings import EmbedderSettings, Settings

# One request holds at most this many characters, so that it stays below the other server's limit of a body.
REQUEST_CHARACTERS = 2_000_000
_RETRY_AFTER = 2.0
# How far from 1 a length may be before the vectors are somebody else's idea of vectors.
_LENGTH_TOLERANCE = 1e-3
# Servers refuse texts of white space alone; tokenizers drop this character as they drop white space.
_NOTHING = "\u200b"

T = TypeVar("T")


def build(settings: Settings, transport: httpx2.BaseTransport | None = None) -> RemoteEmbedder:
    """Ask the server at ``embedder.remote_url`` what it encodes with.

    Raises:
        EmbedderUnavailableError: no address or key that works, nobody there, or somebody who is not maas.
    """
    chosen = settings.embedder
    url = _address(chosen)
    client = EncoderClient(url, _key(chosen), chosen.remote_timeout_seconds, chosen.remote_retries, transport)
    try:
        model = client.model()
    except MaasError as error:
        client.close()
        raise EmbedderUnavailableError(f"{_why(error, url)}; {_remedy(error)}") from error
    kind = ContextualRemoteEmbedder if model.contextual else RemoteEmbedder
    return kind(client, model, chosen.remote_requests)


class EncoderClient(MaasClient):
    """The calls of the API that concern the encoder, answers checked; Retry-After is the client's affair.

    A caller waits behind these, so that they are sent again ``retries`` times and no longer.
    """

    def __init__(
        self, base_url: str, api_key: str | None, timeout: float, retries: int, transport: httpx2.BaseTransport | None
    ) -> None:
        super().__init__(base_url, api_key, timeout, retries, transport)
        self._retries = Retries(retries, patience=0.0)

    def model(self) -> EncoderModel:
        """What the server encodes with."""
        return self._send(Call("GET", "/v1/models", _read_model))

    def embeddings(self, texts: Sequence[str]) -> tuple[str, Vectors]:
        """Fingerprint and (n, dim) vectors of (n,) texts, each read alone."""
        body = {"input": list(texts), "model": "maas", "encoding_format": "base64"}
        return self._send(Call("POST", "/v1/embeddings", _read_embeddings, content=_json(body)))

    def in_context(self, units: Sequence[str], window: int | None) -> tuple[str, Vectors]:
        """Fingerprint and (n, dim) vectors of (n,) texts that follow each other, each after reading those around it."""
        body = {"texts": list(units), "in_context": True} | ({} if window is None else {"window": window})
        return self._send(Call("POST", "/encode", _read_encoded, content=_json(body)))


class RemoteEmbedder:
    """Gives the vectors of another server's encoder. Safe to share between threads.

    Attributes:
        lanes: requests that may be under way at once.
        max_tokens: tokens of a text that the encoder reads at most; None: all.
    """

    def __init__(self, client: EncoderClient, model: EncoderModel, lanes: int) -> None:
        self._client = client
        self._model = model
        self.lanes = lanes
        self.max_tokens = model.max_tokens

    @property
    def name(self) -> str:
        return self._model.id

    @property
    def dim(self) -> int:
        return self._model.dim

    @property
    def fingerprint(self) -> str:
        return self._model.fingerprint

    def encode(self, texts: Sequence[str]) -> Vectors:
        """As every embedder.

        Raises:
            NotReadyError: the other server is away, overloaded or answers nonsense, after the retries.
            FingerprintMismatchError: it encodes with another model than when this was opened.
        """
        parts = [self._ask(self._client.embeddings, part) for part in _requests(texts)]
        return np.concatenate(parts) if parts else np.zeros((0, self.dim), np.float32)

    def close(self) -> None:
        self._client.close()

    def _ask(self, call: Callable[[Sequence[str]], tuple[str, Vectors]], texts: Sequence[str]) -> Vectors:
        url = self._client.base_url
        try:
            fingerprint, vectors = call([text if text.strip() else _NOTHING for text in texts])
        except (
            TransportError,
            UnavailableError,
            RateLimitedError,
            AuthenticationError,
            PermissionDeniedError,
        ) as error:
            patience = max(_RETRY_AFTER, error.retry_after or 0.0)
            raise NotReadyError(_why(error, url), retry_after=patience) from error
        except MaasError as error:
            raise EmbedderUnavailableError(f"the encoder at {url} refused texts: {error.detail}") from error
        if fingerprint != self.fingerprint:
            raise FingerprintMismatchError(
                f"the encoder at {url} has become {fingerprint}; this server opened with {self.fingerprint}. Bring that"
                " one back, or restart this server and run `maas reindex`"
            )
        if vectors.shape != (len(texts), self.dim) or not _unit(vectors):
            raise NotReadyError(
                f"the encoder at {url} answered {len(texts)} texts with an array of shape {vectors.shape}; expected"
                f" ({len(texts)}, {self.dim}) of unit length",
                retry_after=_RETRY_AFTER,
            )
        return vectors


class ContextualRemoteEmbedder(RemoteEmbedder):
    """For an encoder that also reads texts in their context."""

    def encode_in_context(self, units: Sequence[str], window: int | None) -> Vectors:
        """As ``encode``, each unit after reading those around it."""
        return self._ask(lambda texts: self._client.in_context(texts, window), units)


def _address(chosen: EmbedderSettings) -> str:
    url = chosen.remote_url
    if url is None:
        raise EmbedderUnavailableError(
            "embedder.backend is remote, but embedder.remote_url is unset; set it to the address of a maas server that "
            "has a model, such as http://encoder:8000"
        )
    if httpx2.URL(url).scheme not in ("http", "https") or not httpx2.URL(url).host:
        raise EmbedderUnavailableError(
            f"embedder.remote_url is {url!r}; expected the address of a maas server, such as http://encoder:8000"
        )
    return url.rstrip("/").removesuffix("/v1")


def _key(chosen: EmbedderSettings) -> str | None:
    path = chosen.remote_key_file
    if path is None:
        return chosen.remote_key
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise EmbedderUnavailableError(
            f"embedder.remote_key_file {path} cannot be read ({error}); put an API key with the scope read into it"
        ) from error


def _why(error: MaasError, url: str) -> str:
    if isinstance(error, (AuthenticationError, PermissionDeniedError)):
        return f"the encoder at {url} refuses this server's key: {error.detail}"
    if isinstance(error, TransportError):
        return f"the encoder cannot be asked: {error.detail}"
    return f"the encoder at {url} gives no vectors: {error.detail}"


def _remedy(error: MaasError) -> str:
    if isinstance(error, (AuthenticationError, PermissionDeniedError)):
        return "set embedder.remote_key or embedder.remote_key_file to a key of that server with the scope read"
    return "start a maas server with a model there, or set embedder.remote_url to one"


def _requests(texts: Sequence[str]) -> Iterator[Sequence[str]]:
    """The texts in order, in parts that one request may carry; a longer text goes alone."""
    start = characters = 0
    for place, text in enumerate(texts):
        if place > start and (place - start == MAX_BATCH or characters + len(text) > REQUEST_CHARACTERS):
            yield texts[start:place]
            start, characters = place, 0
        characters += len(text)
    if start < len(texts):
        yield texts[start:]


def _unit(vectors: Vectors) -> bool:
    lengths = np.linalg.norm(vectors.astype(np.float64), axis=1)
    return bool(np.all(np.abs(lengths - 1) < _LENGTH_TOLERANCE))  # false for NaN too


class _Item(BaseModel):
    index: int
    embedding: str


class _Embeddings(BaseModel):
    model_config = ConfigDict(extra="ignore")

    data: list[_Item]
    fingerprint: str


class _Models(BaseModel):
    model_config = ConfigDict(extra="ignore")

    data: list[EncoderModel]


def _read_model(content: bytes) -> EncoderModel:
    try:
        (model,) = _Models.model_validate_json(content).data
    except ValidationError as error:
        raise ValueError(f"its model lacks what maas tells of one ({_first(error)})") from None
    return model


def _read_embeddings(content: bytes) -> tuple[str, Vectors]:
    try:
        answer = _Embeddings.model_validate_json(content)
        rows = [np.frombuffer(base64.b64decode(item.embedding, validate=True), "<f4") for item in answer.data]
    except ValidationError as error:
        raise ValueError(f"no embeddings of maas ({_first(error)})") from None
    except binascii.Error as error:
        raise ValueError(f"an embedding is no base64 ({error})") from None
    if [item.index for item in answer.data] != list(range(len(rows))) or len({len(row) for row in rows}) > 1:
        raise ValueError("embeddings out of order or of different lengths")
    return answer.fingerprint, np.array(rows, np.float32).reshape(len(rows), -1 if rows else 0)


def _read_encoded(content: bytes) -> tuple[str, Vectors]:
    answer = Embeddings.model_validate_json(content)
    return answer.fingerprint, np.asarray(answer.embeddings, np.float32).reshape(-1, answer.dim)


def _first(error: ValidationError) -> str:
    fault = error.errors(include_url=False)[0]
    return f"{'.'.join(str(part) for part in fault['loc'])}: {fault['msg']}"


def _json(body: object) -> bytes:
    return json.dumps(body, ensure_ascii=False).encode()
