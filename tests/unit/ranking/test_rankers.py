"""The ranker that needs no training."""

from __future__ import annotations

import numpy as np

from sqidflow.ranking import features
from sqidflow.ranking.rankers import Candidates, ZeroShotRanker


def candidates(f0: list[float]) -> Candidates:
    count = len(f0)
    nothing = np.zeros((count, 2), np.float32)
    flat = np.zeros(count, np.float32)
    retrieval = np.zeros((count, len(features.RETRIEVAL_NAMES)), np.float32)
    retrieval[:, features.RETRIEVAL_NAMES.index("f0")] = f0
    return Candidates(np.ones(2, np.float32), nothing, nothing, flat, flat, nothing, nothing, retrieval)


def test_probabilities_are_chances_in_the_order_of_the_scores() -> None:
    ranker = ZeroShotRanker(dim=2)
    chances = ranker.probabilities(candidates([0.0, 2.0, -50.0]))
    assert chances.shape == (3, len(features.CLASSES)) and chances.dtype == np.float32
    np.testing.assert_allclose(chances.sum(1), 1)
    np.testing.assert_allclose(chances @ features.CLASS_GAINS, [0.5, 1 / (1 + np.exp(-2)), 0], atol=1e-6)
    assert not ranker.trained and ranker.name == "zero-shot, not trained"


def test_some_of_the_candidates_keep_their_rows() -> None:
    taken = candidates([1.0, 2.0, 3.0]).take(np.array([2, 0]))
    assert taken.retrieval[:, 0].tolist() == [3.0, 1.0]
    assert len(taken) == 2 and taken.query_vec.tolist() == [1, 1]
