"""DeltaNet6Layer through its public doors: encode, long text, streams, checkpoints, bad input."""

from __future__ import annotations

import hashlib
import json
import pickle
import random
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from lam_backend import DeltaNet6Layer, DeltaNet6LayerWorldClass, LAMConfig
from lam_backend.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from lam_backend.tokenizer import pieces
from tests.lam.conftest import TINY, WORDS, restless

FORMS = [
    {},
    {"memory": "pair"},
    {"memory": "pair", "conv": True},
    {"conv": True, "gate_rank": 4},
    {"flux": False},
    {"backward": False},
    {"levels": "fast"},
    {"levels": "slow"},
]


def words(count: int, seed: int = 0) -> str:
    return " ".join(random.Random(seed).choices(WORDS, k=count))


def test_two_names_are_one_class() -> None:
    assert DeltaNet6LayerWorldClass is DeltaNet6Layer


def test_shapes_as_sentence_transformer_has_them(tiny: DeltaNet6Layer) -> None:
    one, many, none = tiny.encode("the cat"), tiny.encode(["the cat", "a dog"]), tiny.encode([])
    assert (one.shape, many.shape, none.shape) == ((32,), (2, 32), (0, 32))
    assert one.dtype == many.dtype == none.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(many, axis=1), 1, atol=1e-6)
    tensor = tiny.encode(["the cat"], convert_to_tensor=True)
    assert isinstance(tensor, torch.Tensor)
    assert tensor.shape == (1, 32)
    listed = tiny.encode(["the cat"], convert_to_numpy=False)
    assert isinstance(listed, list)
    assert isinstance(listed[0], torch.Tensor)
    plain = tiny.encode("the cat", normalize_embeddings=False)
    np.testing.assert_allclose(plain / np.linalg.norm(plain), one, atol=1e-6)


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_batch_padding_and_order_do_not_change_a_vector(base: Path, form: dict[str, object]) -> None:
    model = restless(DeltaNet6Layer.untrained(base, {**TINY.to_dict(), **form}))
    texts = [words(n, n) for n in (1, 3, 7, 30, 31, 33, 64, 150, 2, 12)]
    alone = np.stack([model.encode(text) for text in texts])
    for size in (1, 3, 32):
        np.testing.assert_allclose(model.encode(texts, batch_size=size), alone, atol=1e-5)


@given(seed=st.integers(0, 10_000), cuts=st.lists(st.integers(0, 200), max_size=6))
@settings(max_examples=25, deadline=None)
def test_a_stream_equals_one_shot_however_it_is_cut(tiny: DeltaNet6Layer, seed: int, cuts: list[int]) -> None:
    tokens = random.Random(seed).choices(WORDS, k=seed % 170)
    stream = tiny.stream()
    bounds = [0, *sorted(min(cut, len(tokens)) for cut in cuts), len(tokens)]
    for start, end in pairwise(bounds):
        stream.append(" ".join(tokens[start:end]))
        resumed = tiny.stream()
        resumed.load_state_dict(stream.state_dict())
        stream = resumed
    np.testing.assert_allclose(stream.vector, tiny.encode(" ".join(tokens)), atol=1e-5)


def test_asking_for_the_vector_does_not_disturb_the_stream(tiny: DeltaNet6Layer) -> None:
    asked, silent = tiny.stream(), tiny.stream()
    for part in (words(20), words(30, 1), words(25, 2)):
        asked.append(part)
        silent.append(part)
        np.testing.assert_array_equal(asked.vector, asked.vector)
    np.testing.assert_array_equal(asked.vector, silent.vector)


def test_state_does_not_grow(tiny: DeltaNet6Layer) -> None:
    sizes = []
    stream = tiny.stream()
    for _ in range(4):
        stream.append(words(320))
        sizes.append(sum(array.nbytes for key, array in stream.state_dict().items() if key != "open_ids"))
    assert len(set(sizes)) == 1


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("model", np.frombuffer(b"other:384:mean:0", np.uint8), "of the model 'other:384:mean:0'"),
        ("memory", np.zeros((1, 2)), "shape"),
        ("memory", np.full((2, 4, 8, 8), np.nan), "finite"),
        ("count", np.array([31]), "multiple of 32"),
        ("count", np.array(["0"]), "multiple of 32"),
        ("open_ids", np.array([0.5]), "open_ids"),
        ("open_ids", np.array([10**6]), "open_ids"),
        ("open_ids", np.arange(40), "open_ids"),
    ],
)
def test_a_corrupt_state_is_refused(tiny: DeltaNet6Layer, key: str, value: np.ndarray, says: str) -> None:
    stream = tiny.stream()
    stream.append(words(100))
    before = stream.vector
    with pytest.raises(ValueError, match=says):
        stream.load_state_dict({**stream.state_dict(), key: value})
    with pytest.raises(ValueError, match="keys"):
        stream.load_state_dict({"memory": stream.state_dict()["memory"]})
    np.testing.assert_array_equal(stream.vector, before)


