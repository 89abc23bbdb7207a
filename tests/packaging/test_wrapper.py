"""LAMEncoder as its users meet it: what sentence-transformers' callers expect, threads, broken bundles, bad input."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from lam_backend import LAMEncoder
from lam_backend.model import DeltaNet6Layer
from maas.api.tokens import count_tokens
from maas.embedders.batching import BatchingEmbedder
from maas.embedders.lam_family import LamFamilyEmbedder
from tests.lam.test_model import words


def test_it_is_exported() -> None:
    from lam_backend.packaging import lam_runtime

    assert LAMEncoder is lam_runtime.LAMEncoder


def test_identity(encoder: Any, model: DeltaNet6Layer) -> None:
    assert (encoder.name, encoder.dim, encoder.fingerprint) == ("lam-base-v1", 32, model.fingerprint)
    assert encoder.get_sentence_embedding_dimension() == encoder.get_embedding_dimension() == 32


def test_shapes_as_sentence_transformer_has_them(encoder: Any) -> None:
    one, many, none = encoder.encode("the cat"), encoder.encode(["the cat", "a dog"]), encoder.encode([])
    assert (one.shape, many.shape, none.shape) == ((32,), (2, 32), (0, 32))
    assert one.dtype == many.dtype == none.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(many, axis=1), 1, atol=1e-6)
    assert isinstance(encoder.encode(["the cat"], convert_to_tensor=True), torch.Tensor)
    listed = encoder.encode(["the cat"], convert_to_numpy=False)
    assert isinstance(listed, list)
    assert isinstance(listed[0], torch.Tensor)
    plain = encoder.encode("the cat", normalize_embeddings=False)
    np.testing.assert_allclose(plain / np.linalg.norm(plain), one, atol=1e-6)


def test_similarity_is_cosine(encoder: Any) -> None:
    vectors = encoder.encode(["the cat", "a dog", "the sea"])
    scores = encoder.similarity(vectors, 3 * vectors)
    np.testing.assert_allclose(scores, vectors @ vectors.T, atol=1e-6)
    np.testing.assert_allclose(encoder.similarity_pairwise(vectors, vectors), 1, atol=1e-6)
    assert encoder.similarity(vectors[0], vectors).shape == (1, 3)


def test_tokens_are_counted_as_they_are_read(
    encoder: Any, model: DeltaNet6Layer, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = ["the cat", "", "a dog on the mat " * 200]
    read = [int(encoder.tokenize([text])["attention_mask"].sum()) for text in texts]
    assert read[1] == 2
    assert encoder.count_tokens(texts) == model.count_tokens(texts) == sum(read)
    embedder = LamFamilyEmbedder(encoder)
    assert count_tokens(BatchingEmbedder(embedder), texts) == count_tokens(embedder, texts) == sum(read)
    monkeypatch.setattr(encoder, "max_seq_length", 16)
    assert encoder.count_tokens(texts) == read[0] + read[1] + 16


def test_prompts(unpacked: Path, wrapper: ModuleType) -> None:
    encoder = wrapper.LAMEncoder(unpacked)
    plain = encoder.encode("the cat")
    np.testing.assert_array_equal(encoder.encode_query("the cat"), plain)
    encoder.prompts = {"query": "a ", "passage": "on "}
    np.testing.assert_array_equal(encoder.encode_query("the cat"), encoder.encode("a the cat"))
    np.testing.assert_array_equal(encoder.encode_document(["the cat"])[0], encoder.encode("on the cat"))
    np.testing.assert_array_equal(encoder.encode("the cat", prompt="a "), encoder.encode("a the cat"))
    with pytest.raises(ValueError, match=r"prompt_name is 'none'; prompts has \['passage', 'query'\]"):
        encoder.encode("the cat", prompt_name="none")


def test_max_seq_length_cuts_when_it_is_set(unpacked: Path, wrapper: ModuleType) -> None:
    encoder = wrapper.LAMEncoder(unpacked, "fp32")
    text = words(100)
    whole = encoder.encode(text)
    encoder.max_seq_length = 12
    np.testing.assert_allclose(encoder.encode(text), encoder.encode(words(100) + " sea"), atol=1e-6)
    assert encoder.tokenize([text])["input_ids"].shape == (1, 12)
    assert np.abs(encoder.encode(text) - whole).max() > 1e-4


def test_a_long_list_with_a_book_in_it_keeps_its_order(encoder: Any, capsys: pytest.CaptureFixture[str]) -> None:
    texts = [words(n, n) for n in (3, 9000, 1, 40, 9000)]
    assert len(texts[1]) > 20_000
    vectors = encoder.encode(texts, show_progress_bar=True)
    for text, vector in zip(texts, vectors, strict=True):
        np.testing.assert_allclose(encoder.encode(text), vector, atol=1e-5)
    assert capsys.readouterr().err.endswith("5/5\n")


def test_many_threads_one_session(encoder: Any) -> None:
    texts = [words(n % 70, n) for n in range(60)]
    alone = encoder.encode(texts)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(encoder.encode, texts))
    np.testing.assert_allclose(np.stack(found), alone, atol=1e-5)


def test_passes_side_by_side_give_what_one_thread_gives(unpacked: Path, wrapper: ModuleType) -> None:
    texts = [words(n % 90, n) for n in range(70)]
    alone = wrapper.LAMEncoder(unpacked, threads=1)
    for threads in (2, 5, None):
        many = wrapper.LAMEncoder(unpacked, threads=threads)
        np.testing.assert_allclose(many.encode(texts), alone.encode(texts), atol=1e-5)
        np.testing.assert_allclose(
            many.encode_in_context(texts, window=32), alone.encode_in_context(texts, window=32), atol=1e-5
        )


def test_a_pass_that_fails_fails_the_call_and_no_other(unpacked: Path, wrapper: ModuleType) -> None:
    encoder = wrapper.LAMEncoder(unpacked, threads=2)
    texts = [words(20, n) for n in range(40)]
    expected = encoder.encode(texts)
    read, encoder._batch_means = encoder._batch_means, lambda step, batch: 1 / 0
    with pytest.raises(ZeroDivisionError):
        encoder.encode(texts)
    encoder._batch_means = read
    np.testing.assert_array_equal(encoder.encode(texts), expected)


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda e: e.encode(["a", 3]), TypeError, r"sentences\[1\] is a int; expected str"),
        (lambda e: e.encode("a", batch_size=0), ValueError, "batch_size is 0"),
        (lambda e: e.encode_long(7), TypeError, "text is a int; expected str"),
        (lambda e: e.encode_long("a", 33), ValueError, "passage_tokens is 33; expected 1 to 32"),
        (lambda e: e.stream().append(None), TypeError, "text is a NoneType; expected str"),
    ],
)
def test_bad_input(encoder: Any, call: Callable[[Any], Any], error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        call(encoder)


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("model", np.frombuffer(b"other:384:mean:0", np.uint8), "of the model 'other:384:mean:0'"),
        ("memory", np.zeros((1, 2)), "shape"),
        ("memory", np.full((2, 4, 8, 8), np.nan), "finite"),
        ("memory", np.full((2, 4, 8, 8), "x"), "finite"),
        ("total", np.zeros(3), "shape"),
        ("count", np.array([31]), "multiple of 32"),
        ("count", np.array([0.5]), "multiple of 32"),
        ("count", np.array(["0"]), "multiple of 32"),
        ("open_ids", np.array([10**6]), "open_ids"),
        ("open_ids", np.arange(40), "open_ids"),
        ("open_ids", np.array([0.5]), "open_ids"),
    ],
)
def test_a_corrupt_state_is_refused(encoder: Any, key: str, value: np.ndarray, says: str) -> None:
    stream = encoder.stream()
    stream.append(words(100))
    before = stream.vector
    with pytest.raises(ValueError, match=says):
        stream.load_state_dict({**stream.state_dict(), key: value})
    with pytest.raises(ValueError, match="keys"):
        stream.load_state_dict({"memory": stream.state_dict()["memory"]})
    np.testing.assert_array_equal(stream.vector, before)


def test_a_saved_state_stays_as_it_was(encoder: Any) -> None:
    stream = encoder.stream()
    stream.append(words(100))
    saved, then = stream.state_dict(), stream.vector
    stream.append(words(100, seed=1))
    resumed = encoder.stream()
    resumed.load_state_dict(saved)
    np.testing.assert_allclose(resumed.vector, then, atol=1e-6)


def test_a_state_that_never_began_is_refused(encoder: Any) -> None:
    stream = encoder.stream()
    with pytest.raises(ValueError, match="open_ids"):
        stream.load_state_dict({**stream.state_dict(), "open_ids": np.array([], dtype=np.int64)})


@pytest.mark.parametrize(
    ("read", "place"),
    [
        (lambda model: model.encode("a\ud800b"), r"sentences\[0\]"),
        (lambda model: model.encode(["the cat", "a\ud800b"]), r"sentences\[1\]"),
        (lambda model: model.encode_in_context(["the cat", "a\ud800b"]), r"units\[1\]"),
        (lambda model: model.encode_long("a\ud800b"), "text"),
        (lambda model: model.stream().append("a\ud800b"), "text"),
    ],
)
def test_half_a_surrogate_pair_is_named(encoder: Any, read: Callable[[Any], object], place: str) -> None:
    with pytest.raises(ValueError, match=f"{place} holds a lone surrogate at position 1"):
        read(encoder)


_FORKED = """
import os, signal, sys
from lam_backend import LAMEncoder
encoder = LAMEncoder(sys.argv[1], threads=2)
texts = ["the cat sat", "a dog ran", "the sea is wide"]
before = encoder.encode(texts)
child = os.fork()
if not child:
    signal.alarm(60)
    os._exit(int(abs(encoder.encode(texts) - before).max() > 1e-6))
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) != 0)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are not forked here")
def test_a_forked_process_encodes_as_well(unpacked: Path) -> None:
    subprocess.run([sys.executable, "-c", _FORKED, str(unpacked)], check=True, timeout=120)


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-100])


