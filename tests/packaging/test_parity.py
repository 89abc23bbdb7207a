"""Both faces give the same vectors: any length, any batch, streams, states of one taken up by the other."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from lam_backend.config import LAMConfig
from lam_backend.model import DeltaNet6Layer
from lam_backend.packaging.export_onnx import export
from lam_backend.packaging.linear import Float32
from tests.lam.conftest import TINY, restless
from tests.lam.test_model import ODD, words
from tests.packaging.graphs import session_of

LENGTHS = (0, 1, 2, 3, 7, 29, 30, 31, 32, 33, 61, 62, 63, 64, 65, 150)
TEXTS = [words(n, n) for n in LENGTHS]


def least_cosine(first: np.ndarray, second: np.ndarray) -> float:
    return float((first * second).sum(axis=1).min())


@pytest.mark.parametrize("batch_size", [1, 3, 32])
def test_fp32_equals_the_torch_model(model: DeltaNet6Layer, encoder: Any, batch_size: int) -> None:
    np.testing.assert_allclose(encoder.encode(TEXTS, batch_size=batch_size), model.encode(TEXTS), atol=2e-5)


def test_int8_is_close_and_not_the_same(model: DeltaNet6Layer, small_encoder: Any) -> None:
    exact, found = model.encode(TEXTS), small_encoder.encode(TEXTS)
    assert least_cosine(exact, found) > 0.99
    assert np.abs(exact - found).max() > 1e-5


def test_a_vector_does_not_depend_on_its_batch(encoder: Any, small_encoder: Any) -> None:
    for face in (encoder, small_encoder):
        alone = np.stack([face.encode(text) for text in TEXTS])
        for size in (2, 5, 32):
            np.testing.assert_allclose(face.encode(TEXTS, batch_size=size), alone, atol=1e-5)


@pytest.mark.parametrize("text", ODD.values(), ids=ODD.keys())
def test_odd_texts(model: DeltaNet6Layer, encoder: Any, text: str) -> None:
    np.testing.assert_allclose(encoder.encode(text), model.encode(text), atol=2e-5)


def test_streams_agree_and_take_up_each_others_states(model: DeltaNet6Layer, encoder: Any) -> None:
    ours, theirs = encoder.stream(), model.stream()
    for seed, count in enumerate((3, 40, 1, 70, 20)):
        ours.append(words(count, seed))
        theirs.append(words(count, seed))
        assert ours.tokens == theirs.tokens
        np.testing.assert_allclose(ours.vector, theirs.vector, atol=2e-5)
        crossed, back = encoder.stream(), model.stream()
        crossed.load_state_dict(theirs.state_dict())
        back.load_state_dict(ours.state_dict())
        ours, theirs = crossed, back


@pytest.mark.parametrize("face", ["encoder", "small_encoder"])
def test_a_stream_equals_one_shot(face: str, request: pytest.FixtureRequest) -> None:
    chosen = request.getfixturevalue(face)
    parts = [words(n, n) for n in (5, 31, 32, 64, 3)]
    stream = chosen.stream()
    for part in parts:
        stream.append(part)
    np.testing.assert_allclose(stream.vector, chosen.encode(" ".join(parts)), atol=1e-5)


def test_passages_agree(model: DeltaNet6Layer, encoder: Any) -> None:
    text = words(200)
    ours, theirs = encoder.encode_long(text, 10), model.encode_long(text, 10)
    np.testing.assert_allclose(ours.vector, theirs.vector, atol=2e-5)
    assert ours.tokens == theirs.tokens
    assert [(p.start, p.end) for p in ours.passages] == [(p.start, p.end) for p in theirs.passages]
    for mine, other in zip(ours.passages, theirs.passages, strict=True):
        np.testing.assert_allclose(mine.vector, other.vector, atol=2e-5)


@pytest.mark.parametrize(
    "form",
    [
        {},
        {"flux": False},
        {"backward": False},
        {"gate_rank": 0},
        {"flux": False, "backward": False},
        {"levels": "slow"},
    ],
    ids=str,
)
def test_every_form_with_a_graph_has_the_right_one(base: Any, form: dict[str, Any]) -> None:
    trained = restless(DeltaNet6Layer.untrained(base, LAMConfig.from_dict({**TINY.to_dict(), **form})))
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(4, trained.vocabulary, (3, 32), generator=generator)
    mask = torch.arange(32)[None] < torch.tensor([[32], [17], [1]])
    states = [torch.randn(3, 4, 8, 8, generator=generator) * 0.1 for _ in range(2)]
    with torch.inference_mode():
        hidden, after = trained(ids, mask, states)
    directions = 2 if trained.config.backward else 1
    feed = {"ids": ids.numpy(), "mask": mask.float().numpy()}
    for layer, state in enumerate(states):
        feed[f"s{layer}"] = np.zeros((3 * directions, 4, 8, 8), dtype=np.float32)
        feed[f"s{layer}"][::directions] = state.numpy()
    found = session_of(export(trained, Float32)).run(["sum", "tokens", "r0", "r1"], feed)
    keep = mask[..., None].float()
    np.testing.assert_allclose(found[0], (hidden[-1] * keep).sum(1), atol=1e-4)
    np.testing.assert_allclose(found[1] * keep.numpy(), hidden[-1] * keep, atol=2e-5)
    for mine, other in zip(found[2:], after, strict=True):
        np.testing.assert_allclose(mine[0], other[0], atol=2e-5)  # a padded text has ended: no one reads its memory


@pytest.mark.parametrize("form", [{"memory": "pair"}, {"conv": True}], ids=str)
def test_other_forms_are_refused(base: Any, form: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="has no graph"):
        export(DeltaNet6Layer.untrained(base, {**TINY.to_dict(), **form}), Float32)
