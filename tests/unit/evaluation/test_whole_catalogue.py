"""Measures of search in the whole catalogue, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from sqidflow.evaluation.whole_catalogue import MEASURES, Searched, measure_query

JUDGED = {"e1": 3, "e2": 3, "s": 2, "i": 0}
IDEAL = 1 + 1 / np.log2(3) + 0.1 / 2


def measured(*found: str) -> dict[str, float]:
    return dict(zip(MEASURES, measure_query(found, JUDGED)))


def test_unjudged_products_are_irrelevant_or_left_out() -> None:
    found = measured("unknown", "e1", "s")
    assert found["recall_at_10"] == 0.5 and found["mrr"] == 0.5
    assert found["ndcg_at_10"] == pytest.approx((1 / np.log2(3) + 0.1 / 2) / IDEAL)
    assert found["ndcg_at_10_judged"] == pytest.approx((1 + 0.1 / np.log2(3)) / IDEAL)


def test_the_first_ten_count_for_recall_and_all_for_the_reciprocal_rank() -> None:
    found = measured(*(f"u{number}" for number in range(10)), "e1")
    assert (found["recall_at_10"], found["mrr"], found["ndcg_at_10"]) == (0.0, pytest.approx(1 / 11), 0.0)
    assert found["ndcg_at_10_judged"] == pytest.approx(1 / IDEAL)
    assert measured() == dict.fromkeys(MEASURES, 0.0)
    assert measured("e1", "e2", "s", "i") == dict.fromkeys(MEASURES, pytest.approx(1.0))


def searched(difference: float, spread: float) -> Searched:
    rng = np.random.default_rng(0)
    bm25 = rng.uniform(0, 0.9, (200, len(MEASURES)))
    noise = rng.normal(0, spread, bm25.shape)
    ours = bm25 + difference + noise - noise.mean(0)
    return Searched({"bm25": bm25, "cosine": bm25 - 0.05, "ours": ours}, ("bm25", "cosine"))


def test_a_model_is_worse_only_where_the_whole_paired_interval_is() -> None:
    assert searched(-0.02, 0.05).is_worse("ours")
    assert not searched(-0.02, 1.0).is_worse("ours") and not searched(0.02, 0.05).is_worse("ours")
    found = searched(0.02, 0.05)
    assert found.best_untrained == "bm25" and found.queries == 200
    document = found.as_dict()
    assert [row["method"] for row in document["rows"]] == ["bm25", "cosine", "ours"]
    over = document["over_best_untrained"]
    assert list(over) == ["ours"] and 0 < over["ours"]["low"] < 0.02 < over["ours"]["high"]
