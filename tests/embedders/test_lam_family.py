from __future__ import annotations

import sys
import types
from typing import Any

import numpy as np
import pytest

from maas.embedders.lam_family import LamFamilyEmbedder, lam_backend_class
from maas.embedders.protocol import Embedder
from maas.errors import EmbedderUnavailableError, NotReadyError
from tests.fakes import FakeEmbedder


class Encoder(FakeEmbedder):
    """The signature LAMEncoder and DeltaNet6Layer share."""

    def encode(  # type: ignore[override]
        self, sentences: Any, batch_size: int = 32, show_progress_bar: bool | None = None,
        convert_to_numpy: bool = True, convert_to_tensor: bool = False, normalize_embeddings: bool = True,
    ) -> Any:  # fmt: skip
        assert show_progress_bar is False
        assert convert_to_numpy
        assert normalize_embeddings
        return super().encode(sentences).astype(np.float64)


def test_it_adapts_an_encoder() -> None:
    encoder = Encoder(dim=12, name="lam-base-v1")
    embedder = LamFamilyEmbedder(encoder)
    assert isinstance(embedder, Embedder)
    assert (embedder.name, embedder.dim, embedder.fingerprint) == ("lam-base-v1", 12, encoder.fingerprint)
    vectors = embedder.encode(["one", "two"])
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(vectors, FakeEmbedder(12, "lam-base-v1").encode(["one", "two"]), atol=1e-7)
    assert embedder.encode([]).shape == (0, 12)


def test_closing_closes_the_encoder_and_refuses_more() -> None:
    encoder = Encoder()
    embedder = LamFamilyEmbedder(encoder)
    embedder.close()
    embedder.close()
    assert encoder.closed
    with pytest.raises(NotReadyError, match="is closed"):
        embedder.encode(["too late"])


def test_an_encoder_without_a_fingerprint_is_refused() -> None:
    class Unknown:
        name, dim = "unknown", 384

        def encode(self, sentences: list[str]) -> None: ...

    with pytest.raises(EmbedderUnavailableError, match="Unknown has no fingerprint"):
        LamFamilyEmbedder(Unknown())


def test_a_release_without_the_class_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lam_backend", types.ModuleType("lam_backend"))
    with pytest.raises(EmbedderUnavailableError, match="has no lam_backend.LAMEncoder; install a release"):
        lam_backend_class("LAMEncoder")


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lam_backend", None)
    with pytest.raises(EmbedderUnavailableError, match="needs lam_backend, which is not installed"):
        lam_backend_class("LAMEncoder")


def test_turns_in_context_come_from_the_encoder() -> None:
    class Reader(Encoder):
        def encode_in_context(self, units: list[str], window: int | None = 224) -> Any:
            return FakeEmbedder().encode([f"{unit} {window}" for unit in units])

    embedder = LamFamilyEmbedder(Reader())
    expected = FakeEmbedder().encode(["one 224", "two 224"])
    np.testing.assert_allclose(embedder.encode_in_context(["one", "two"]), expected, atol=1e-7)
    np.testing.assert_allclose(embedder.encode_in_context(["one"], None), FakeEmbedder().encode(["one None"]))
    embedder.close()
    with pytest.raises(NotReadyError, match="is closed"):
        embedder.encode_in_context(["too late"])