def test_a_saved_state_stays_as_it_was(tiny: DeltaNet6Layer) -> None:
    stream = tiny.stream()
    stream.append(words(100))
    saved, then = stream.state_dict(), stream.vector
    stream.append(words(100, seed=1))
    resumed = tiny.stream()
    resumed.load_state_dict(saved)
    np.testing.assert_allclose(resumed.vector, then, atol=1e-6)


def test_a_state_that_never_began_is_refused(tiny: DeltaNet6Layer) -> None:
    stream = tiny.stream()
    with pytest.raises(ValueError, match="open_ids"):
        stream.load_state_dict({**stream.state_dict(), "open_ids": np.array([], dtype=np.int64)})


def test_long_text_without_blanks_is_cut_between_words() -> None:
    text = "\t".join(["hello"] * 20_000)
    assert all(piece.strip() and set(piece.split()) == {"hello"} for _, piece in pieces(text))


def test_encode_long_covers_the_text_with_passages(tiny: DeltaNet6Layer) -> None:
    text = words(300)
    found = tiny.encode_long(text, passage_tokens=10)
    np.testing.assert_allclose(found.vector, tiny.encode(text), atol=1e-5)
    assert found.passages[0].start == 0
    assert found.passages[-1].end == len(text)
    for before, after in pairwise(found.passages):
        assert text[before.end : after.start].strip() == ""
    assert all(abs(np.linalg.norm(passage.vector) - 1) < 1e-5 for passage in found.passages)
    with pytest.raises(ValueError, match="passage_tokens is 0"):
        tiny.encode_long(text, passage_tokens=0)


def test_a_passage_has_read_what_came_before_it(tiny: DeltaNet6Layer) -> None:
    tail = words(20, 5)
    vectors = [tiny.encode_long(f"{words(70, seed)} {tail}", 10).passages[-1].vector for seed in (1, 2)]
    assert np.abs(vectors[0] - vectors[1]).max() > 1e-3


ODD = {
    "empty": "",
    "blank": " ",
    "nul": "\x00",
    "unknown tokens only": "☃☃☃ ☃",
    "no space": "a" * 200_000,
    "nul inside": "the\x00cat",
    "long": words(9000),
}


@pytest.mark.parametrize("text", ODD.values(), ids=ODD.keys())
def test_odd_text_has_a_vector(tiny: DeltaNet6Layer, text: str) -> None:
    vector = tiny.encode(text)
    assert np.isfinite(vector).all()
    assert abs(np.linalg.norm(vector) - 1) < 1e-5


def test_input_of_another_kind_is_named(tiny: DeltaNet6Layer) -> None:
    with pytest.raises(TypeError, match=r"sentences\[1\] is a int"):
        tiny.encode(["the cat", 3])  # type: ignore[list-item]
    with pytest.raises(ValueError, match="batch_size is 0"):
        tiny.encode(["the cat"], batch_size=0)
    with pytest.raises(TypeError, match="text is a bytes; expected str"):
        tiny.stream().append(b"bytes")  # type: ignore[arg-type]


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
def test_half_a_surrogate_pair_is_named(tiny: DeltaNet6Layer, read: Callable[[Any], Any], place: str) -> None:
    with pytest.raises(ValueError, match=f"{place} holds a lone surrogate at position 1"):
        read(tiny)


def test_a_checkpoint_comes_back_as_it_was(tiny: DeltaNet6Layer, base: Path, tmp_path: Path) -> None:
    file = tmp_path / "saved" / "model.safetensors"
    save_checkpoint(file, tiny.trained_state(), tiny.config, "tiny")
    for path in (file, file.parent):
        again = DeltaNet6Layer(base, path, {"d_model": 32, "num_heads": 4, "num_layers": 2})
        np.testing.assert_array_equal(again.encode("the cat sat"), tiny.encode("the cat sat"))
    assert again.fingerprint.startswith("tiny:32:mean:")
    save_checkpoint(file, tiny.trained_state(), tiny.config, "tiny", torch.bfloat16)
    rounded = DeltaNet6Layer(base, file)
    assert float(rounded.encode("the cat sat") @ tiny.encode("the cat sat")) > 0.999
    assert rounded.fingerprint != again.fingerprint


def test_the_same_weights_have_the_same_fingerprint(tiny: DeltaNet6Layer, tmp_path: Path) -> None:
    files = [tmp_path / str(copy) / "model.safetensors" for copy in range(8)]
    for file in files:
        save_checkpoint(file, tiny.trained_state(), tiny.config, 'a "tiny" Ü')
    assert len({file.read_bytes() for file in files}) == 1
    assert len({load_checkpoint(file).fingerprint for file in files}) == 1
    assert load_checkpoint(files[0]).name == 'a "tiny" Ü'


