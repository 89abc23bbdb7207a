"""The pure parts of recall: analysis, BM25, fusion."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maas.recall.analysis import MAX_TERM_LENGTH, document_terms, query_terms
from maas.recall.fusion import dense_scores, fuse, lexical_scores
from maas.recall.lexical import K1, B, bm25


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("Running, runs; RAN", ["run", "run", "ran"]),
        ("Caroline's naïve Café", ["carolin", "naiv", "cafe"]),
        ("don't", ["dont"]),
        ("snake_case e-mail 3.5", ["snake", "case", "e", "mail", "3", "5"]),
        ("日本語", ["日", "本", "語", "日本", "本語"]),
        ("ＡＢＣ １２", ["abc", "12"]),
        ("Straße", ["strass"]),
        ("हिन्दी", ["हिन्दी"]),
        ("🎉", ["🎉"]),
        ("", []),
    ],
)
def test_document_terms(text: str, terms: list[str]) -> None:
    assert document_terms(text) == terms


def test_stop_words_are_dropped_unless_nothing_else_is_said() -> None:
    assert query_terms("what is the weather in the Alps") == ["weather", "alp"]
    assert query_terms("who are you") == ["who", "are", "you"]
    assert query_terms("猫") == ["猫"]
    assert query_terms("日本語") == ["日本", "本語"]


@given(st.text())
def test_terms_fit_the_index(text: str) -> None:
    for term in document_terms(text):
        assert 0 < len(term) <= MAX_TERM_LENGTH
        assert not any(c.isspace() or (c.isascii() and not c.isalnum()) for c in term)
        assert not any("A" <= c <= "Z" for c in term)
    assert set(query_terms(text)) <= set(document_terms(text))


documents = st.lists(st.lists(st.sampled_from("abcd"), min_size=1, max_size=6), min_size=1, max_size=8)


@given(documents, st.lists(st.sampled_from("abcde"), min_size=1, max_size=4, unique=True))
def test_bm25_equals_the_formula(docs: list[list[str]], query: list[str]) -> None:
    postings = [np.array([i for i, doc in enumerate(docs) for word in doc if word == term], np.int64) for term in query]
    lengths = np.array([len(doc) for doc in docs], np.float64)
    found, scores, ceiling = bm25(postings, len(docs), int(lengths.sum()), lambda seqs: lengths[seqs])
    average, expected = lengths.sum() / len(docs), {}
    for i, doc in enumerate(docs):
        total = 0.0
        for term in query:
            holders = sum(term in other for other in docs)
            idf = math.log(1 + (len(docs) - holders + 0.5) / (holders + 0.5))
            frequency = doc.count(term)
            total += idf * frequency * (K1 + 1) / (frequency + K1 * (1 - B + B * len(doc) / average))
        if any(term in doc for term in query):
            expected[i] = total
    assert found.tolist() == sorted(expected)
    assert scores.tolist() == pytest.approx([expected[i] for i in found.tolist()])
    assert all(score <= ceiling for score in scores)


def test_scores_are_shares() -> None:
    cosines = np.array([-1, 0.5, 1.01, np.nan])
    assert dense_scores(cosines).tolist() == [0, 0.5, 1, 0]
    assert lexical_scores(np.array([1.0, 2.0]), 4.0).tolist() == [0.25, 0.5]
    assert lexical_scores(np.array([1.0]), 0.0).tolist() == [0]
    assert fuse(np.ones(1), np.ones(1)).tolist() == pytest.approx([1])
