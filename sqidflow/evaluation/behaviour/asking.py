"""What the audit asks of a search, and the judged queries that it asks with."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import pyarrow as pa

from sqidflow.ranking import features, metrics
from sqidflow.search.engine import Request, SearchCore

DEPTH = 10
_MOST = 100


@dataclass(frozen=True)
class Answer:
    """Products of a served answer, best first; ``refused``: it says that nothing fits, or that there are no words."""

    products: tuple[str, ...]
    refused: bool


class Asker(Protocol):
    """A search that is audited."""

    def answer(self, query: str) -> Answer:
        """What the service answers at its default cut-off."""
        ...

    def scores(self, query: str, product_ids: Sequence[str]) -> np.ndarray:
        """Scores of given products among the candidates that the query brings, float [n]."""
        ...


class CoreAsker:
    """Asks the core that the service runs; answers are kept, since sections ask the same queries."""

    def __init__(self, core: SearchCore) -> None:
        self.core = core
        self._answers: dict[str, Answer] = {}
        self._scores: dict[tuple[str, ...], np.ndarray] = {}

    def answer(self, query: str) -> Answer:
        if query not in self._answers:
            outcome = self.core.search(Request(query, k=_MOST))
            products = tuple(hit.product_id for hit in outcome.hits)
            self._answers[query] = Answer(products, outcome.refusal is not None)
        return self._answers[query]

    def scores(self, query: str, product_ids: Sequence[str]) -> np.ndarray:
        key = (query, *product_ids)
        if key not in self._scores:
            self._scores[key] = self.core.scores_of(query, product_ids)
        return self._scores[key]


@dataclass(frozen=True)
class JudgedQuery:
    """A held-out query and the class ids of its judged products."""

    query_id: int
    text: str
    judged: Mapping[str, int]

    @property
    def exact(self) -> set[str]:
        return {product for product, label in self.judged.items() if label == features.CLASS_IDS["E"]}

    @property
    def gains(self) -> np.ndarray:
        return features.CLASS_GAINS[list(self.judged.values())]


def judged_queries(scores: pa.Table) -> list[JudgedQuery]:
    """The queries of a model's held-out scores, by id."""
    texts: dict[int, str] = {}
    judged: dict[int, dict[str, int]] = {}
    columns = (features.QUERY_ID, features.QUERY, features.PRODUCT_ID, features.RATING)
    for query_id, text, product, rating in zip(*(scores[name].to_pylist() for name in columns)):
        texts[query_id] = text
        judged.setdefault(query_id, {})[product] = rating
    return [JudgedQuery(query_id, texts[query_id], judged[query_id]) for query_id in sorted(judged)]


def chosen_queries(queries: list[JudgedQuery], count: int, seed: int) -> list[JudgedQuery]:
    """So many of the queries, the same ones for a seed."""
    if len(queries) <= count:
        return queries
    return sorted(random.Random(seed).sample(queries, count), key=lambda query: query.query_id)


def ndcg(gains: np.ndarray, scores: np.ndarray, product_ids: Sequence[str]) -> float:
    """NDCG of one list as the project measures it; NaN where all gains are 0."""
    lists = metrics.RankedLists.of(np.zeros(len(gains), np.int64), np.asarray(product_ids))
    return float(metrics.ndcg_per_query(lists, gains, scores)[0])


def random_ndcg(gains: np.ndarray) -> float:
    """The NDCG that a random order has on average: every rank gets the mean gain."""
    discounts = metrics.dcg_discounts(len(gains))
    ideal = float(np.sort(gains)[::-1] @ discounts)
    return float(gains.mean() * discounts.sum() / ideal) if ideal > 0 else float("nan")


def skill(value: np.ndarray, chance: np.ndarray) -> np.ndarray:
    """NDCG above random as a share of what there is above it; NaN where a random order is perfect."""
    room = 1 - chance
    return np.divide(value - chance, room, out=np.full(len(room), np.nan), where=room > 1e-9)
