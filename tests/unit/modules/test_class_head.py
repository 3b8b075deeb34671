"""Which class is said: Complements apart from the order of the others, a rule that lets rare classes be said."""

from __future__ import annotations

import numpy as np

from modules.class_head import decision_rule, f1_scores, fit_class_head
from modules.ladder import F0, UNJUDGED, Lists
from modules.model import SHALLOW_NAMES
from sqidflow.ranking import features


def judged(queries: int, tells: float, seed: int = 0) -> tuple[Lists, np.ndarray]:
    """Ten products a query: E, S, C, three I and four unjudged; ``for_match`` is higher for C by ``tells``."""
    rng = np.random.default_rng(seed)
    classes = np.array([3, 2, 1, 0, 0, 0, *[UNJUDGED] * 4])
    rating = np.tile(classes, queries)
    read = rng.normal(size=(len(rating), len(SHALLOW_NAMES))).astype(np.float32)
    read[:, SHALLOW_NAMES.index("for_match")] += tells * (rating == 1)
    score = np.maximum(rating, 0) + rng.normal(size=len(rating))
    read[:, SHALLOW_NAMES.index(F0)] = score
    query = np.repeat(np.arange(queries), len(classes))
    lists = Lists(
        SHALLOW_NAMES, read, rating, query, np.tile(np.arange(10), queries), np.ones(len(rating), bool),
        (rating >= 0).astype(float),
    )  # fmt: skip
    return lists, score


def test_probabilities_sum_to_one_and_complements_are_told_from_their_words() -> None:
    lists, score = judged(200, tells=4.0)
    head = fit_class_head(lists, score)
    probabilities = head.probabilities(lists.read, score)
    np.testing.assert_allclose(probabilities.sum(1), 1, atol=1e-9)
    assert head.gate[SHALLOW_NAMES.index("for_match")] > 0.5
    complement = lists.rating == 1
    of_complements, of_others = (probabilities[mask, 1].mean() for mask in (complement, ~complement))
    assert of_complements > 0.5 > 2 * of_others


def test_with_few_queries_the_order_of_the_score_is_kept() -> None:
    lists, score = judged(40, tells=4.0)
    head = fit_class_head(lists, score)
    assert not head.gate.any()
    gain = head.probabilities(lists.read, score) @ features.CLASS_GAINS
    assert np.argsort(gain, kind="stable").tolist() == np.argsort(score, kind="stable").tolist()


def test_a_gate_that_costs_rank_is_not_taken() -> None:
    lists, score = judged(300, tells=0.0)
    # Complements and Exacts look alike to the gate, so that it would demote the Exacts.
    read = lists.read.copy()
    read[:, SHALLOW_NAMES.index("for_match")] += 6 * np.isin(lists.rating, (1, 3))
    alike = Lists(lists.names, read, lists.rating, lists.query, lists.row, lists.retrieved, lists.weight)
    head = fit_class_head(alike, score)
    gain = head.probabilities(alike.read, score) @ features.CLASS_GAINS
    assert alike.mrr(gain) >= alike.mrr(score) - 0.02


def test_nothing_judged_and_one_class_alone_give_probabilities() -> None:
    lists, score = judged(5, tells=1.0)
    for rating in (np.full(len(lists), UNJUDGED), np.full(len(lists), 3), np.full(len(lists), 1)):
        of = Lists(lists.names, lists.read, rating, lists.query, lists.row, lists.retrieved, lists.weight)
        found = fit_class_head(of, score).probabilities(of.read, score)
        assert np.isfinite(found).all() and (found >= 0).all()


def test_the_rule_lets_a_rare_class_be_said_and_keeps_micro_f1() -> None:
    rng = np.random.default_rng(3)
    rating = rng.choice(4, 4000, p=[0.3, 0.05, 0.2, 0.45])
    probabilities = rng.dirichlet(np.ones(4), 4000) * 0.35
    probabilities[np.arange(4000), rating] += 0.35
    # A Complement is mostly given to Irrelevant, by a little.
    complement = rating == 1
    probabilities[complement, 0] = probabilities[complement, 1] * 1.15
    probabilities[rating == 0, 1] *= 0.3
    probabilities /= probabilities.sum(1, keepdims=True)
    rule = decision_rule(probabilities, rating)
    plain = f1_scores(features.predicted_classes(probabilities), rating)
    ruled = f1_scores(features.predicted_classes(probabilities, rule), rating)
    assert rule[1] > 1 and ruled[1] > plain[1] + 0.05
    assert ruled[0] >= plain[0] - 0.005
    assert (features.predicted_classes(probabilities, rule)[complement] == 1).mean() > 0.3


def test_without_judgements_the_most_probable_class_is_said() -> None:
    assert decision_rule(np.zeros((0, 4)), np.zeros(0, np.int64)) == features.PLAIN_RULE