def alter(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


@pytest.mark.parametrize(
    ("name", "change", "says"),
    [
        ("model_int8.onnx", Path.unlink, "is missing; unpack"),
        ("model_int8.onnx", cut, "altered or cut"),
        ("model_int8.onnx", alter, "altered or cut"),
        ("tokenizer.json", alter, "altered or cut"),
        ("lam_config.json", Path.unlink, "is no LAM bundle: lam_config.json is missing"),
        ("lam_config.json", cut, "is damaged"),
    ],
)
def test_a_broken_bundle_is_refused(
    unpacked: Path, wrapper: ModuleType, tmp_path: Path, name: str, change: Callable[[Path], None], says: str
) -> None:
    folder = tmp_path / "bundle"
    shutil.copytree(unpacked, folder)
    change(folder / name)
    with pytest.raises(wrapper.BundleError, match=says):
        wrapper.LAMEncoder(folder)


def test_what_is_no_bundle(wrapper: ModuleType, tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(wrapper.BundleError, match="is no LAM bundle"):
            wrapper.LAMEncoder(folder)


def test_unknown_precision_and_device(unpacked: Path, wrapper: ModuleType) -> None:
    with pytest.raises(ValueError, match=r"precision is 'int4'; this bundle has \['fp32', 'int8'\]"):
        wrapper.LAMEncoder(unpacked, precision="int4")
    with pytest.raises(ValueError, match="runs on 'cpu'"):
        wrapper.LAMEncoder(unpacked, device="cuda")


def rewritten(unpacked: Path, folder: Path, **changes: Any) -> Path:
    shutil.copytree(unpacked, folder)
    config = json.loads((folder / "lam_config.json").read_text(encoding="utf-8"))
    (folder / "lam_config.json").write_text(json.dumps({**config, **changes}), encoding="utf-8")
    return folder


def test_an_old_onnxruntime_is_named(unpacked: Path, wrapper: ModuleType, tmp_path: Path) -> None:
    folder = rewritten(unpacked, tmp_path / "bundle", onnxruntime=">=999.0")
    with pytest.raises(wrapper.BundleError, match=r"this bundle needs 999\.0 or newer"):
        wrapper.LAMEncoder(folder)


def test_an_onnxruntime_that_computes_otherwise_is_refused(unpacked: Path, wrapper: ModuleType, tmp_path: Path) -> None:
    probe = json.loads((unpacked / "lam_config.json").read_text(encoding="utf-8"))["probe"]
    turned = {**probe, "vector": probe["vector"][::-1]}
    with pytest.raises(wrapper.BundleError, match="computes other vectors"):
        wrapper.LAMEncoder(rewritten(unpacked, tmp_path / "bundle", probe=turned))


def test_an_onnxruntime_without_the_operator_is_explained(unpacked: Path, wrapper: ModuleType, tmp_path: Path) -> None:
    folder = rewritten(unpacked, tmp_path / "bundle")
    graph = folder / "model_int8.onnx"
    graph.write_bytes(graph.read_bytes().replace(b"LinearAttention", b"LinearAttentioM"))
    with pytest.raises(wrapper.BundleError, match=r"cannot run model_int8\.onnx.*contributed operators"):
        wrapper.LAMEncoder(folder, verify=False)


@pytest.mark.skipif(
    not Path("/proc/self/task").is_dir() or (os.cpu_count() or 1) < 2, reason="needs Linux and two cores"
)
def test_it_keeps_to_the_cores_it_was_given(unpacked: Path) -> None:
    core = min(os.sched_getaffinity(0))
    program = (
        f"import os, sys; os.sched_setaffinity(0, {{{core}}}); sys.path.insert(0, {str(unpacked)!r})\n"
        f"from lam_wrapper import LAMEncoder; encoder = LAMEncoder({str(unpacked)!r}); encoder.encode(['a'] * 64)\n"
        "print({core for task in os.listdir('/proc/self/task') for core in os.sched_getaffinity(int(task))})"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == f"{{{core}}}"
