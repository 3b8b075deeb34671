"""Class probabilities from a ranking score, and the rule that predicts a class from them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from modules.ladder import LEXICAL, Lists, exact_loss
from sqidflow.ranking import features

_COMPLEMENT = features.CLASS_IDS["C"]
_FEWEST_COMPLEMENTS = 30
_FEWEST_QUERIES = 100
_GATE_PENALTY = 1.7
_GAINS = features.CLASS_GAINS
_MICRO_MAY_FALL = 0.003
_GRID = (1.0, 1.25, 1.5, 2.0, 2.5, 3.0, 4.0, 6.0, 8.0, 12.0)
_LEAST_RECALL = 0.05


@dataclass(frozen=True)
class ClassHead:
    """Whether a product is a Complement by a logistic gate, else Irrelevant, Substitute or Exact by proportional odds.

    A Complement is no step between Irrelevant and Substitute: a phone case has all the words of a phone. ``gate``
    float64 [k + 1]: weights of all columns and the score; ``bias`` its own. ``slope`` and ``cuts`` [2] of the odds.
    """

    gate: np.ndarray
    bias: float
    slope: float
    cuts: np.ndarray

    def probabilities(self, read: np.ndarray, score: np.ndarray) -> np.ndarray:
        """float64 [n, 4], of rows ``read`` float [n, k] and their scores."""
        logit = read.astype(np.float64) @ self.gate[:-1] + score * self.gate[-1] + self.bias
        complement = 1 / (1 + np.exp(-np.clip(logit, -500, 500)))
        above = 1 / (1 + np.exp(-np.clip(self.slope * score[:, None] - self.cuts, -500, 500)))
        bounds = np.hstack([np.ones((len(score), 1)), above, np.zeros((len(score), 1))])
        rest = (bounds[:, :-1] - bounds[:, 1:]) * (1 - complement)[:, None]
        return np.stack([rest[:, 0], complement, rest[:, 1], rest[:, 2]], axis=1)


def fit_class_head(lists: Lists, score: np.ndarray) -> ClassHead:
    """Fit on the judged rows of lists.

    The gate reads words where there are enough queries and Complements, and where the expected gain, fitted on one half
    of the queries, ranks the other half no worse than the score does. Else it is the share of Complements, which moves
    no product past another.
    """
    from modules.lambdamart import fit_ordinal

    judged = np.flatnonzero(lists.rating >= 0)
    rating, of_judged = lists.rating[judged].astype(np.int64), score[judged]
    other = rating != _COMPLEMENT
    without = np.where(rating[other] > _COMPLEMENT, rating[other] - 1, rating[other])
    if len(without):
        slope, cuts = fit_ordinal(of_judged[other], without, len(features.CLASSES) - 1)
    else:
        slope, cuts = 1.0, np.array([-1.0, 1.0], np.float32)
    complements = int((~other).sum())
    rate = (complements + 0.5) / (len(rating) + 4 * 0.5)
    flat = ClassHead(np.zeros(len(lists.names) + 1), float(np.log(rate / (1 - rate))), slope, cuts)
    exact = lists.has_exact()
    if complements < _FEWEST_COMPLEMENTS or exact.sum() < _FEWEST_QUERIES:
        return flat
    half = np.arange(lists.queries) % 2 == 0
    gain = np.zeros(len(lists))
    for fitted, measured in ((half, ~half), (~half, half)):
        rows = judged[fitted[lists.query[judged]]]
        out = lists.of(measured)
        gain[out] = _gated(lists, rows, score[rows], flat).probabilities(lists.read[out], score[out]) @ _GAINS
    differences = (lists.reciprocal_ranks(gain) - lists.reciprocal_ranks(score))[exact]
    if differences.mean() < -differences.std() / np.sqrt(len(differences)):
        return flat
    return _gated(lists, judged, of_judged, flat)


def _gated(lists: Lists, judged: np.ndarray, score: np.ndarray, flat: ClassHead) -> ClassHead:
    from scipy.optimize import minimize

    x = np.hstack([lists.columns(LEXICAL)[judged].astype(np.float64), score[:, None]])
    mean, scale = x.mean(0), np.maximum(x.std(0), 1e-6)
    is_complement = np.where(lists.rating[judged] == _COMPLEMENT, features.CLASS_IDS["E"], 0)
    loss = exact_loss((x - mean) / scale, is_complement, np.ones(len(x)))

    def penalised(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        value, gradient = loss(parameters)
        gradient = gradient.copy()
        gradient[:-1] += 2 * _GATE_PENALTY * parameters[:-1]
        return value + _GATE_PENALTY * float(parameters[:-1] @ parameters[:-1]), gradient

    start = np.append(np.zeros(x.shape[1]), flat.bias)
    found = minimize(penalised, start, jac=True, method="L-BFGS-B", options={"maxiter": 300}).x
    weights = found[:-1] / scale
    gate = np.zeros(len(lists.names) + 1)
    for name, weight in zip(LEXICAL, weights):
        gate[lists.names.index(name)] = weight
    gate[-1] = weights[-1]
    return ClassHead(gate, float(found[-1] - weights @ mean), flat.slope, flat.cuts)


def decision_rule(probabilities: np.ndarray, rating: np.ndarray) -> tuple[float, ...]:
    """Factor of each class's probability before the largest one is predicted; in the order of ``CLASSES``.

    The multipliers of C and S that make macro F1 highest while micro F1 falls by at most 0.003 (half a point is what
    may be lost on other queries). The probabilities themselves stay as they are, calibrated.
    """
    plain = features.PLAIN_RULE
    if not len(rating):
        return plain
    best, best_macro = plain, f1_scores(features.predicted_classes(probabilities, plain), rating)[1]
    least = f1_scores(features.predicted_classes(probabilities, plain), rating)[0] - _MICRO_MAY_FALL
    for of_complement in _GRID:
        for of_substitute in _GRID[:5]:
            rule = (1.0, of_complement, of_substitute, 1.0)
            micro, macro = f1_scores(features.predicted_classes(probabilities, rule), rating)
            if micro >= least and macro > best_macro + 1e-9:
                best, best_macro = rule, macro
    return best


def f1_scores(predicted: np.ndarray, rating: np.ndarray) -> tuple[float, float]:
    """Micro F1 (with one class a row: the accuracy) and the mean of the classes' F1; a class without
    judgements is left out."""
    each = []
    for label in range(len(features.CLASSES)):
        is_label, as_label = rating == label, predicted == label
        if is_label.any():
            each.append(2 * float((is_label & as_label).sum()) / float(is_label.sum() + as_label.sum()))
    return float((predicted == rating).mean()), float(np.mean(each))
