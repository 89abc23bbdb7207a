from __future__ import annotations

import base64
from pathlib import Path

import httpx2
import numpy as np
import openai
import pytest

from maas.embedders.batching import BatchingEmbedder
from tests.api.problems import fields_of
from tests.fakes import FakeEmbedder
from tests.live import Live, serving


def test_encode_gives_the_embedders_vectors_in_order(http: httpx2.Client) -> None:
    texts = ["one", "two words", "one"]
    body = http.post("/encode", json={"texts": texts}).json()
    assert (body["model"], body["dim"]) == ("fake", 384)
    np.testing.assert_array_equal(np.asarray(body["embeddings"], np.float32), FakeEmbedder().encode(texts))


def test_encode_of_nothing_is_nothing(http: httpx2.Client) -> None:
    assert http.post("/encode", json={"texts": []}).json()["embeddings"] == []


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "texts"),
        ({"texts": "one"}, "texts"),
        ({"texts": ["fine", ""]}, "texts.1"),
        ({"texts": ["fine", 3]}, "texts.1"),
        ({"texts": ["x"] * 1001}, "texts"),
    ],
)
def test_encode_names_the_field(http: httpx2.Client, body: dict[str, object], field: str) -> None:
    assert fields_of(http.post("/encode", json=body), 422) == {field}


@pytest.mark.parametrize("encoding_format", ["float", "base64", None])
def test_the_official_openai_client_works(live: Live, encoding_format: str | None) -> None:
    texts = ["hello there", "general"]
    with openai.OpenAI(base_url=f"{live.url}/v1", api_key=live.admin_key) as client:
        extra = {} if encoding_format is None else {"encoding_format": encoding_format}
        answer = client.embeddings.create(model="whatever", input=texts, **extra)
        expected = FakeEmbedder().encode(texts)
        for row, item in zip(expected, answer.data, strict=True):
            value = item.embedding
            if isinstance(value, str):
                value = np.frombuffer(base64.b64decode(value), "<f4")
            np.testing.assert_array_equal(np.asarray(value, np.float32), row)
        assert [item.index for item in answer.data] == [0, 1]
        assert answer.usage.total_tokens == 3
        assert [model.id for model in client.models.list()] == ["fake"]


@pytest.mark.parametrize(
    ("key", "text", "error"),
    [("wrong", "x", openai.AuthenticationError), (None, "", openai.UnprocessableEntityError)],
)
def test_errors_are_the_openai_clients_own(live: Live, key: str | None, text: str, error: type[Exception]) -> None:
    client = openai.OpenAI(base_url=f"{live.url}/v1", api_key=key or live.admin_key, max_retries=0)
    with client, pytest.raises(error):
        client.embeddings.create(model="m", input=text)


def test_fewer_dimensions_are_unit_vectors_again(http: httpx2.Client) -> None:
    body = http.post("/v1/embeddings", json={"input": "hello", "dimensions": 7}).json()
    vector = np.asarray(body["data"][0]["embedding"])
    whole = FakeEmbedder().encode(["hello"])[0][:7]
    np.testing.assert_allclose(vector, whole / np.linalg.norm(whole), rtol=1e-5)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"input": []}, "input"),
        ({"input": [1, 2, 3]}, "input"),
        ({"input": [[1, 2], [3]]}, "input"),
        ({"input": ["fine", ""]}, "input.1"),
        ({"input": "x", "dimensions": 385}, "dimensions"),
        ({"input": "x", "dimensions": 0}, "dimensions"),
        ({"input": "x", "encoding_format": "hex"}, "encoding_format"),
        ({}, "input"),
    ],
)
def test_embeddings_name_the_field(http: httpx2.Client, body: dict[str, object], field: str) -> None:
    assert fields_of(http.post("/v1/embeddings", json=body), 422) == {field}


def test_the_batcher_is_measured(tmp_path: Path) -> None:
    embedder = BatchingEmbedder(FakeEmbedder())
    try:
        with serving(tmp_path, embedder) as live, live.http() as http:
            http.post("/encode", json={"texts": ["a", "b", "c"]})
            metrics = http.get("/metrics").text
    finally:
        embedder.close()
    assert "maas_encode_texts_total 3.0" in metrics
    assert "maas_encode_batches_total 1.0" in metrics
    assert "maas_encode_queue_texts 0.0" in metrics
