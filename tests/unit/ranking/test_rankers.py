"""The ranker that needs no training."""

from __future__ import annotations

import numpy as np
import pytest

from sqidflow.ranking import features
from sqidflow.ranking.rankers import Candidates, ZeroShotRanker, zero_shot_scores


def candidates(fusion: np.ndarray) -> Candidates:
    count = len(fusion)
    nothing = np.zeros((count, 2), np.float32)
    flat = np.zeros(count, np.float32)
    return Candidates(np.ones(2, np.float32), nothing, nothing, flat, flat, nothing, nothing, flat, fusion)


def test_scores_are_weighted_z_scores_of_cosine_and_bm25() -> None:
    cosine, bm25 = np.array([0.1, 0.3, 0.2]), np.array([5.0, 0.0, 0.0])
    expected = 0.7 * (cosine - 0.2) / cosine.std() + 0.3 * (bm25 - 5 / 3) / bm25.std()
    np.testing.assert_allclose(zero_shot_scores(cosine, bm25), expected, rtol=1e-6)
    assert np.argsort(-zero_shot_scores(cosine, bm25)).tolist() == [1, 2, 0]


def test_without_words_the_cosine_alone_orders() -> None:
    cosine = np.array([0.1, 0.9, 0.5])
    assert np.argsort(-zero_shot_scores(cosine, np.zeros(3))).tolist() == [1, 2, 0]


@pytest.mark.parametrize("count", [0, 1, 3])
def test_candidates_that_cannot_be_told_apart_score_alike(count: int) -> None:
    assert zero_shot_scores(np.full(count, 0.4), np.full(count, 2.0)).tolist() == [0.0] * count


def test_probabilities_are_chances_in_the_order_of_the_scores() -> None:
    ranker = ZeroShotRanker(dim=2)
    chances = ranker.probabilities(candidates(np.array([0.0, 2.0, -50.0], np.float32)))
    assert chances.shape == (3, len(features.CLASSES)) and chances.dtype == np.float32
    np.testing.assert_allclose(chances.sum(1), 1)
    np.testing.assert_allclose(chances @ features.CLASS_GAINS, [0.5, 1 / (1 + np.exp(-2)), 0], atol=1e-6)
    assert not ranker.trained and ranker.name == "zero-shot, not trained"


def test_some_of_the_candidates_keep_their_rows() -> None:
    taken = candidates(np.array([1.0, 2.0, 3.0], np.float32)).take(np.array([2, 0]))
    assert taken.fusion.tolist() == [3.0, 1.0] and len(taken) == 2 and taken.query_vec.tolist() == [1, 1]
