"""The numpy metrics against trec_eval's, and against values worked out by hand."""

import numpy as np
import pytest
import pytrec_eval
from hypothesis import given
from hypothesis import strategies as st

from maas.evaluation.metrics import METRICS, average, percentiles, score_ranking

TREC = {
    "mean@5": "recall_5",
    "mean@10": "recall_10",
    "any@5": "success_5",
    "any@10": "success_10",
    "mrr": "recip_rank",
    "ndcg@10": "ndcg_cut_10",
}
IDS = [f"d{number:02}" for number in range(40)]


def scores_of(ranked: list[str], gold: set[str]) -> dict[str, float]:
    return dict(zip(METRICS, score_ranking(ranked, gold), strict=True))


@given(
    ranked=st.permutations(IDS).flatmap(lambda ids: st.integers(1, 40).map(lambda n: ids[:n])),
    gold=st.sets(st.sampled_from(IDS), min_size=1, max_size=15),
)
def test_agrees_with_trec_eval(ranked: list[str], gold: set[str]) -> None:
    run = {"q": {id_: float(len(ranked) - rank) for rank, id_ in enumerate(ranked)}}
    evaluator = pytrec_eval.RelevanceEvaluator(
        {"q": dict.fromkeys(gold, 1)}, {"recall.5,10", "success.5,10", "recip_rank", "ndcg_cut.10"}
    )
    expected = evaluator.evaluate(run)["q"]
    ours = scores_of(ranked, gold)
    assert {name: ours[name] for name in TREC} == pytest.approx({name: expected[TREC[name]] for name in TREC}, abs=1e-6)


@given(
    ranked=st.lists(st.sampled_from(IDS), unique=True, max_size=40),
    gold=st.sets(st.sampled_from(IDS), min_size=1, max_size=15),
)
def test_order_among_the_metrics(ranked: list[str], gold: set[str]) -> None:
    score = scores_of(ranked, gold)
    assert all(0 <= value <= 1 + 1e-12 for value in score.values())
    assert score["all@10"] <= score["mean@10"] <= score["any@10"]
    assert score["mean@5"] <= score["mean@10"]
    assert (score["all@10"] == 1) == (gold <= set(ranked[:10]))


def test_by_hand() -> None:
    score = scores_of(["a", "x", "b", "y", "z", "c"], {"a", "b", "c", "d"})
    assert score["mean@5"] == 0.5
    assert score["mean@10"] == 0.75
    assert score["any@5"] == 1
    assert score["all@10"] == 0
    assert score["mrr"] == 1
    ideal = 1 + 1 / np.log2(3) + 1 / 2 + 1 / np.log2(5)
    assert score["ndcg@10"] == pytest.approx((1 + 1 / 2 + 1 / np.log2(7)) / ideal)


def test_empty_ranking_scores_nothing() -> None:
    assert not score_ranking([], {"a"}).any()


def test_no_gold_and_repeats_are_refused() -> None:
    with pytest.raises(ValueError, match="without gold"):
        score_ranking(["a"], set())
    with pytest.raises(ValueError, match="3 ids holds 2 distinct"):
        score_ranking(["a", "b", "a"], {"a"})


def test_average_is_in_percent() -> None:
    scores = [score_ranking(["a"], {"a"}), score_ranking(["x"], {"a"})]
    assert average(scores)["mrr"] == 50.0
    assert average([]) == dict.fromkeys(METRICS, 0.0)


def test_percentiles_are_in_milliseconds() -> None:
    assert percentiles([0.001, 0.002, 0.003], points=(50,)) == {"p50": 2.0}
    assert percentiles([]) == {"p50": 0.0, "p95": 0.0}
