"""Judged lists completed with what search would show beside them: the rows that the ladder is fitted and chosen on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from modules.ladder import UNJUDGED, UNJUDGED_NEAR, UNJUDGED_RANDOM, Lists, fitting_weights
from modules.model import SHALLOW, SHALLOW_NAMES
from sqidflow.ranking import features
from sqidflow.ranking.served import ServedCatalogue, ServedList

_ROWS_AT_ONCE = 16_384


@dataclass(frozen=True)
class JudgedQueries:
    """m queries: texts, vectors float32 [m, d] as the encoder made them, and of each the judged products' ids and class
    ids."""

    texts: Sequence[str]
    vectors: np.ndarray
    products: Sequence[Sequence[str]]
    ratings: Sequence[np.ndarray]

    def __len__(self) -> int:
        return len(self.texts)


def completed_lists(served: ServedCatalogue, queries: JudgedQueries, to_picture: np.ndarray | None, seed: int) -> Lists:
    """The list of each query: what search finds, the judged products it does not, and three others of the catalogue.

    All judged rows are fitted, and of the unjudged 25 of those that search finds, chosen at random (near ones and far
    ones: only the nearest would teach as much), and the three.

    Args:
        to_picture: float32 [d, d], the map from texts to pictures; None leaves them where they are.
    """
    rng = np.random.default_rng(seed)
    norms = _mapped_norms(served, to_picture)
    judged = [served.rows_of(products) for products in queries.products]
    others = [
        np.setdiff1d(rng.choice(len(served), min(UNJUDGED_RANDOM, len(served)), replace=False), own) for own in judged
    ]
    added = [np.concatenate([own, other]) for own, other in zip(judged, others)]
    with_text, with_image = _compared(features.unit(queries.vectors), to_picture)
    read, rating, rows, retrieved, taken, sizes = [], [], [], [], [], []
    for at, found in enumerate(served.lists(queries.texts, queries.vectors, added)):
        classes = np.full(len(found.rows), UNJUDGED)
        classes[found.places_of(judged[at])] = queries.ratings[at]
        read.append(shallow_rows(found, with_text[at], with_image[at], norms))
        rating.append(classes)
        retrieved.append(np.arange(len(classes)) < found.retrieved)
        taken.append(_unjudged(classes, found.retrieved, rng))
        sizes.append(len(classes))
        rows.append(found.rows)
    if not sizes:
        nothing = np.zeros(0, np.int64)
        empty = np.zeros((0, len(SHALLOW_NAMES)), np.float32)
        return Lists(SHALLOW_NAMES, empty, nothing, nothing, nothing, np.zeros(0, bool), np.zeros(0))
    query = np.repeat(np.arange(len(sizes)), sizes)
    classes = np.concatenate(rating)
    weight = fitting_weights(classes, query, np.concatenate(taken))
    return Lists(
        SHALLOW_NAMES, np.concatenate(read), classes, query, np.concatenate(rows), np.concatenate(retrieved), weight
    )


def judged_lists(pairs: Any) -> Lists:
    """Judged lists by themselves, where there is no catalogue to complete them from: every row is found and fitted.

    Args:
        pairs: ``modules.trainer.Pairs`` with ``SHALLOW``; rows come out in its order.
    """
    _, query = np.unique(pairs.query_id, return_inverse=True)
    rating = pairs.rating.astype(np.int64)
    weight = fitting_weights(rating, query, np.zeros(len(rating), bool))
    return Lists(
        SHALLOW_NAMES, pairs.inputs[SHALLOW], rating, query, np.arange(len(rating)), np.ones(len(rating), bool), weight
    )


def _unjudged(classes: np.ndarray, retrieved: int, rng: np.random.Generator) -> np.ndarray:
    """Which unjudged rows of a list are fitted, bool [n]."""
    taken = classes == UNJUDGED
    near = np.flatnonzero(taken[:retrieved])
    if len(near) > UNJUDGED_NEAR:
        taken[near] = False
        taken[rng.choice(near, UNJUDGED_NEAR, replace=False)] = True
    return taken


def joined(first: Lists, second: Lists) -> Lists:
    """The lists of both, as of queries that are all different."""
    parts = {
        name: np.concatenate([getattr(first, name), getattr(second, name)])
        for name in ("read", "rating", "row", "retrieved", "weight")
    }
    return Lists(first.names, query=np.concatenate([first.query, second.query + first.queries]), **parts)


def _compared(queries: np.ndarray, to_picture: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """What the texts and the pictures of products are multiplied with for their similarity to queries, given as unit
    vectors [m, d]; float32 [m, d] each."""
    if to_picture is None:
        return queries, queries
    mapped = features.unit(queries @ to_picture)
    # (q M)(t M)' = (q M M') t': a query is mapped back instead of its list mapped there.
    return mapped @ to_picture.T, mapped


def shallow_rows(
    found: ServedList, with_text: np.ndarray, with_image: np.ndarray, mapped_norms: np.ndarray
) -> np.ndarray:
    """The columns of ``modules.model.SHALLOW_NAMES`` of a list, float32 [n, k].

    Args:
        with_text, with_image: float32 [d], what the texts and the pictures are multiplied with.
        mapped_norms: float32 [products], lengths of the texts' unit vectors after the map; 1 without a map.
    """
    pictured = found.has_image > 0
    of_text = (found.text @ with_text) / np.maximum(mapped_norms[found.rows], 1e-12)
    of_image = np.where(pictured, found.image @ with_image, of_text)
    computed = found.features
    return np.hstack(
        [
            computed[features.COSINES], of_text[:, None], of_image[:, None], computed[features.LEXICAL],
            computed[features.RELATIVE], computed[features.RETRIEVAL], found.has_image[:, None],
        ]
    ).astype(np.float32)  # fmt: skip


def _mapped_norms(served: ServedCatalogue, to_picture: np.ndarray | None) -> np.ndarray:
    """Lengths of the texts' unit vectors after the map, float32 [products]."""
    if to_picture is None:
        return np.ones(len(served), np.float32)
    parts = [
        np.linalg.norm(served.text[start : start + _ROWS_AT_ONCE].astype(np.float32) @ to_picture, axis=1)
        for start in range(0, len(served), _ROWS_AT_ONCE)
    ]
    return np.concatenate(parts).astype(np.float32) if parts else np.ones(0, np.float32)
