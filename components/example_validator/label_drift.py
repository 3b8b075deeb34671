"""How far the labels of two splits may differ by chance alone.

The judgements of a query go together: some queries have many exact products, others none. A split of few queries is a
small sample however many judgements it has, and its label shares stray from the training split's.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from sqidflow.ranking import features

CHANCE = 0.005
"""Share of splits, of the data that they are compared with, that may be called drifted."""
_DRAWS = 4_000
_SEED = 20240101
_SHARE_IN_SLICE = {"no Exact": 0.0, "up to 1/3 Exact": 1 / 6, "up to 2/3": 1 / 2, "above 2/3": 5 / 6}
"""The middle of what ``features.exact_share_slice`` puts under each name."""
_SPREAD_WITHIN_SLICE = 1 / 108
"""Variance of a share that is anywhere in a third."""


def chance_distance(training: Any, split: Any) -> float:
    """The L-infinity distance of label shares that a split of as many queries exceeds by chance in ``CHANCE`` of cases.

    Both are ``DatasetFeatureStatisticsList`` of one data set; 0 where they do not say how many queries there are.

    A query counts as so many independent judgements as the spread of the exact share over queries allows (the design
    effect of cluster samples, Kish 1965); shares of so many draws are simulated for both splits.
    """
    label_shares = _label_shares(training, split)
    draws = [independent_draws(statistics, training) for statistics in (training, split)]
    if not all(draws) or not len(label_shares):
        return 0.0
    rng = np.random.default_rng(_SEED)
    shares = [rng.multinomial(count, label_shares, _DRAWS) / count for count in draws]
    return float(np.quantile(np.abs(shares[0] - shares[1]).max(axis=1), 1 - CHANCE))


def independent_draws(statistics: Any, training: Any) -> int:
    """How many independent judgements a split is worth; 0 where the statistics do not tell."""
    queries = _feature(statistics, features.QUERY)
    count = int(statistics.datasets[0].num_examples)
    if queries is None or not count or not queries.string_stats.unique:
        return 0
    # large lists weigh more: the size of the list that a judgement is in, averaged over judgements
    listed = np.array([bucket.sample_count for bucket in queries.string_stats.rank_histogram.buckets])
    unlisted = max(count - listed.sum(), 0.0)
    mean_size = count / int(queries.string_stats.unique)
    size = (float((listed**2).sum()) + unlisted * mean_size) / count if len(listed) else mean_size
    together = _intraclass_correlation(training)
    return max(1, min(count, round(count / (1 + (max(size, 1.0) - 1) * together))))


def _intraclass_correlation(statistics: Any) -> float:
    """How much of the variance of being exact lies between queries, 0 to 1; 1 where the statistics do not tell."""
    slices, labels = _feature(statistics, features.EXACT_SHARE), _feature(statistics, features.LABEL)
    if slices is None or labels is None:
        return 1.0
    counts = {bucket.label: bucket.sample_count for bucket in slices.string_stats.rank_histogram.buckets}
    known = {name: counts.get(name, 0.0) for name in _SHARE_IN_SLICE}
    total = sum(known.values())
    exact = _shares(labels).get(features.CLASSES[-1], 0.0)
    if not total or not 0 < exact < 1:
        return 1.0
    between = sum(times * (_SHARE_IN_SLICE[name] - exact) ** 2 for name, times in known.items()) / total
    return float(np.clip((between + _SPREAD_WITHIN_SLICE) / (exact * (1 - exact)), 0.0, 1.0))


def _label_shares(training: Any, split: Any) -> np.ndarray:
    """Shares of the labels over both splits together: those of the one population they are asked to be of."""
    counts: dict[str, float] = {}
    for statistics in (training, split):
        feature = _feature(statistics, features.LABEL)
        for bucket in feature.string_stats.rank_histogram.buckets if feature is not None else ():
            counts[bucket.label] = counts.get(bucket.label, 0.0) + bucket.sample_count
    total = sum(counts.values())
    return np.array(list(counts.values())) / total if total else np.zeros(0)


def _shares(feature: Any) -> dict[str, float]:
    buckets = feature.string_stats.rank_histogram.buckets
    total = sum(bucket.sample_count for bucket in buckets)
    return {bucket.label: bucket.sample_count / total for bucket in buckets} if total else {}


def _feature(statistics: Any, name: str) -> Any:
    if not statistics.datasets:
        return None
    found = (item for item in statistics.datasets[0].features if list(item.path.step) == [name] or item.name == name)
    return next(found, None)
