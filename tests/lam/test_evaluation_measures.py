"""The measures of the evaluation against other implementations of them."""

from __future__ import annotations

import time
from itertools import pairwise

import numpy as np
import pytest
import pytrec_eval
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.stats import pearsonr, spearmanr

from lam_backend.evaluation.bm25 import BM25, K1, B, terms
from lam_backend.evaluation.bootstrap import _draws, interval, resampled
from lam_backend.evaluation.ranking import measures, percent, top

TREC = {"ndcg@10": "ndcg_cut_10", "mean@5": "recall_5", "mean@10": "recall_10", "any@5": "success_5"}


@given(seed=st.integers(0, 100_000), queries=st.integers(1, 6), documents=st.integers(1, 40))
@settings(max_examples=60, deadline=None)
def test_measures_agree_with_trec_eval(seed: int, queries: int, documents: int) -> None:
    generator = np.random.default_rng(seed)
    similarity = generator.normal(size=(queries, documents))  # no ties: trec_eval breaks them by name
    relevant = []
    for _ in range(queries):
        chosen = generator.choice(documents, size=generator.integers(1, documents + 1), replace=False)
        relevant.append({int(doc): float(generator.integers(1, 5)) for doc in chosen})
    found = measures(top(similarity, 10), relevant, [*TREC, "mrr@10"])
    qrels = {f"q{q}": {f"d{d}": int(grade) for d, grade in grades.items()} for q, grades in enumerate(relevant)}
    run = {f"q{q}": {f"d{d}": float(similarity[q, d]) for d in range(documents)} for q in range(queries)}
    evaluator = pytrec_eval.RelevanceEvaluator(qrels, {"ndcg_cut.10", "recall.5,10", "success.5", "recip_rank"})
    expected = evaluator.evaluate(run)
    for ours, theirs in TREC.items():
        np.testing.assert_allclose(found[ours], [expected[f"q{q}"][theirs] for q in range(queries)], atol=1e-6)
    ranks = np.array([expected[f"q{q}"]["recip_rank"] for q in range(queries)])
    np.testing.assert_allclose(found["mrr@10"], np.where(ranks > 0.0999, ranks, 0), atol=1e-6)


def test_equal_scores_keep_the_order_of_documents() -> None:
    np.testing.assert_array_equal(top(np.array([[1.0, 2.0, 2.0, 1.0]]), 3), [[1, 2, 0]])


def test_a_query_without_relevant_documents_is_refused() -> None:
    with pytest.raises(ValueError, match="query 1 has the grades {}"):
        measures(np.zeros((2, 1), dtype=np.intp), [{0: 1.0}, {}], ["ndcg@10"])
    with pytest.raises(ValueError, match="known are mean@k"):
        measures(np.zeros((1, 1), dtype=np.intp), [{0: 1.0}], ["map@10"])


def test_percent_is_the_mean() -> None:
    assert percent(np.array([0.0, 1.0, 0.5, 0.5])) == 50.0


@given(seed=st.integers(0, 10_000), n=st.integers(5, 60), levels=st.integers(2, 50))
@example(seed=200, n=6, levels=2)
@settings(max_examples=30, deadline=None)
def test_each_resample_has_the_correlations_scipy_gives_it(seed: int, n: int, levels: int) -> None:
    generator = np.random.default_rng(seed)
    y = generator.integers(levels, size=n).astype(float)  # gold scores tie often
    x = np.round(y + generator.normal(size=n), 1)
    pearson, spearman = resampled(x, y, 7, seed)
    for row, counts in enumerate(next(_draws(n, 7, seed))):
        drawn = np.repeat(np.arange(n), counts.astype(int))
        if len(set(x[drawn])) > 1 and len(set(y[drawn])) > 1:
            assert pearson[row] == pytest.approx(pearsonr(x[drawn], y[drawn])[0], abs=1e-6)
            assert spearman[row] == pytest.approx(spearmanr(x[drawn], y[drawn])[0], abs=1e-6)
        else:
            assert pearson[row] == 0


def test_the_interval_holds_the_value_narrows_with_more_pairs_and_repeats() -> None:
    generator = np.random.default_rng(3)
    widths = []
    for n in (50, 200, 800):
        y = generator.normal(size=n)
        x = y + generator.normal(size=n)
        pearson, _ = resampled(x, y, 2000, seed=1)
        low, high = interval(pearson)
        assert low < pearsonr(x, y)[0] < high
        widths.append(high - low)
        np.testing.assert_array_equal(pearson, resampled(x, y, 2000, seed=1)[0])
    assert all(wide > narrow for wide, narrow in pairwise(widths))


def test_ten_thousand_resamples_of_stsb_take_seconds() -> None:
    generator = np.random.default_rng(0)
    start = time.perf_counter()
    pearson, spearman = resampled(generator.normal(size=1500), generator.integers(26, size=1500) / 5.0)
    assert len(pearson) == len(spearman) == 10_000
    assert time.perf_counter() - start < 30


def test_bm25_is_its_formula() -> None:
    documents = ["cats chase mice", "cats cats sleep", "dogs bark loudly at every stranger"]
    scores = BM25(documents).scores(["cat sleeping", "dogs", "nothing known"])
    words = [terms(document) for document in documents]
    average = np.mean([len(document) for document in words])

    def weight(term: str, document: list[str]) -> float:
        holding = sum(term in other for other in words)
        idf = np.log(1 + (len(words) - holding + 0.5) / (holding + 0.5))
        tf = document.count(term)
        return float(idf * tf * (K1 + 1) / (tf + K1 * (1 - B + B * len(document) / average)))

    expected = [[sum(weight(t, document) for t in terms(q)) for document in words] for q in ("cat sleeping", "dogs")]
    np.testing.assert_allclose(scores, [*expected, [0, 0, 0]])
    assert scores[0].argmax() == 1
    with pytest.raises(ValueError, match="no documents"):
        BM25([])


def test_bm25_of_documents_without_words() -> None:
    np.testing.assert_array_equal(BM25(["", "the"]).scores(["the cat", ""]), np.zeros((2, 2)))
