from __future__ import annotations

import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maas.api.tokens import count_tokens
from maas.embedders.batching import BatchingEmbedder
from maas.embedders.fused_bert import FusedEncoder
from maas.embedders.protocol import Embedder
from maas.embedders.sentence_transformers import (
    SentenceTransformersEmbedder,
    build,
    length_groups,
    model_folder,
)
from maas.errors import EmbedderUnavailableError, NotReadyError
from maas.settings import load_settings

TEXTS = [
    "I parked the car behind the station.",
    "ok",
    "",
    "   ",
    "Where did I leave my car?",
    "日本語のテキスト and emoji 🚗👩‍👩‍👧",
    "a much longer turn of a conversation, " * 40,
    "مرحبا بالعالم",
]

pytestmark = pytest.mark.model


@pytest.fixture(scope="module")
def minilm() -> Iterator[SentenceTransformersEmbedder]:
    embedder = build(load_settings())
    yield embedder
    embedder.close()


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def test_identity(minilm: SentenceTransformersEmbedder) -> None:
    assert isinstance(minilm, Embedder)
    assert (minilm.name, minilm.dim, minilm.max_tokens) == ("all-MiniLM-L6-v2", 384, 256)
    weights = (model_folder(None) / "model.safetensors").read_bytes()
    digest = hashlib.sha256(hashlib.sha256(weights).digest()).hexdigest()
    assert minilm.fingerprint == f"all-MiniLM-L6-v2:384:mean:{digest[:12]}"


def test_vectors_are_those_of_the_library(minilm: SentenceTransformersEmbedder) -> None:
    from sentence_transformers import SentenceTransformer

    assert any(isinstance(module, FusedEncoder) for module in minilm._model.modules())
    expected = SentenceTransformer(str(model_folder(None)), device="cpu", local_files_only=True).encode(
        TEXTS, normalize_embeddings=True, show_progress_bar=False
    )
    vectors = minilm.encode(TEXTS)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(vectors, expected, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


def test_a_text_has_the_same_vector_alone_and_in_company(minilm: SentenceTransformersEmbedder) -> None:
    alone = np.vstack([minilm.encode([text]) for text in TEXTS])
    np.testing.assert_allclose(minilm.encode(TEXTS), alone, atol=1e-5)
    np.testing.assert_allclose(minilm.encode(TEXTS[::-1])[::-1], alone, atol=1e-5)


def test_tokens_are_counted_as_they_are_read(minilm: SentenceTransformersEmbedder) -> None:
    assert minilm.count_tokens(["car", "the car"]) == 3 + 4  # each between [CLS] and [SEP]
    assert minilm.count_tokens(["word " * 1_000]) == minilm.max_tokens
    assert count_tokens(BatchingEmbedder(minilm), ["the car"]) == 4


def test_meaning_is_near(minilm: SentenceTransformersEmbedder) -> None:
    question, parked, other = minilm.encode(["Where is my car?", TEXTS[0], "She likes green tea."])
    assert question @ parked > question @ other + 0.2


def test_nothing_gives_an_empty_array(minilm: SentenceTransformersEmbedder) -> None:
    vectors = minilm.encode([])
    assert (vectors.shape, vectors.dtype) == ((0, 384), np.float32)


@pytest.mark.parametrize(
    "text",
    ["the quick brown fox jumped over 17 lazy dogs. " * 1000, "word" * 3000 + " the end " * 2000, " " * 20_000 + "tea"],
    ids=["prose", "one huge word", "blanks first"],
)
def test_cutting_a_long_text_early_changes_nothing(minilm: SentenceTransformersEmbedder, text: str) -> None:
    whole = minilm._tokenizer(text, truncation=True, max_length=minilm.max_tokens)["input_ids"]
    assert minilm._tokenize([text]) == [whole]


def _settings_of_the_process() -> dict[str, str]:
    """The environment but for the notes OpenMP leaves there the first time any library starts it."""
    return {name: value for name, value in os.environ.items() if not name.startswith("KMP_")}


def test_loading_and_encoding_stay_off_the_network(no_network: None, capfd: pytest.CaptureFixture[str]) -> None:
    environment = _settings_of_the_process()
    embedder = build(load_settings())
    embedder.encode(["offline"])
    embedder.close()
    assert _settings_of_the_process() == environment
    assert capfd.readouterr() == ("", ""), "no progress bars in a service"


def test_a_closed_embedder_says_so() -> None:
    embedder = build(load_settings())
    embedder.close()
    embedder.close()
    with pytest.raises(NotReadyError, match="all-MiniLM-L6-v2 is closed"):
        embedder.encode(["too late"])


def test_a_model_folder_of_ones_own_has_its_own_name_and_fingerprint(
    minilm: SentenceTransformersEmbedder, tmp_path: Path
) -> None:
    own = tmp_path / "my-model"
    shutil.copytree(model_folder(None), own)
    pooling = own / "1_Pooling" / "config.json"
    config = json.loads(pooling.read_text())
    config |= {"pooling_mode_mean_tokens": False, "pooling_mode_cls_token": True}
    pooling.write_text(json.dumps(config))
    embedder = build(load_settings(embedder={"sentence_transformers_model": str(own)}))
    assert embedder.name == "my-model"
    assert embedder.fingerprint == minilm.fingerprint.replace("all-MiniLM-L6-v2", "my-model").replace("mean", "cls")
    assert not np.allclose(embedder.encode(["tea"]), minilm.encode(["tea"]), atol=1e-2)
    embedder.close()


@pytest.mark.parametrize("chosen", ["nobody/such-model", "no/such/folder/here", "???"])
def test_a_missing_model_is_named(no_network: None, chosen: str) -> None:
    with pytest.raises(EmbedderUnavailableError, match="neither a folder nor a model in the local") as missing:
        build(load_settings(embedder={"sentence_transformers_model": chosen}))
    assert repr(chosen) in missing.value.detail


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EmbedderUnavailableError, match="holds no usable sentence-transformers model"):
        build(load_settings(embedder={"sentence_transformers_model": str(tmp_path)}))


def test_cut_off_weights_are_refused(tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(model_folder(None), broken)
    with (broken / "model.safetensors").open("r+b") as weights:
        weights.truncate(1_000_000)
    with pytest.raises(EmbedderUnavailableError, match="broken holds no usable"):
        build(load_settings(embedder={"sentence_transformers_model": str(broken)}))


def test_importing_the_factory_loads_no_model_library() -> None:
    program = (
        "import sys, maas.embedders.factory; heavy={'torch', 'transformers', 'sentence_transformers', 'onnxruntime'}; "
        "print(sorted(heavy & sys.modules.keys()))"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert (run.stdout.strip(), run.returncode) == ("[]", 0)


@given(st.lists(st.integers(1, 300), max_size=60), st.integers(1, 2000))
def test_groups_hold_every_index_once_within_the_budget(lengths: list[int], batch_tokens: int) -> None:
    groups = list(length_groups(lengths, batch_tokens))
    assert sorted(index for group in groups for index in group) == list(range(len(lengths)))
    for group in groups:
        longest = max(lengths[index] for index in group)
        shortest = min(lengths[index] for index in group)
        assert len(group) == 1 or len(group) * longest <= batch_tokens
        assert longest <= 1.5 * shortest + 8
