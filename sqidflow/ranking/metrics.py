"""Ranking metrics over judged lists, in NumPy, and their intervals.

The one home of the project's NDCG: linear ESCI gains, all judged products of a query unless ``k`` is given, ties
broken by product id, a query whose products are all irrelevant left out and counted.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

BOOTSTRAP_SAMPLES = 2000
BOOTSTRAP_SEED = 20220613


@dataclass(frozen=True)
class Interval:
    """A mean with its bootstrap 95 % interval."""

    mean: float
    low: float
    high: float

    def as_dict(self) -> dict[str, float]:
        return {"mean": self.mean, "low": self.low, "high": self.high}


@dataclass(frozen=True)
class RankedLists:
    """Judged pairs grouped by query.

    ``order`` int64 [n] sorts the pairs by (query, product id); ``starts`` int64 [q] are the offsets of the queries in
    that order, ``query_ids`` int64 [q] their ids.
    """

    order: np.ndarray
    starts: np.ndarray
    query_ids: np.ndarray

    @classmethod
    def of(cls, query_ids: np.ndarray, product_ids: np.ndarray) -> RankedLists:
        """Group n pairs: ``query_ids`` int64 [n], ``product_ids`` strings [n]."""
        order = np.lexsort((np.asarray(product_ids), np.asarray(query_ids)))
        unique, starts = np.unique(np.asarray(query_ids)[order], return_index=True)
        return cls(order, starts, unique)


def dcg_discounts(count: int) -> np.ndarray:
    """float64 [count]: 1 / log2(rank + 1) for ranks 1..count (Järvelin and Kekäläinen 2002)."""
    return 1.0 / np.log2(np.arange(2, count + 2))


def ndcg_per_query(lists: RankedLists, gains: np.ndarray, scores: np.ndarray, k: int | None = None) -> np.ndarray:
    """NDCG of each query.

    Args:
        gains: float [n], not negative. scores: float [n], higher ranks first. Both in the callers' order of pairs.
        k: how many ranks count; None for all judged products.

    Returns:
        float64 [q] in the order of ``lists.query_ids``; NaN where all gains are 0.

    Raises:
        ValueError: a score or gain is not finite, or lengths differ.
    """
    gains, scores = np.asarray(gains, np.float64), np.asarray(scores, np.float64)
    if not gains.shape == scores.shape == lists.order.shape:
        raise ValueError(f"gains {gains.shape}, scores {scores.shape} and pairs {lists.order.shape} differ in length")
    if not (np.isfinite(scores).all() and np.isfinite(gains).all()):
        raise ValueError("gains and scores must be finite")
    count = len(gains)
    sizes = np.diff(np.append(lists.starts, count))
    group = np.repeat(np.arange(len(sizes)), sizes)
    rank = np.arange(count) - np.repeat(lists.starts, sizes)
    discounts = dcg_discounts(int(sizes.max(initial=0)))[rank]
    if k is not None:
        discounts = np.where(rank < k, discounts, 0.0)
    sorted_gains, sorted_scores = gains[lists.order], scores[lists.order]
    # lexsort is stable: equal scores keep the order by product id.
    by_score = np.lexsort((-sorted_scores, group))
    by_gain = np.lexsort((-sorted_gains, group))
    dcg = np.bincount(group, sorted_gains[by_score] * discounts, minlength=len(sizes))
    ideal = np.bincount(group, sorted_gains[by_gain] * discounts, minlength=len(sizes))
    ndcg: np.ndarray = np.divide(dcg, ideal, out=np.full(len(sizes), np.nan), where=ideal > 0)
    return ndcg


def bootstrap_interval(values: np.ndarray, seed: int = BOOTSTRAP_SEED, samples: int = BOOTSTRAP_SAMPLES) -> Interval:
    """Mean and 95 % percentile interval over queries; NaN values are left out.

    The same seed draws the same queries for every method, so that intervals of methods on the same queries compare.

    Raises:
        ValueError: no value is left.
    """
    values = np.asarray(values, np.float64)
    values = values[~np.isnan(values)]
    if not len(values):
        raise ValueError("no query has a relevant product: there is nothing to average")
    rng = np.random.default_rng(seed)
    means = np.empty(samples)
    for start in range(0, samples, 100):  # 100 draws at a time: memory stays at 100 x queries
        draws = rng.integers(0, len(values), (min(100, samples - start), len(values)))
        means[start : start + len(draws)] = values[draws].mean(axis=1)
    low, high = np.quantile(means, (0.025, 0.975))
    return Interval(float(values.mean()), float(low), float(high))


def random_scores(query_ids: np.ndarray, product_ids: np.ndarray, seed: int = BOOTSTRAP_SEED) -> np.ndarray:
    """float64 [n] in 0..1: a score that knows nothing, the same for the same pairs, in whatever order, everywhere."""
    lists = RankedLists.of(query_ids, product_ids)
    scores = np.empty(len(lists.order))
    scores[lists.order] = np.random.default_rng(seed).random(len(lists.order))
    return scores


def confusion_matrix(actual: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """int64 [classes, classes]: rows are what was judged, columns what the model said."""
    cells = np.asarray(actual) * classes + np.asarray(predicted)
    return np.bincount(cells, minlength=classes**2).reshape(classes, classes)
