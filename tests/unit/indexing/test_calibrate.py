"""When an index answers that nothing fits."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sqidflow.core.model_files import VALIDATION_QUERIES
from sqidflow.indexing import calibrate
from sqidflow.search import fitness
from sqidflow.search.engine import SearchCore
from tests.fixtures.small_index import SmallIndex


@pytest.fixture(scope="module")
def core(small_index: SmallIndex) -> Iterator[SearchCore]:
    yield small_index.core()


def test_without_judgements_titles_are_what_it_is_calibrated_by(core: SearchCore, small_index: SmallIndex) -> None:
    found = calibrate.calibrate(core, calibrate.ValidationQueries(), small_index.catalogue)
    assert found.document["source"] == "titles of products" and found.document["queries"] == 50
    assert found.document["false_rejects"]["words_of_titles"] <= 0.05
    assert found.document["false_accepts"]["gibberish"] <= 0.05
    assert found.score_cutoff == 0, "scores of a ranker that was not trained say nothing by themselves"
    assert 0 < found.picture_cutoff < 1

    def fits(query: str) -> bool:
        return fitness.fitness(found.fit, core.signals(query)) >= found.fit.cutoff

    assert fits("red kettle") and fits("wool blanket") and fits("borealis lamp")
    assert not fits("qwrtzp xkcdfg") and not fits("mortgage interest rates")


def test_enough_validation_queries_are_preferred(core: SearchCore, small_index: SmallIndex) -> None:
    texts = tuple(f"{color} kettle" for color in ("red", "green", "blue", "black", "white")) + tuple(
        f"{color} backpack" for color in ("red", "green", "blue", "black", "white")
    )
    exact = {"red kettle": ["P00", "P01"]}
    found = calibrate.calibrate(core, calibrate.ValidationQueries(texts, exact), small_index.catalogue)
    assert found.document["source"] == "validation queries" and found.document["queries"] == 10
    few = calibrate.calibrate(core, calibrate.ValidationQueries(texts[:9], exact), small_index.catalogue)
    assert few.document["source"] == "titles of products"


def test_a_catalogue_too_small_to_calibrate_with_refuses_nothing(core: SearchCore, small_index: SmallIndex) -> None:
    from dataclasses import replace

    small = replace(small_index.catalogue, titles=["", "!?", "red kettle"], has_image=np.zeros(3, bool))
    found = calibrate.calibrate(core, calibrate.ValidationQueries(), small)
    assert found.document == {"source": "nothing", "queries": 1}
    assert fitness.fitness(found.fit, np.zeros(len(fitness.SIGNALS))) == np.inf and found.picture_cutoff == -1


@pytest.mark.parametrize(
    "title",
    ["Acme \u2014 red kettle, 2 l (new)", "やかん 赤 ステンレス", "чайник красный", "24", "a"],
)
def test_queries_are_words_of_titles_in_any_script(title: str) -> None:
    titles = [title, "something else entirely"]
    queries = calibrate.title_queries(titles, 10, seed=1)
    assert len(queries) == 2 and len(calibrate.title_queries(titles, 1, seed=1)) == 1
    assert any(
        set(query.split()) <= set(title.replace(",", "").replace("(", "").replace(")", "").split()) for query in queries
    )
    assert calibrate.title_queries(titles, 10, seed=1) == queries != []


def test_words_that_most_titles_have_are_not_asked_for() -> None:
    titles = [f"bestseller thing{number}" for number in range(20)]
    assert all("bestseller" not in query for query in calibrate.title_queries(titles, 20, seed=1))
    assert calibrate.sample_queries(["Acme red kettle, 2 l", "Acme red kettle, 3 l"], 8) == ["Acme red kettle"]


def test_validation_queries_are_those_of_the_model_that_are_judged(tmp_path: Path) -> None:
    (tmp_path / VALIDATION_QUERIES).write_text(json.dumps({"query_ids": [1, 3]}))
    pairs = pa.table(
        {
            "query_id": [1, 1, 2, 3],
            "query": ["red", "red", "blue", "green"],
            "product_id": ["A", "B", "A", "C"],
            "esci_label": ["E", "S", "E", "I"],
        }
    )
    found = calibrate.validation_queries(tmp_path, pairs)
    assert found.texts == ("red", "green") and found.exact == {"red": ["A"]}
    assert calibrate.validation_queries(None, pairs).texts == ()


def test_known_items_are_the_exact_products_of_held_out_queries(core: SearchCore, tmp_path: Path) -> None:
    file = tmp_path / "scores.parquet"
    assert calibrate.known_items(core, file) is None
    rows = {
        "query": ["red kettle", "red kettle", "blue kettle"],
        "product_id": ["P00", "P02", "P49"],
        "rating": [3, 0, 3],
    }
    pq.write_table(pa.table(rows), file)
    assert calibrate.held_out_items(file) == {"red kettle": {"P00"}, "blue kettle": {"P49"}}
    found = calibrate.known_items(core, file)
    assert found is not None and found["queries"] == 2 and found["recall_at_10"] == 0.5 and 0 < found["mrr"] <= 0.5
