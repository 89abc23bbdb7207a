"""What is looked at before the bundle of the released weights is given away."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from lam_backend import DeltaNet6Layer, LAMEncoder
from lam_backend.checkpoint import RELEASED, WEIGHTS_FILE
from lam_backend.evaluation.__main__ import main
from lam_backend.evaluation.one_pass import ALLOCATOR
from lam_backend.packaging.lam_runtime import BundleError
from lam_backend.packaging.package_lam import build_folder

ALIKE = ("A man is playing a guitar.", "Somebody plays the guitar.")
OTHER = "The stock market fell by three percent on Tuesday."
SENTENCES = [*ALIKE, OTHER, "I parked on level 3, next to the lift.", "word " * 700]
TEXTS = [*SENTENCES, "", "日本語のテキスト", "?!"]

pytestmark = [
    pytest.mark.model,
    pytest.mark.timeout(400),
    pytest.mark.skipif(not (RELEASED / WEIGHTS_FILE).is_file(), reason="no released weights are in this checkout"),
]


@pytest.fixture(scope="module")
def layer() -> DeltaNet6Layer:
    return DeltaNet6Layer()


@pytest.fixture(scope="module")
def bundle(layer: DeltaNet6Layer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_folder(layer, tmp_path_factory.mktemp("release"))


@pytest.fixture(scope="module")
def released(bundle: Path) -> LAMEncoder:
    return LAMEncoder(bundle)


def test_load(released: LAMEncoder, layer: DeltaNet6Layer) -> None:
    assert released.fingerprint == layer.fingerprint
    assert released.precision == "int8"


def test_single_and_batch(released: LAMEncoder) -> None:
    one, many = released.encode(TEXTS[0]), released.encode(TEXTS)
    assert one.shape == (384,)
    assert many.shape == (len(TEXTS), 384)
    np.testing.assert_allclose(many[0], one, atol=1e-5)


def test_unit_norm(released: LAMEncoder) -> None:
    np.testing.assert_allclose(np.linalg.norm(released.encode(TEXTS), axis=1), 1, atol=1e-5)


def test_similarity(released: LAMEncoder) -> None:
    scores = released.similarity(released.encode(list(ALIKE)), released.encode([ALIKE[1], OTHER]))
    assert scores[0, 0] > scores[0, 1] + 0.1
    assert scores[1, 0] == pytest.approx(1, abs=1e-5)


def test_batch_sizes(released: LAMEncoder) -> None:
    expected = released.encode(TEXTS)
    for size in (1, 2, 7, 64):
        np.testing.assert_allclose(released.encode(TEXTS, batch_size=size), expected, atol=1e-5)


def test_both_graphs_say_what_the_torch_model_says(layer: DeltaNet6Layer, bundle: Path) -> None:
    expected = layer.encode(TEXTS)
    # In a mean of two or three tokens the 8-bit error does not average out.
    for precision, of_sentences, of_all in (("fp32", 0.9999, 0.9999), ("int8", 0.995, 0.97)):
        cosines = (LAMEncoder(bundle, precision).encode(TEXTS) * expected).sum(axis=1)
        assert cosines[: len(SENTENCES)].min() >= of_sentences, precision
        assert cosines.min() >= of_all, precision


def test_sizes(bundle: Path) -> None:
    assert sum(path.stat().st_size for path in bundle.rglob("*") if path.is_file()) < 143e6
    assert (bundle / "model_int8.onnx").stat().st_size <= 35e6


def test_errors(bundle: Path, released: LAMEncoder) -> None:
    with pytest.raises(BundleError, match="is no LAM bundle"):
        LAMEncoder(bundle.parent)
    with pytest.raises(TypeError, match=r"sentences\[0\] is a int"):
        released.encode([3])  # type: ignore[list-item]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with one book and no conversation."""
    root = tmp_path_factory.mktemp("data")
    (root / "eval" / "long_books").mkdir(parents=True)
    book = "\n".join(f"On day {n} she walked along the river and counted {n * 7 % 11} boats." for n in range(3000))
    (root / "eval" / "long_books" / "river.txt.gz").write_bytes(gzip.compress(book.encode()))
    return root


def test_memory_of_one_pass_does_not_grow_with_the_text(bundle: Path, data: Path) -> None:
    peaks = []
    for tokens in (3_000, 9_000):
        command = [sys.executable, "-m", "lam_backend.evaluation.one_pass", "--memory", "--bundle", str(bundle)]
        command += ["--tokens", str(tokens), "--text", str(data / "eval" / "long_books" / "river.txt.gz")]
        run = subprocess.run(
            command, capture_output=True, text=True, env={"PATH": "", "PYTHONPATH": str(Path.cwd()), **ALLOCATOR}
        )
        assert run.returncode == 0, run.stderr
        peaks.append(json.loads(run.stdout)["peak_bytes"])
    assert max(peaks) <= 40e6
    assert abs(peaks[1] - peaks[0]) <= 4e6


def test_the_speed_table_is_printed(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["speed", "--quick", "--no-peers", "--threads", "1", "--data", str(data), "--out", str(tmp_path / "out")]
    main(command)
    printed = capsys.readouterr().out
    for row in ("LAM int8, onnxruntime", "LAM fp32, onnxruntime", "LAM fp32, torch"):
        assert f"| {row} |" in printed
    assert "LAM int8, onnxruntime against" in printed
    assert "texts of 35 tokens from books" in printed
