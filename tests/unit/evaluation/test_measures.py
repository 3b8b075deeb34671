"""The measures agree with kept libraries, trec_eval and scikit-learn, on random lists."""

from __future__ import annotations

import numpy as np
import pytest

from sqidflow.evaluation.measures import SWAPPED_GAINS, Ranked, class_measures, interval, mean, query_slices
from sqidflow.ranking import features, metrics

EXACT = features.CLASS_IDS["E"]


def random_lists(seed: int, distinct_scores: int | None):
    """Lists of 1 to 30 products, some with classes missing; scores with ties where there are few distinct ones."""
    rng = np.random.default_rng(seed)
    sizes = np.append([1, 1, 2], rng.integers(1, 31, 60))
    query_ids = np.repeat(rng.permutation(len(sizes)), sizes)
    product_ids = np.array([f"p{number:05d}" for number in rng.permutation(len(query_ids))])
    allowed = {query: rng.choice(4, rng.integers(1, 5), replace=False) for query in range(len(sizes))}
    ratings = np.array([rng.choice(allowed[query]) for query in query_ids])
    count = len(query_ids)
    scores = rng.permutation(count) if distinct_scores is None else rng.integers(0, distinct_scores, count)
    shuffled = rng.permutation(count)
    return query_ids[shuffled], product_ids[shuffled], ratings[shuffled], scores.astype(np.float64)


def trec_eval(query_ids, product_ids, ratings, scores, names: set[str], relevance: dict[str, int]) -> dict:
    """trec_eval's measures by query. It breaks ties by the higher id first, so ids are turned around for it."""
    import pytrec_eval

    turned = {product: f"{len(product_ids) - place:06d}" for place, product in enumerate(sorted(product_ids))}
    judged: dict[str, dict[str, int]] = {}
    run: dict[str, dict[str, float]] = {}
    for query, product, rating, score in zip(query_ids, product_ids, ratings, scores):
        judged.setdefault(str(query), {})[turned[product]] = relevance[features.CLASSES[rating]]
        run.setdefault(str(query), {})[turned[product]] = float(score)
    return pytrec_eval.RelevanceEvaluator(judged, names).evaluate(run)


@pytest.mark.parametrize("distinct", [None, 4, 1], ids=["no ties", "ties", "all tied"])
@pytest.mark.parametrize("seed", range(5))
def test_ndcg_is_that_of_trec_eval(seed, distinct):
    query_ids, product_ids, ratings, scores = random_lists(seed, distinct)
    lists = metrics.RankedLists.of(query_ids, product_ids)
    gains = features.CLASS_GAINS[ratings]
    relevance = {"E": 100, "S": 10, "C": 1, "I": 0}  # trec_eval's gains are whole; NDCG does not depend on their unit
    expected = trec_eval(query_ids, product_ids, ratings, scores, {"ndcg", "ndcg_cut.5,10"}, relevance)
    for k, name in ((None, "ndcg"), (5, "ndcg_cut_5"), (10, "ndcg_cut_10")):
        ours = metrics.ndcg_per_query(lists, gains, scores, k)
        counted = ~np.isnan(ours)
        theirs = np.array([expected[str(query)][name] for query in lists.query_ids])
        np.testing.assert_allclose(ours[counted], theirs[counted], rtol=0, atol=1e-9)
        assert (theirs[~counted] == 0).all() and 0 < (~counted).sum() < len(ours)


@pytest.mark.parametrize("distinct", [None, 4, 1], ids=["no ties", "ties", "all tied"])
@pytest.mark.parametrize("seed", range(5))
def test_early_ranks_are_those_of_trec_eval(seed, distinct):
    query_ids, product_ids, ratings, scores = random_lists(seed, distinct)
    lists = metrics.RankedLists.of(query_ids, product_ids)
    ranked, exact = Ranked.of(lists, scores), ratings == EXACT
    names = {"P.5,10", "recip_rank", "success.5"}
    expected = trec_eval(query_ids, product_ids, ratings, scores, names, {"E": 1, "S": 0, "C": 0, "I": 0})
    for ours, name in (
        (ranked.precision(exact, 5), "P_5"),
        (ranked.precision(exact, 10), "P_10"),
        (ranked.reciprocal_rank(exact), "recip_rank"),
        (ranked.success(exact, 5), "success_5"),
    ):
        counted = ~np.isnan(ours)
        theirs = np.array([expected[str(query)][name] for query in lists.query_ids])
        np.testing.assert_allclose(ours[counted], theirs[counted], rtol=0, atol=1e-9)
        assert (theirs[~counted] == 0).all()
        assert counted.sum() == len(set(query_ids[exact]))


