"""The words a memory was found by are marked, and nothing of its text is lost or made up."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maas.recall.highlights import excerpt, found_spans
from maas.ui.changes import changed
from maas.ui.explaining import WIDTH, bars


def marked(text: str, question: str) -> list[str]:
    return [text[start:end] for start, end in found_spans(text, question)]


@pytest.mark.parametrize(
    ("text", "question", "words"),
    [
        ("She plays; they played, a player", "play", ["plays", "played"]),
        ("Where the key is", "where is the key?", ["key"]),
        ("Amália’s CAFÉ", "cafe of Amalia's", ["Amália’s", "CAFÉ"]),
        ("私は東京に住んでいます", "東京", ["東京"]),
        ("nothing of it", "boat", []),
    ],
)
def test_words_are_found_as_the_index_finds_them(text: str, question: str, words: list[str]) -> None:
    assert marked(text, question) == words


@given(st.text(max_size=300), st.text(max_size=20), st.integers(20, 120))
def test_an_excerpt_is_a_part_of_the_text(text: str, question: str, width: int) -> None:
    found = excerpt(text, question, width)
    shown = "".join(part.text for part in found.fragments)
    assert shown in text
    assert len(shown) <= width
    assert text.startswith(shown) or found.cut_before
    assert text.endswith(shown) or found.cut_after
    spans = found_spans(text, question)
    assert all(start < end for start, end in spans)
    assert all(first[1] <= second[0] for first, second in itertools.pairwise(spans))


def test_an_excerpt_of_a_long_text_shows_where_it_was_found() -> None:
    text = "filler words stand here " * 200 + "the boat is red and the boat is old " + "more words follow " * 200
    found = excerpt(text, "red boat", 120)
    assert [part.text for part in found.fragments if part.found] == ["boat", "red", "boat"]
    assert found.cut_before
    assert found.cut_after


@given(st.text(alphabet="ab \n", max_size=40), st.text(alphabet="ab \n", max_size=40))
def test_changes_hold_both_versions(before: str, after: str) -> None:
    pieces = changed(before, after)
    assert "".join(piece.text for piece in pieces if piece.kind != "gone") == after
    assert "".join(piece.text for piece in pieces if piece.kind != "new") == before


@given(st.dictionaries(st.sampled_from(["dense", "lexical", "prior", "new part"]), st.floats(-50, 50)))
def test_bars_stay_in_their_drawing(explain: dict[str, float]) -> None:
    drawn = bars(explain)
    assert all(-WIDTH - 1e-9 <= bar.x <= bar.x + bar.width <= WIDTH + 1e-9 for bar in drawn)
    assert [bar.value for bar in drawn] == sorted((v for v in explain.values() if abs(v) >= 0.005), reverse=True)


@pytest.mark.timeout(20)
def test_texts_of_one_word_again_and_again_are_quick() -> None:
    assert excerpt("harbour " * 20_000, "harbour").fragments
    now = "x\n" * 1_000
    assert "".join(piece.text for piece in changed("x " * 1_000, now) if piece.kind != "gone") == now
    assert found_spans("東" * 20_000, "東東")
