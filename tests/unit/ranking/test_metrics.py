"""NDCG by hand and against two other implementations; intervals; baselines."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import ndcg_score

from sqidflow.ranking import metrics
from sqidflow.ranking.features import CLASS_GAINS
from sqidflow.ranking.metrics import RankedLists, bootstrap_interval, ndcg_per_query


def ndcg(gains, scores, k=None, products=None) -> float:
    """NDCG of one query."""
    count = len(gains)
    products = products if products is not None else [f"p{i:03d}" for i in range(count)]
    lists = RankedLists.of(np.zeros(count, np.int64), np.asarray(products))
    return float(ndcg_per_query(lists, gains, scores, k)[0])


def test_the_best_order_is_one():
    assert ndcg([1, 0.1, 0.01, 0], [4, 3, 2, 1]) == 1.0


def test_by_hand():
    # ranked: 0.1, 1, 0 -> 0.1 + 1/log2(3); ideal 1 + 0.1/log2(3)
    expected = (0.1 + 1 / np.log2(3)) / (1 + 0.1 / np.log2(3))
    assert ndcg([1, 0.1, 0], [2, 3, 1]) == pytest.approx(expected, abs=1e-15)


def test_gains_are_linear():
    # With 2^y - 1 instead of y this would be another number: 2^0.1 - 1 = 0.0718.
    assert ndcg([1, 0.1], [0, 1]) == pytest.approx((0.1 + 1 / np.log2(3)) / (1 + 0.1 / np.log2(3)), abs=1e-15)


def test_cut_off():
    gains, scores = [1, 1, 0, 0.1], [1, 2, 4, 3]  # ranked: 0, 0.1, 1, 1
    assert ndcg(gains, scores, k=1) == 0.0
    assert ndcg(gains, scores, k=2) == pytest.approx((0.1 / np.log2(3)) / (1 + 1 / np.log2(3)), abs=1e-15)
    assert ndcg(gains, scores, k=99) == ndcg(gains, scores)


def test_ties_are_broken_by_product_id_whatever_the_order_of_rows():
    assert ndcg([1, 0], [5, 5], products=["a", "b"]) == 1.0
    assert ndcg([1, 0], [5, 5], products=["b", "a"]) == pytest.approx(1 / np.log2(3))
    assert ndcg([0, 1], [5, 5], products=["a", "b"]) == pytest.approx(1 / np.log2(3))


def test_product_ids_may_be_bytes():
    assert ndcg([1, 0], [5, 5], products=np.array([b"b", b"a"], object)) == pytest.approx(1 / np.log2(3))


def test_a_query_without_a_relevant_product_is_nan():
    lists = RankedLists.of(np.array([2, 1, 1]), np.array(["a", "a", "b"]))
    found = ndcg_per_query(lists, np.array([0.0, 1, 0]), np.zeros(3))
    assert lists.query_ids.tolist() == [1, 2]
    assert found[0] == 1.0
    assert np.isnan(found[1])


def test_queries_may_be_interleaved():
    queries = np.array([7, 3, 7, 3, 7])
    gains, scores = np.array([1, 0.1, 0, 1, 0.1]), np.array([1.0, 2, 3, 1, 2])
    found = ndcg_per_query(RankedLists.of(queries, np.array(list("abcde"))), gains, scores)
    assert found[0] == ndcg(gains[queries == 3], scores[queries == 3])
    assert found[1] == ndcg(gains[queries == 7], scores[queries == 7])


def test_nothing_judged():
    lists = RankedLists.of(np.zeros(0, np.int64), np.zeros(0, "U1"))
    assert ndcg_per_query(lists, np.zeros(0), np.zeros(0)).shape == (0,)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_numbers_that_are_none_are_refused(bad):
    with pytest.raises(ValueError, match="finite"):
        ndcg([1, 0], [bad, 0])


def test_lengths_must_agree():
    with pytest.raises(ValueError, match="differ in length"):
        ndcg_per_query(RankedLists.of(np.zeros(2, np.int64), np.array(["a", "b"])), np.ones(2), np.ones(3))


lists_of_pairs = st.lists(
    st.tuples(st.integers(0, 3), st.integers(-1000, 1000)), min_size=2, max_size=25, unique_by=lambda pair: pair[1]
)


@settings(max_examples=200, deadline=None)
@given(lists_of_pairs, st.one_of(st.none(), st.integers(1, 30)))
def test_agrees_with_scikit_learn_where_nothing_ties(pairs, k):
    ratings, scores = np.array(pairs).T
    gains = CLASS_GAINS[ratings]
    found = ndcg(gains, scores / 7, k)
    if not gains.any():
        assert np.isnan(found)
        return
    assert found == pytest.approx(ndcg_score([gains], [scores / 7], k=k), abs=1e-9)


@settings(max_examples=100, deadline=None)
@given(lists_of_pairs)
def test_in_range_and_the_same_for_every_monotone_change_of_the_scores(pairs):
    ratings, scores = np.array(pairs).T
    gains = CLASS_GAINS[ratings]
    found = ndcg(gains, scores)
    if np.isnan(found):
        return
    assert 0 < found <= 1 + 1e-12
    assert ndcg(gains, np.tanh(scores / 1000) * 5 + 3) == found


@settings(max_examples=100, deadline=None)
@given(lists_of_pairs)
def test_swapping_a_pair_into_the_right_order_never_lowers_it(pairs):
    ratings, scores = np.array(pairs).T
    gains, scores = CLASS_GAINS[ratings], scores.astype(float)
    if not gains.any():
        return
    better = scores.copy()
    better[[0, 1]] = np.sort(scores[:2])[[0, 1]] if gains[0] <= gains[1] else np.sort(scores[:2])[[1, 0]]
    assert ndcg(gains, better) >= ndcg(gains, scores) - 1e-12


def test_interval_covers_the_mean_and_shrinks_with_queries():
    values = np.random.default_rng(0).random(4000)
    few, many = bootstrap_interval(values[:40]), bootstrap_interval(values)
    for interval, used in ((few, values[:40]), (many, values)):
        assert interval.mean == pytest.approx(used.mean(), abs=1e-12)
        assert interval.low < interval.mean < interval.high
    assert (many.high - many.low) < (few.high - few.low) / 5
    # About 1.96 standard errors each side.
    assert many.high - many.low == pytest.approx(2 * 1.96 * values.std() / np.sqrt(4000), rel=0.1)


def test_interval_is_the_same_each_time_and_of_constants_a_point():
    values = np.random.default_rng(1).random(50)
    assert bootstrap_interval(values) == bootstrap_interval(values.copy())
    assert bootstrap_interval(np.full(9, 0.25)).as_dict() == {"mean": 0.25, "low": 0.25, "high": 0.25}


def test_interval_leaves_out_nan_and_refuses_nothing_but_nan():
    assert bootstrap_interval(np.array([0.5, np.nan, 0.5])).mean == 0.5
    with pytest.raises(ValueError, match="nothing to average"):
        bootstrap_interval(np.array([np.nan]))


def test_intervals_of_methods_draw_the_same_queries():
    values = np.random.default_rng(2).random(60)
    first, second = bootstrap_interval(values), bootstrap_interval(values + 0.125)
    assert second.low - first.low == pytest.approx(0.125, abs=1e-12)
    assert second.high - first.high == pytest.approx(0.125, abs=1e-12)


def test_random_scores_belong_to_the_pair_not_to_the_row():
    queries, products = np.array([1, 1, 2, 2]), np.array(["b", "a", "a", "c"])
    scores = metrics.random_scores(queries, products)
    order = np.array([3, 0, 2, 1])
    np.testing.assert_array_equal(metrics.random_scores(queries[order], products[order]), scores[order])
    assert ((scores >= 0) & (scores < 1)).all()
    assert len(set(scores)) == 4


def test_confusion_rows_are_judged_columns_are_said():
    found = metrics.confusion_matrix(np.array([0, 0, 3, 2]), np.array([0, 3, 3, 3]), 4)
    assert found.tolist() == [[1, 0, 0, 1], [0, 0, 0, 0], [0, 0, 0, 1], [0, 0, 0, 1]]
