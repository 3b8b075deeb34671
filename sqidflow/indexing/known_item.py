"""Known-item search: do products that were judged Exact for a query come up when it is searched in the catalogue?"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

DEPTH = 10


@dataclass(frozen=True)
class KnownItems:
    """Means over ``queries``: ``recall_at_10`` is the share of a query's Exact products (of ten, where it has more)
    among the first ten; ``mrr`` is one over the rank of the first of them, 0 where none is among the first ten."""

    queries: int
    recall_at_10: float
    mrr: float


def wanted_items(rows: Iterable[tuple[str, str, str]]) -> dict[str, set[str]]:
    """Query text -> ids judged Exact, from (query, product id, label); queries without one are left out."""
    wanted: dict[str, set[str]] = {}
    for query, product, label in rows:
        if label == "E":
            wanted.setdefault(query, set()).add(product)
    return wanted


def measure(answer: Callable[[str], Sequence[str]], wanted: Mapping[str, set[str]]) -> KnownItems:
    """Search each query.

    Args:
        answer: query -> product ids, best first; through the search core or over HTTP.

    Raises:
        ValueError: there is no query.
    """
    if not wanted:
        raise ValueError("no query with an Exact product")
    recalls, reciprocals = [], []
    for query in sorted(wanted):
        found = list(answer(query))[:DEPTH]
        hits = [rank for rank, product in enumerate(found, 1) if product in wanted[query]]
        recalls.append(len(hits) / min(DEPTH, len(wanted[query])))
        reciprocals.append(1 / hits[0] if hits else 0.0)
    return KnownItems(len(wanted), float(np.mean(recalls)), float(np.mean(reciprocals)))
