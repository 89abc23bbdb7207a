"""Passages read from a stream that is put down and taken up, beside the same passages read in one go."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from lam_backend.in_context import encode_in_context
from lam_backend.model import DeltaNet6Layer
from maas.embedders.lam_family import LamFamilyEmbedder
from maas.embedders.passages import PassageEmbedder, SeparateReader, StreamReader, passage_reader
from tests.fakes import FakeEmbedder
from tests.lam.test_model import words

PASSAGES = [words(n, n) for n in (3, 0, 9, 1, 14, 70, 2, 30, 31, 5, 5, 5)]


@pytest.mark.parametrize("face", ["torch", "packaged"])
@pytest.mark.parametrize("step", [1, 5, 100])
def test_a_reader_taken_up_anywhere_gives_the_vectors_of_one_pass(
    model: DeltaNet6Layer, encoder: Any, face: str, step: int
) -> None:
    chosen = model if face == "torch" else encoder
    state, found, given = b"", [], 0
    while given < len(PASSAGES):
        reader = StreamReader(chosen, state)
        found += list(reader.read(PASSAGES[given : given + step]))
        given += step
        assert reader.pending == min(given, len(PASSAGES)) - len(found)
        state = reader.state()
    found += list(StreamReader(chosen, state).finish())
    np.testing.assert_allclose(np.array(found), encode_in_context(model, PASSAGES, None), atol=2e-5)


def test_a_state_has_one_size_however_much_was_read(model: DeltaNet6Layer) -> None:
    reader, sizes = StreamReader(model), []
    for _ in range(3):
        reader.read([words(31, 31)] * 20)
        sizes.append(len(reader.state()))
    assert max(sizes) < 1.5 * min(sizes)


@pytest.mark.parametrize("state", [b"nonsense", b"PK\x03\x04"])
def test_a_broken_state_is_refused(model: DeltaNet6Layer, state: bytes) -> None:
    with pytest.raises(ValueError, match="state"):
        StreamReader(model, state)


def test_the_best_reader_is_found_through_what_wraps_the_embedder(model: DeltaNet6Layer) -> None:
    class Wrapped(FakeEmbedder):
        inner = LamFamilyEmbedder(model)

    assert isinstance(Wrapped.inner, PassageEmbedder)
    assert isinstance(passage_reader(Wrapped(), None), StreamReader)
    assert isinstance(passage_reader(FakeEmbedder(), None), SeparateReader)
