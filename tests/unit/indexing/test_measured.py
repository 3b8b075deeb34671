"""Exact answers that follow a changed catalogue are those that a search among all of it gives."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sqidflow.indexing.measured import Measured
from sqidflow.ranking.features import unit

PRODUCTS, DIM, QUERIES = 300, 8, 20


def exact(queries: np.ndarray, vectors: np.ndarray, count: int) -> Measured:
    scores = queries @ vectors.T
    rows = np.argsort(-scores, axis=1, kind="stable")[:, :count]
    return Measured(queries, rows, np.take_along_axis(scores, rows, axis=1))


@pytest.fixture
def vectors() -> np.ndarray:
    return unit(np.random.default_rng(0).standard_normal((PRODUCTS, DIM)))


def test_changed_products_take_their_places_and_those_that_went_leave_theirs(vectors: np.ndarray) -> None:
    rng = np.random.default_rng(1)
    queries = unit(rng.standard_normal((QUERIES, DIM)))
    before = exact(queries, vectors, 40)
    for gone, changed, added in ((30, 10, 20), (3, 0, 0), (0, 0, 5)):
        stays = np.sort(rng.permutation(PRODUCTS)[gone:])
        now = np.concatenate([unit(rng.standard_normal((added, DIM))), vectors[stays]])
        new_row = np.full(PRODUCTS, -1)
        new_row[stays] = added + np.arange(len(stays))
        other = added + rng.permutation(len(stays))[:changed]
        now[other] = unit(rng.standard_normal((changed, DIM)))
        new_row[stays[other - added]] = -1
        fresh = np.concatenate([np.arange(added), np.sort(other)]).astype(np.int64)
        followed = before.followed(new_row, fresh, now[fresh])
        wanted = exact(queries, now, 40)
        known = (followed.rows >= 0).sum(axis=1)
        assert (known >= 25).all()
        for query in range(QUERIES):
            np.testing.assert_array_equal(
                followed.rows[query, : known[query]], wanted.rows[query, : known[query]], str((gone, query))
            )
            assert (followed.rows[query, known[query] :] == -1).all()


def test_what_is_less_near_than_all_that_were_kept_is_not_taken_for_near(vectors: np.ndarray) -> None:
    queries = vectors[:1]
    before = exact(queries, vectors, 5)
    gone = np.arange(PRODUCTS)
    gone[before.rows[0]] = -1
    followed = before.followed(gone, np.array([7]), -queries)
    assert (followed.rows == -1).all(), "the sixth of before is nearer than the new one, and not known"


def test_of_a_catalogue_that_was_kept_whole_nothing_is_missing(vectors: np.ndarray) -> None:
    few = vectors[:10]
    before = exact(few[:2], few, 10)
    followed = before.followed(np.array([-1, *range(9)]), np.array([9]), -few[:1])
    assert (followed.rows >= 0).all() and sorted(followed.rows[0].tolist()) == list(range(10))


def test_it_is_read_as_it_was_written(vectors: np.ndarray, tmp_path: Path) -> None:
    assert Measured.read(tmp_path) is None
    before = exact(vectors[:3], vectors, 5)
    before.write(tmp_path)
    read = Measured.read(tmp_path)
    for name in ("queries", "rows", "scores"):
        np.testing.assert_array_equal(getattr(read, name), getattr(before, name))
    both = before.with_rows(np.array([1]), np.array([[9, 8, 7, 6, 5, 4]]), np.zeros((1, 6), np.float32)).and_(read)
    assert both.rows[0].tolist() == [*before.rows[0].tolist(), -1] and both.rows[1].tolist() == [9, 8, 7, 6, 5, 4]
    assert both.scores[3, 5] == -np.inf and len(both.queries) == 6