@pytest.mark.parametrize("seed", range(5))
def test_ndcg_without_ties_is_that_of_scikit_learn(seed):
    from sklearn.metrics import ndcg_score

    query_ids, product_ids, ratings, scores = random_lists(seed, None)
    lists = metrics.RankedLists.of(query_ids, product_ids)
    gains = features.CLASS_GAINS[ratings]
    for k in (None, 5, 10):
        ours = metrics.ndcg_per_query(lists, gains, scores, k)
        for query, value in zip(lists.query_ids, ours):
            own = query_ids == query
            if own.sum() > 1 and gains[own].any():  # scikit-learn refuses lists of one
                assert value == pytest.approx(ndcg_score([gains[own]], [scores[own]], k=k), abs=1e-9)
            elif gains[own].any():
                assert value == 1.0


@pytest.mark.parametrize("present", [(0, 1, 2, 3), (0, 3), (3,)])
def test_f1_is_that_of_scikit_learn(present):
    from sklearn.metrics import f1_score

    rng = np.random.default_rng(3)
    ratings = rng.choice(present, 300)
    probabilities = rng.dirichlet(np.ones(4), 300)
    found = class_measures(probabilities, ratings)
    said = probabilities.argmax(axis=1)
    for average, ours in (("micro", found.micro_f1), ("macro", found.macro_f1)):
        theirs = f1_score(ratings, said, labels=range(4), average=average, zero_division=0.0)
        assert ours == pytest.approx(theirs, abs=1e-9)


def test_ece_by_hand():
    """Bins of a fifteenth: 0.70 (right, wrong) and 0.95 (right)."""
    probabilities = np.array([[0.1, 0.1, 0.1, 0.7], [0.1, 0.1, 0.1, 0.7], [0.95, 0.05, 0.0, 0.0]])
    found = class_measures(probabilities, np.array([3, 0, 0]))
    assert found.ece == pytest.approx((2 * abs(0.7 - 0.5) + abs(0.95 - 1.0)) / 3, abs=1e-12)


def test_ece_of_a_float32_softmax_a_hair_above_one_is_defined():
    probabilities = np.array([[0.0, 0.0, 0.0, np.nextafter(np.float32(1), np.float32(2))]])
    assert class_measures(probabilities, np.array([3])).ece == 0.0


def test_class_measures_refuse_what_cannot_be_measured():
    with pytest.raises(ValueError, match="finite"):
        class_measures(np.full((2, 4), np.nan), np.zeros(2, int))
    with pytest.raises(ValueError, match="one pair"):
        class_measures(np.zeros((0, 4)), np.zeros(0, int))


def test_no_value_at_all_is_none():
    assert interval(np.full(3, np.nan)) is None and mean(np.full(3, np.nan)) is None
    assert mean(np.array([np.nan, 0.5])) == 0.5


def test_scores_that_are_not_finite_are_refused():
    lists = metrics.RankedLists.of(np.array([1, 1]), np.array(["a", "b"]))
    with pytest.raises(ValueError, match="finite"):
        Ranked.of(lists, np.array([0.0, np.nan]))
    with pytest.raises(ValueError, match="differ in length"):
        Ranked.of(lists, np.zeros(3))


def test_swapped_gains_by_class_name():
    assert dict(zip(features.CLASSES, SWAPPED_GAINS)) == {"E": 1.0, "S": 0.01, "C": 0.1, "I": 0.0}


def test_slices_without_texts_are_those_of_pictures_and_labels():
    lists = metrics.RankedLists.of(np.array([7, 5, 5]), np.array(["a", "b", "c"]))
    slices = query_slices(lists, np.array([3, 0, 3]), np.array([0, 1, 1]))
    assert {name: mask.tolist() for name, mask in slices.items()} == {
        "all with picture": [True, False],
        "none with picture": [False, True],
        "up to 2/3": [True, False],
        "above 2/3": [False, True],
    }
