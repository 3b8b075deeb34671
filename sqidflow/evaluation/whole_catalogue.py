"""Search in the whole catalogue, measured on judged queries: what people get, not how judged lists are ordered.

Of ten thousand products a query has twenty judged ones. The rest count as irrelevant in ``ndcg_at_10``, which is unfair
to a method that finds good unjudged products, and are left out in ``ndcg_at_10_judged``, which is blind to bad
ones: both are stated.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sqidflow.ranking import features, metrics

DEPTH = 10
MEASURES = ("recall_at_10", "mrr", "ndcg_at_10", "ndcg_at_10_judged")
"""``recall_at_10``: the share of a query's Exact products (of ten, where it has more) among the first ten. ``mrr``: one
over the rank of the first Exact product among all that the method brings, 0 where there is none."""
DECIDING = "mrr"
"""What a model must not be worse in than the best method that needs no training."""


def measure_query(found: Sequence[str], judged: Mapping[str, int]) -> tuple[float, ...]:
    """The ``MEASURES`` of one answer.

    Args:
        found: product ids, best first. judged: product id -> class id; at least one is Exact.
    """
    exact = features.CLASS_IDS["E"]
    ranks = [rank for rank, product in enumerate(found, 1) if judged.get(product) == exact]
    exacts = sum(label == exact for label in judged.values())
    ideal = _dcg(sorted((features.CLASS_GAINS[label] for label in judged.values()), reverse=True))
    gains = [features.CLASS_GAINS[judged.get(product, 0)] for product in found[:DEPTH]]
    known = [features.CLASS_GAINS[judged[product]] for product in found if product in judged]
    return (
        sum(rank <= DEPTH for rank in ranks) / min(DEPTH, exacts),
        1 / ranks[0] if ranks else 0.0,
        _dcg(gains) / ideal,
        _dcg(known) / ideal,
    )


def _dcg(gains: Sequence[float]) -> float:
    first = np.asarray(gains[:DEPTH], np.float64)
    return float(first @ metrics.dcg_discounts(len(first)))


@dataclass(frozen=True)
class Searched:
    """Methods on the same queries: ``values`` method -> float64 [queries, len(MEASURES)]; those in ``untrained`` need
    no training."""

    values: Mapping[str, np.ndarray]
    untrained: tuple[str, ...]

    @property
    def queries(self) -> int:
        return len(next(iter(self.values.values())))

    def of(self, method: str, measure: str) -> np.ndarray:
        return self.values[method][:, MEASURES.index(measure)]

    @property
    def best_untrained(self) -> str:
        """By ``DECIDING``; of equals the first."""
        return max(self.untrained, key=lambda method: float(self.of(method, DECIDING).mean()))

    def difference(self, method: str, measure: str = DECIDING) -> metrics.Interval:
        """A method less the best untrained one, paired by query."""
        return metrics.bootstrap_interval(self.of(method, measure) - self.of(self.best_untrained, measure))

    def is_worse(self, method: str) -> bool:
        """Whether a method is worse than the best untrained one: the whole paired interval is below zero."""
        return self.difference(method).high < 0

    def as_dict(self) -> dict[str, Any]:
        trained = [method for method in self.values if method not in self.untrained]
        return {
            "queries": self.queries,
            "best_untrained": self.best_untrained,
            "rows": [
                {
                    "method": method,
                    **{name: metrics.bootstrap_interval(self.of(method, name)).as_dict() for name in MEASURES},
                }
                for method in self.values
            ],
            "over_best_untrained": {method: self.difference(method).as_dict() for method in trained},
        }
