"""Units of a text that have read the units around them, on both faces of the model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from lam_backend.in_context import encode_in_context
from lam_backend.model import DeltaNet6Layer
from lam_backend.packaging.lam_runtime.in_context import packed
from tests.lam.test_model import words

InContext = Callable[..., np.ndarray]
UNITS = ["the cat", "", "sat on", "the mat and then", "ran home"]


@pytest.fixture(params=["torch", "packaged"])
def in_context(request: pytest.FixtureRequest, model: DeltaNet6Layer, encoder: Any) -> InContext:
    return model.encode_in_context if request.param == "torch" else encoder.encode_in_context


@pytest.mark.parametrize("window", [3, 16, 32, None])
def test_both_faces_agree(model: DeltaNet6Layer, encoder: Any, small_encoder: Any, window: int | None) -> None:
    units = [words(n, n) for n in (3, 0, 9, 1, 14, 70, 2, 30, 31, 5, 5, 5)]
    expected = encode_in_context(model, units, window)
    assert (expected.shape, expected.dtype) == ((12, 32), np.float32)
    np.testing.assert_allclose(encoder.encode_in_context(units, window), expected, atol=2e-5)
    assert (small_encoder.encode_in_context(units, window) * expected).sum(axis=1).min() > 0.98


def test_a_unit_alone_in_its_window_has_the_mean_of_its_tokens(model: DeltaNet6Layer, in_context: InContext) -> None:
    text = "the cat sat on the mat"
    ids = model.tokenizer.wrapped(model.tokenizer.ids([text])[0])
    hidden, _ = model(*model.padded([ids]))
    expected = hidden[-1][0, 1:-1].mean(0).detach().numpy()
    expected /= np.linalg.norm(expected)
    for window in (len(ids), None):
        np.testing.assert_allclose(in_context([text], window)[0], expected, atol=2e-5)


def test_windows_and_stream_agree_while_one_pass_holds_everything(model: DeltaNet6Layer, in_context: InContext) -> None:
    window, stream = in_context(UNITS, 32), in_context(UNITS, None)
    np.testing.assert_allclose(window, stream, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(window, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(window[1], model.encode(""), atol=2e-5)
    alone = in_context(UNITS, 3)  # no room for company
    assert np.abs(alone - window).max() > 1e-3
    moved = in_context(UNITS[::-1], 32)[::-1]
    assert np.abs(moved - window).max() > 1e-3


def test_a_streamed_unit_has_read_what_came_segments_before(in_context: InContext) -> None:
    filler = [words(6, n) for n in range(12)]
    first = in_context(["the bird", *filler, "it saw home"], None)
    second = in_context(["dog dog", *filler, "it saw home"], None)
    assert np.abs(first[-1] - second[-1]).max() > 1e-6


def test_a_unit_longer_than_a_segment_is_read_to_its_end(in_context: InContext) -> None:
    long = words(100)
    found = in_context([long, "the cat"], 16)
    assert np.abs(in_context([long + " sea", "the cat"], 16)[0] - found[0]).max() > 1e-6
    np.testing.assert_allclose(found[1], in_context(["the cat"], 16)[0], atol=1e-5)


def test_no_units_no_vectors(in_context: InContext) -> None:
    for window in (16, None):
        assert in_context([], window).shape == (0, 32)


@pytest.mark.parametrize(
    ("units", "window", "error", "says"),
    [
        (["the cat"], 33, ValueError, "window is 33; expected 3 to 32 tokens, or None"),
        (["the cat"], 2, ValueError, "window is 2; expected 3"),
        (["the cat", 7], 16, TypeError, r"units\[1\] is a int; expected str"),
        ("the cat", 16, TypeError, "takes a list of units, found one str"),
    ],
)
def test_bad_input(in_context: InContext, units: Any, window: int, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        in_context(units, window)


def test_packing_keeps_order_and_capacity() -> None:
    units = [[0] * size for size in (3, 3, 9, 1, 0, 4, 2)]
    assert list(packed(units, 6)) == [[0, 1], [2], [3, 4, 5], [6]]
