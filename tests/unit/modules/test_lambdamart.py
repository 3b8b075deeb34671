"""LightGBM's trees as tensors, and the probabilities made of their score."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from modules import lambdamart
from sqidflow.ranking import features, metrics


def _pairs(seed: int, lists: int = 60, per_list: int = 12) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features of which the first two decide the class, with noise; classes; query ids."""
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(lists * per_list, 6)).astype(np.float32)
    rows[:, 3] = np.round(rows[:, 3])  # a column of few values puts thresholds between equal neighbours
    latent = rows[:, 0] + 0.7 * rows[:, 1] + rng.normal(scale=0.3, size=len(rows))
    rating = np.digitize(latent, [-1.0, -0.7, 0.3])
    return rows, rating, np.repeat(np.arange(lists), per_list)


class _All:
    """Never stops, keeps every round."""

    best = 0

    def __init__(self) -> None:
        self.score: np.ndarray | None = None
        self.rows = _pairs(2)[0]

    def __call__(self, number: int, score) -> bool:
        self.best, self.score = number, score(self.rows)
        return True


HYPER = SimpleNamespace(trees=25, leaves=8, learning_rate=0.1, seed=3)


def test_tensors_score_as_lightgbm_does() -> None:
    rows, rating, query_id = _pairs(1)
    rounds = _All()
    ensemble = lambdamart.train(rows, rating, query_id, HYPER, rounds)
    layer = lambdamart.TreeEnsemble.sized_for(ensemble)
    layer.build((None, rows.shape[1]))
    layer.fill(ensemble)
    assert rounds.best == 25 and ensemble["feature"].shape[0] == 25
    np.testing.assert_allclose(np.asarray(layer(rounds.rows))[:, 0], rounds.score, atol=1e-5)


def test_training_is_deterministic_and_ranks() -> None:
    rows, rating, query_id = _pairs(1)
    first, second = (lambdamart.train(rows, rating, query_id, HYPER, _All()) for _ in range(2))
    for name, values in first.items():
        np.testing.assert_array_equal(values, second[name])
    held, held_rating, held_query = _pairs(2)
    rounds = _All()
    lambdamart.train(rows, rating, query_id, HYPER, rounds)
    lists = metrics.RankedLists.of(held_query, np.arange(len(held)).astype(str))
    gains = features.CLASS_GAINS[held_rating]
    learned = np.nanmean(metrics.ndcg_per_query(lists, gains, rounds.score))
    chance = np.nanmean(metrics.ndcg_per_query(lists, gains, np.zeros(len(held))))
    assert learned > chance + 0.2


def test_order_of_the_rows_does_not_matter_to_the_groups() -> None:
    rows, rating, query_id = _pairs(1)
    shuffled = np.random.default_rng(0).permutation(len(rows))
    rounds = _All()
    lambdamart.train(rows[shuffled], rating[shuffled], query_id[shuffled], HYPER, rounds)
    assert rounds.score is not None and np.isfinite(rounds.score).all()


def test_a_categorical_split_is_refused() -> None:
    node = {"split_feature": 0, "decision_type": "==", "threshold": "1||2", "left_child": {}, "right_child": {}}
    with pytest.raises(ValueError, match="=="):
        lambdamart.tree_tensors({"tree_info": [{"tree_structure": node}]})


def test_ordinal_probabilities_keep_the_ranking_and_fit() -> None:
    rng = np.random.default_rng(5)
    score = rng.normal(size=4000)
    rating = np.digitize(2 * score + rng.logistic(size=4000), [-2.0, -1.5, 1.0])
    slope, cuts = lambdamart.fit_ordinal(score, rating, 4)
    assert slope == pytest.approx(2, rel=0.1)
    np.testing.assert_allclose(cuts, [-2.0, -1.5, 1.0], atol=0.15)
    layer = lambdamart.OrdinalProbabilities(4)
    layer.build((None, 1))
    layer.set_weights([np.float32(slope), cuts])
    ascending = np.sort(score).astype(np.float32)[:, None]
    probabilities = np.asarray(layer(ascending))
    assert (probabilities >= 0).all()
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)
    assert (np.diff(probabilities @ features.CLASS_GAINS) >= -1e-7).all()


def test_a_class_that_was_never_seen_leaves_finite_probabilities() -> None:
    slope, cuts = lambdamart.fit_ordinal(np.linspace(-1, 1, 50), np.full(50, 3), 4)
    assert np.isfinite(slope) and np.isfinite(cuts).all() and (np.diff(cuts) > 0).all()


def test_sharpness_is_found_again():
    from modules.lambdamart import fit_sharpness

    rng = np.random.default_rng(0)
    true = rng.dirichlet([0.4] * 4, 20_000)
    rating = np.array([rng.choice(4, p=row) for row in true])
    unsure = np.sqrt(true) / np.sqrt(true).sum(axis=1, keepdims=True)
    assert fit_sharpness(unsure, rating) == pytest.approx(2.0, rel=0.05)
    assert fit_sharpness(true, rating) == pytest.approx(1.0, rel=0.05)
