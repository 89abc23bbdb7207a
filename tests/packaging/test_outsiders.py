"""The unpacked archive where nothing of this project is: an empty environment, and inside sentence-transformers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.lam.test_model import words

TEXTS = [words(n, n) for n in (1, 5, 40, 90)]
ROOT = Path(__file__).parents[2]
SCRIPT = """
import json, socket, sys

def no_network(*_):
    raise OSError("this must work offline")

socket.socket.connect = no_network
from lam_wrapper import LAMEncoder as SentenceTransformer

model = SentenceTransformer(sys.argv[1], precision="fp32")
texts = json.loads(sys.argv[2])
stream = model.stream()
stream.append(texts[-1])
print(json.dumps({
    "vectors": model.encode(texts).tolist(),
    "stream": stream.vector.tolist(),
    "similarity": float(model.similarity(model.encode(texts[0]), model.encode(texts[0]))[0, 0]),
    "unwanted": sorted({"torch", "transformers", "onnx", "maas", "lam_backend", "scipy"} & set(sys.modules)),
}))
"""


@pytest.mark.timeout(600)
def test_an_empty_environment_encodes_offline(unpacked: Path, encoder: Any, tmp_path: Path) -> None:
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv" / "bin" / "python"
    needed = ["numpy", "tokenizers", "onnxruntime"]
    # A package index answers or it does not; only then is there nothing to test.
    installed = subprocess.run(
        [python, "-m", "pip", "install", "-q", "-c", ROOT / "constraints.txt", *needed], capture_output=True, text=True
    )
    if installed.returncode != 0:
        pytest.skip(f"no package index could provide {needed}: {installed.stderr[-200:]}")
    clean = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    run = subprocess.run(
        [python, "-c", SCRIPT, str(unpacked), json.dumps(TEXTS)],
        cwd=unpacked, env={**clean, "PYTHONPATH": str(unpacked)}, capture_output=True, text=True,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    found = json.loads(run.stdout)
    np.testing.assert_allclose(found["vectors"], encoder.encode(TEXTS), atol=1e-5)
    np.testing.assert_allclose(found["stream"], encoder.encode(TEXTS[-1]), atol=1e-5)
    assert found["similarity"] == pytest.approx(1, abs=1e-5)
    assert found["unwanted"] == []


@pytest.mark.timeout(300)
def test_sentence_transformers_loads_the_folder(unpacked: Path, small_encoder: Any) -> None:
    program = (
        "import json, sys\n"
        "from sentence_transformers import SentenceTransformer\n"
        "model = SentenceTransformer(sys.argv[1], trust_remote_code=True, device='cpu')\n"
        "texts = json.loads(sys.argv[2])\n"
        "vectors = model.encode(texts, normalize_embeddings=True)\n"
        "print(json.dumps({'vectors': vectors.tolist(), 'similar': model.similarity(vectors, vectors).tolist()}))\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", program, str(unpacked), json.dumps(TEXTS)],
        env={**os.environ, "HF_HUB_OFFLINE": "1"}, capture_output=True, text=True,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr[-3000:]
    found = json.loads(run.stdout.splitlines()[-1])
    expected = small_encoder.encode(TEXTS)
    np.testing.assert_allclose(found["vectors"], expected, atol=1e-5)
    np.testing.assert_allclose(found["similar"], expected @ expected.T, atol=1e-5)
