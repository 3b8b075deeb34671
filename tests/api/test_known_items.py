"""Known-item search over HTTP is what the offline evaluation says."""

from __future__ import annotations

import pytest

from sqidflow.indexing.calibrate import held_out_items
from sqidflow.indexing.known_item import measure


def test_over_http_as_offline(client, prepared, index_document, first_run) -> None:
    wanted = held_out_items(prepared / "artifacts" / "evaluations" / first_run["model"] / "scores.parquet")
    offline = index_document["known_items"]
    assert offline["queries"] == len(wanted) >= 10

    def answer(query: str) -> list[str]:
        return [r["product_id"] for r in client.post("/predict", json={"query": query, "k": 10}).json()["results"]]

    online = measure(answer, wanted)
    assert online.recall_at_10 == pytest.approx(offline["recall_at_10"], abs=1e-6)
    assert online.mrr == pytest.approx(offline["mrr"], abs=1e-6)
    # The catalogue has 500 products: ten at random would bring far less.
    assert online.recall_at_10 > 0.3 and online.mrr > 0.5


def test_the_measure() -> None:
    wanted = {"one": {"a", "b"}, "two": {"c"}, "three": {"x"}}
    answers = {"one": ["z", "a", "b"], "two": ["d"] * 10 + ["c"], "three": []}
    found = measure(answers.__getitem__, wanted)
    assert (found.queries, found.recall_at_10, found.mrr) == (3, pytest.approx(1 / 3), pytest.approx(1 / 6))