def test_a_wrong_checkpoint_is_refused_by_its_first_mismatch(tiny: DeltaNet6Layer, base: Path, tmp_path: Path) -> None:
    state, file = tiny.trained_state(), tmp_path / "model.safetensors"
    first = next(iter(state))
    save_checkpoint(file, {**state, first: torch.zeros(3)}, tiny.config, "tiny")
    with pytest.raises(ValueError, match=rf"{first} has the shape \(3,\)"):
        DeltaNet6Layer(base, file)
    save_checkpoint(file, {name: t for name, t in state.items() if name != first}, tiny.config, "tiny")
    with pytest.raises(ValueError, match=f"lacks the tensor {first}"):
        DeltaNet6Layer(base, file)
    save_checkpoint(file, {**state, "extra.weight": torch.zeros(3)}, tiny.config, "tiny")
    with pytest.raises(ValueError, match=r"unknown tensor extra\.weight"):
        DeltaNet6Layer(base, file)
    save_checkpoint(file, state, tiny.config, "tiny")
    with pytest.raises(ValueError, match="num_heads=4, the config asks for 2"):
        DeltaNet6Layer(base, file, {"num_heads": 2})
    with pytest.raises(ValueError, match="unknown config keys"):
        DeltaNet6Layer(base, file, {"heads": 2})
    save_file(state, str(file), metadata={"lam_config": "[1]"})
    with pytest.raises(ValueError, match=f"header of {file} fits no LAM"):
        DeltaNet6Layer(base, file)
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(ValueError, match="no intact safetensors"):
        DeltaNet6Layer(base, file)
    file.write_bytes(pickle.dumps({"weights": 1}))
    with pytest.raises(ValueError, match="no intact safetensors"):
        DeltaNet6Layer(base, file)
    save_checkpoint(file, state, tiny.config, "tiny")
    with pytest.raises(FileNotFoundError, match="no checkpoint at"):
        DeltaNet6Layer(base, tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match=r"model\.safetensors is missing"):
        DeltaNet6Layer(tmp_path / "nowhere", file)


def test_a_release_is_not_read_on_another_base(tiny: DeltaNet6Layer, base: Path, tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "model.safetensors", tiny.trained_state(), tiny.config, "tiny")
    hashes = {name: hashlib.sha256((base / name).read_bytes()).hexdigest() for name in ("tokenizer.json",)}
    described = tmp_path / "config.json"
    described.write_text(json.dumps({"base_sha256": hashes}), encoding="utf-8")
    DeltaNet6Layer(base, tmp_path)
    described.write_text(json.dumps({"base_sha256": {"tokenizer.json": "0" * 64}}), encoding="utf-8")
    with pytest.raises(ValueError, match=f"was trained on {'0' * 64}"):
        DeltaNet6Layer(base, tmp_path)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"num_heads": 0}, "num_heads is 0; expected a whole number of at least 1"),
        ({"d_model": "384"}, "d_model is '384'; expected a whole number"),
        ({"num_heads": 12.0}, "num_heads is 12.0; expected a whole number"),
        ({"gate_rank": -1}, "gate_rank is -1; expected a whole number of at least 0"),
        ({"memory": "three"}, "memory is 'three'; expected one of ladder, pair"),
        ({"flux": "no"}, "flux is 'no'; expected true or false"),
        ({"num_heads": 7}, "d_model 384 is not divisible by num_heads 7"),
    ],
)
def test_a_config_of_no_model_is_refused(values: dict[str, object], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        LAMConfig.from_dict(values)


def test_a_config_that_does_not_fit_the_base_is_refused(base: Path) -> None:
    with pytest.raises(ValueError, match="32 wide, the config says d_model 64"):
        DeltaNet6Layer.untrained(base, LAMConfig(d_model=64, num_heads=4, num_layers=2))


def test_training_under_autocast_has_finite_gradients(base: Path) -> None:
    model = DeltaNet6Layer.untrained(base, TINY)
    tokens, mask = model.padded([[2, *range(8, 30), 3], [2, 3]])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        vectors, _ = model.embed(tokens, mask)
    (vectors @ vectors.T).sum().backward()
    for name, parameter in model.trained_state().items():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
    assert all(not parameter.requires_grad for parameter in model.embeddings.parameters())


def test_a_config_must_agree_with_the_checkpoint() -> None:
    released = Checkpoint(Path("lam"), "lam", LAMConfig(), {}, "0" * 64)
    shape = {"d_model": 384, "num_heads": 12, "num_layers": 6}
    assert released.agreeing_config(shape) == released.agreeing_config(None) == LAMConfig()
    for asked in ({"num_heads": 6}, {**shape, "num_heads": 4}, LAMConfig(num_heads=6)):
        with pytest.raises(ValueError, match="trained with num_heads=12"):
            released.agreeing_config(asked)
    with pytest.raises(ValueError, match="trained with num_layers=6, the config asks for 12"):
        released.agreeing_config({**shape, "num_layers": 12})
