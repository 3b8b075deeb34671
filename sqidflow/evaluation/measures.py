"""Measures other than NDCG: early ranks, classes, calibration, and the slices of a query. NumPy only.

Relevant means Exact. Ties are broken by product id, as in :mod:`sqidflow.ranking.metrics`. A query without an Exact has
no value (NaN), because no order of it is better than another; means skip it and the report counts it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sqidflow.evaluation.calibration import calibration
from sqidflow.ranking import features, metrics
from sqidflow.ranking.words import DEFAULT_LANGUAGE

ECE_BINS = 15
"""Equal-width bins of the top class's probability (Guo et al. 2017, arXiv:1706.04599)."""
SWAPPED_GAINS = features.CLASS_GAINS[[0, 2, 1, 3]]
"""float64 [4] by class id: C 0.1 and S 0.01. ESCI's own ranking script ranks S below C; compare figures made with it
only with results under these gains."""


@dataclass(frozen=True)
class Ranked:
    """Lists ordered by score: ``order`` int64 [n] are positions in the caller's pairs, by query, then rank; ``rank``
    int64 [n] counts from 0; ``group`` int64 [n] is the query's position; ``sizes`` int64 [q]."""

    order: np.ndarray
    rank: np.ndarray
    group: np.ndarray
    sizes: np.ndarray

    @classmethod
    def of(cls, lists: metrics.RankedLists, scores: np.ndarray) -> Ranked:
        """Rank n pairs by ``scores`` float [n], the highest first.

        Raises:
            ValueError: a score is not finite, or lengths differ.
        """
        scores = np.asarray(scores, np.float64)
        if scores.shape != lists.order.shape:
            raise ValueError(f"scores {scores.shape} and pairs {lists.order.shape} differ in length")
        if not np.isfinite(scores).all():
            raise ValueError("scores must be finite")
        sizes = np.diff(np.append(lists.starts, len(scores)))
        group = np.repeat(np.arange(len(sizes)), sizes)
        # lexsort is stable: equal scores keep the order by product id.
        by_score = np.lexsort((-scores[lists.order], group))
        rank = np.arange(len(scores)) - np.repeat(lists.starts, sizes)
        return cls(lists.order[by_score], rank, group, sizes)

    def _per_query(self, relevant: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Sum of ``weights`` [n] (by rank) over the relevant products; NaN for a query without one."""
        hit = np.asarray(relevant, bool)[self.order]
        some = np.bincount(self.group, hit, minlength=len(self.sizes)) > 0
        return np.where(some, np.bincount(self.group, hit * weights, minlength=len(self.sizes)), np.nan)

    def precision(self, relevant: np.ndarray, k: int) -> np.ndarray:
        """float64 [q]: relevant products among the first k, divided by k even if a list is shorter (as trec_eval)."""
        return self._per_query(relevant, (self.rank < k) / k)

    def success(self, relevant: np.ndarray, k: int) -> np.ndarray:
        """float64 [q]: 1 where one of the first k is relevant. The mean is the top-k accuracy."""
        hits = self._per_query(relevant, (self.rank < k).astype(np.float64))
        return np.where(np.isnan(hits), np.nan, hits > 0)

    def reciprocal_rank(self, relevant: np.ndarray) -> np.ndarray:
        """float64 [q]: 1 / rank of the first relevant product. The mean is the MRR."""
        hit = np.asarray(relevant, bool)[self.order]
        best = np.zeros(len(self.sizes))
        np.maximum.at(best, self.group[hit], 1.0 / (self.rank[hit] + 1))
        return np.where(best > 0, best, np.nan)

    def tied(self, scores: np.ndarray) -> int:
        """Number of queries whose products (at least two) all have the same score, so that ids decide the order."""
        ordered = np.asarray(scores, np.float64)[self.order]
        last = np.cumsum(self.sizes) - 1
        return int(np.sum((ordered[last] == ordered[last - self.sizes + 1]) & (self.sizes > 1)))


@dataclass(frozen=True)
class ClassMeasures:
    """Classification of the four classes (F1 in 0..1), and the calibration error of the probabilities."""

    micro_f1: float
    macro_f1: float
    ece: float

    def as_dict(self) -> dict[str, float]:
        return {"micro_f1": self.micro_f1, "macro_f1": self.macro_f1, "ece": self.ece}


def class_measures(
    probabilities: np.ndarray, ratings: np.ndarray, rule: Sequence[float] = features.PLAIN_RULE
) -> ClassMeasures:
    """Measures of class probabilities float [n, 4] against class ids int64 [n].

    A class that is neither judged nor predicted counts as 0 in the macro mean, which is always over four classes. The
    calibration error is of the most probable class, whatever the rule predicts.

    Args:
        rule: of the model, see ``features.predicted_classes``.

    Raises:
        ValueError: no pair, or a probability is not finite.
    """
    probabilities = np.asarray(probabilities, np.float64)
    if not len(probabilities) or not np.isfinite(probabilities).all():
        raise ValueError("class probabilities must be finite and have at least one pair")
    predicted = features.predicted_classes(probabilities, rule)
    confusion = metrics.confusion_matrix(ratings, predicted, len(features.CLASSES))
    right, both = np.diag(confusion), confusion.sum(axis=0) + confusion.sum(axis=1)
    f1 = np.divide(2.0 * right, both, out=np.zeros(len(right)), where=both > 0)
    top = np.clip(probabilities.max(axis=1), 0.0, 1.0)  # a float32 softmax may reach a hair above 1
    ece = calibration(top, probabilities.argmax(axis=1) == np.asarray(ratings), ECE_BINS).ece
    return ClassMeasures(float(right.sum() / confusion.sum()), float(f1.mean()), ece)


def interval(values: np.ndarray) -> metrics.Interval | None:
    """The bootstrap interval over queries; None if no query has a value."""
    return metrics.bootstrap_interval(values) if np.isfinite(values).any() else None


def mean(values: np.ndarray) -> float | None:
    """The mean over the queries that have a value; None if none has."""
    return float(np.nanmean(values)) if np.isfinite(values).any() else None


def query_slices(
    lists: metrics.RankedLists,
    ratings: np.ndarray,
    has_image: np.ndarray,
    queries: Sequence[str] | None = None,
    brands: Sequence[str] | None = None,
    language: str = DEFAULT_LANGUAGE,
) -> dict[str, np.ndarray]:
    """Slice -> membership of each query, bool [q]. Slices without a query are absent.

    Args:
        ratings: class ids int64 [n]. has_image: 0 or 1, int64 [n].
        queries, brands: texts [n]; None leaves out the slices that need them. language: the language of the texts.
    """
    negation = features.LEXICAL_NAMES.index("query_has_negation")
    named = features.LEXICAL_NAMES.index("brand_in_query")
    ends = np.append(lists.starts[1:], len(lists.order))
    names: list[list[str]] = []
    for start, end in zip(lists.starts, ends):
        rows = lists.order[start:end]
        own = [features.pictures_slice(has_image[rows]), features.exact_share_slice(ratings[rows])]
        if queries is not None:
            text = queries[rows[0]] or ""
            blank = [""] * len(rows)
            lexical = features.lexical_features(
                text, blank, blank if brands is None else [brands[row] or "" for row in rows], blank, language
            )
            own.append(features.query_length_slice(text))
            own.append("negation" if lexical[:, negation].any() else "no negation")
            if brands is not None:
                own.append("brand named" if lexical[:, named].any() else "no brand named")
        names.append(own)
    every = sorted({name for own in names for name in own}, key=_SLICE_ORDER.index)
    return {name: np.array([name in own for own in names]) for name in every}


def query_kinds(lists: metrics.RankedLists, kinds: Sequence[str | None]) -> dict[str, np.ndarray]:
    """Kind -> which queries are of it, bool [q], in alphabetical order; a query is of its first row's kind, if any.

    Args:
        kinds: of each pair, [n].
    """
    own = np.array([kinds[row] or "" for row in lists.order[lists.starts]], object)
    return {kind: own == kind for kind in sorted(set(own.tolist())) if kind}


_SLICE_ORDER = (
    "all with picture", "some without", "none with picture",
    "1-2 words", "3-4 words", "5 words or more",
    "brand named", "no brand named",
    "negation", "no negation",
    "no Exact", "up to 1/3 Exact", "up to 2/3", "above 2/3",
)  # fmt: skip
