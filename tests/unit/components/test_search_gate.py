"""The gate on search: what the service's core answers decides, not how judged lists are ordered."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.ranking_report import search
from components.ranking_report.search import HeldOut, blocking_line, held_out_queries, search_with
from sqidflow.encoders.offline import OfflineEncoder
from sqidflow.ranking import features
from sqidflow.ranking.rankers import Candidates, ZeroShotRanker
from sqidflow.ranking.retrieval import Fusion
from tests.fixtures.small_index import COLORS, DIM, KINDS, invented_catalogue

CONFIG = {
    "encoder": OfflineEncoder.name,
    "search": {"candidates": 100, "rewrite": "local", "synonyms": None, "encoder_model": None},
    "fusion": Fusion.of("lexical").as_json(),
    "candidates": 100,
    "language": "english",
}


class UpsideDown(ZeroShotRanker):
    """The worst of the retrieved first."""

    name, version = "upside down", "17"

    def probabilities(self, candidates: Candidates) -> np.ndarray:
        return super().probabilities(candidates)[:, ::-1]


def queries() -> list[HeldOut]:
    """Every colour and kind; both brands' products of it are Exact, those of the kind Substitutes."""
    catalogue, encoder = invented_catalogue(), OfflineEncoder(dim=DIM)
    out = []
    for kind in KINDS:
        for color in COLORS:
            text = f"{color} {kind}"
            judged = {
                product: 3 if text in title else 2
                for product, title in zip(catalogue.product_ids, catalogue.titles)
                if kind in title
            }
            out.append(HeldOut(text, encoder.encode_texts([text])[0], judged))
    return out


def found_with(ranker: Any, tmp_path: Path, **config: Any):
    return search_with(tmp_path / "index", ranker, "mine", CONFIG | config, invented_catalogue(), queries())


def test_a_model_that_turns_the_order_around_is_blocked_and_the_line_says_by_what(tmp_path: Path) -> None:
    found = found_with(UpsideDown(DIM), tmp_path)
    assert list(found.values) == ["bm25", "cosine", "fusion", "mine"] and found.queries == len(KINDS) * len(COLORS)
    assert found.of("bm25", "recall_at_10").mean() == found.of("fusion", "mrr").mean() == 1
    assert found.is_worse("mine") and found.of("mine", "mrr").mean() < 0.1
    line = blocking_line(found, "mine")
    assert line is not None and "below the 1.000 of bm25" in line and "25 held-out queries" in line


def test_a_model_that_keeps_the_order_passes(tmp_path: Path) -> None:
    found = found_with(ZeroShotRanker(DIM), tmp_path)
    assert found.of("mine", "mrr").tolist() == found.of("fusion", "mrr").tolist()
    assert blocking_line(found, "mine") is None and blocking_line(None, "mine") is None


def test_without_the_encoder_the_vectors_of_the_queries_are_enough(tmp_path: Path) -> None:
    found = found_with(ZeroShotRanker(DIM), tmp_path, encoder="sentence-transformers:of nobody")
    assert found.of("fusion", "mrr").mean() == 1


def test_held_out_queries_have_an_exact_product_and_are_the_same_each_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "MOST_QUERIES", 5)
    (tmp_path / "features").mkdir()
    ids = list(range(20))
    vectors = [[float(query), 1.0] for query in ids]
    pq.write_table(
        pa.table({features.QUERY_ID: ids, features.QUERY_VEC: vectors}), tmp_path / "features/queries.parquet"
    )
    rows = [(query, f"q{query}", f"p{at}", 3 if query % 2 else 2) for query in ids for at in range(2)]
    names = (features.QUERY_ID, features.QUERY, features.PRODUCT_ID, features.RATING)
    scores = pa.table(dict(zip(names, map(list, zip(*rows)))))
    chosen = held_out_queries(scores, tmp_path, 2)
    assert len(chosen) == 5
    assert all(query.judged == {"p0": 3, "p1": 3} and int(query.text[1:]) % 2 for query in chosen)
    assert all(query.vector.tolist() == [float(query.text[1:]), 1.0] for query in chosen)
    again = held_out_queries(scores.take(pa.array(range(39, -1, -1))), tmp_path, 2)
    assert [query.text for query in again] == [query.text for query in chosen]
