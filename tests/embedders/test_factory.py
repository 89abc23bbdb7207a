from __future__ import annotations

from pathlib import Path

import pytest
from structlog.testing import capture_logs

from maas.embedders import factory
from maas.embedders.batching import BatchingEmbedder
from maas.embedders.factory import BACKENDS, LOCAL, build_backend, build_embedder
from maas.embedders.sentence_transformers import SentenceTransformersEmbedder
from maas.errors import ConfigError, EmbedderUnavailableError
from maas.settings import EmbedderSettings, Settings, load_settings


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder: no config.yaml, no models."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def settings_for(here: Path, **embedder: object) -> Settings:
    return load_settings(data_dir=here / "data", embedder=embedder)


def test_every_backend_of_the_settings_is_known() -> None:
    allowed = EmbedderSettings.model_json_schema()["properties"]["backend"]["enum"]
    assert set(allowed) == {"auto", *BACKENDS}
    assert list(LOCAL) == ["lam", "deltanet", "sentence-transformers"], "auto tries the fastest first"


@pytest.mark.model
def test_sentence_transformers_comes_wrapped_with_the_configured_limits(here: Path) -> None:
    embedder = build_embedder(settings_for(here, backend="sentence-transformers", batch_tokens=77, queue_texts=9))
    assert isinstance(embedder, BatchingEmbedder)
    assert isinstance(embedder.inner, SentenceTransformersEmbedder)
    assert (embedder._batch_tokens, embedder._queue_texts, embedder.max_tokens) == (77, 9, 256)
    assert embedder.encode(["hello", "world"]).shape == (2, 384)
    embedder.close()


def test_a_missing_lam_bundle_says_where_it_was_looked_for(here: Path) -> None:
    with pytest.raises(EmbedderUnavailableError, match="unpack or build lam-base-v1 there") as missing:
        build_embedder(settings_for(here, backend="lam"))
    assert str(here / "dist" / "lam-base-v1") in missing.value.detail
    with pytest.raises(EmbedderUnavailableError, match="elsewhere"):
        build_embedder(settings_for(here, backend="lam", lam_path=here / "elsewhere"))


def test_an_empty_lam_bundle_is_refused(here: Path) -> None:
    (here / "bundle").mkdir()
    with pytest.raises(EmbedderUnavailableError):
        build_embedder(settings_for(here, backend="lam", lam_path=here / "bundle"))


@pytest.mark.parametrize("key", ["deltanet_checkpoint", "deltanet_teacher"])
def test_a_missing_deltanet_file_is_named_by_its_setting(here: Path, key: str) -> None:
    with pytest.raises(EmbedderUnavailableError, match=f"embedder.{key} is nowhere, which does not exist"):
        build_embedder(settings_for(here, backend="deltanet", **{key: Path("nowhere")}))


@pytest.mark.model
def test_auto_passes_over_what_is_missing_and_says_why(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without_deltanet = {name: module for name, module in LOCAL.items() if name != "deltanet"}
    monkeypatch.setattr(factory, "LOCAL", without_deltanet)
    with capture_logs() as logs:
        embedder = build_embedder(settings_for(here))
    embedder.close()
    assert embedder.name == "all-MiniLM-L6-v2"
    assert [(line["event"], line["backend"]) for line in logs] == [
        ("embedder passed over", "lam"),
        ("embedder loaded", "sentence-transformers"),
    ]
    assert "there is no LAM bundle" in logs[0]["reason"]
    assert logs[1]["fingerprint"] == embedder.fingerprint


def test_auto_without_any_model_lists_every_reason_and_invents_nothing(here: Path) -> None:
    settings = settings_for(here, deltanet_checkpoint=Path("gone"), sentence_transformers_model="not/there")
    with pytest.raises(EmbedderUnavailableError) as failure:
        build_embedder(settings)
    for reason in ("lam: there is no LAM bundle", "deltanet: embedder.deltanet_checkpoint", "sentence-transformers: "):
        assert reason in failure.value.detail
    assert isinstance(failure.value, ConfigError)


def test_a_missing_library_says_how_to_install_it(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(EmbedderUnavailableError, match=r"pip install -c constraints.txt .maas\[torch\]"):
        build_backend("sentence-transformers", settings_for(here))
