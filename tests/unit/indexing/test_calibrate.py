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
from sqidflow.search.off_catalogue import OFF_CATALOGUE
from tests.fixtures.small_index import SmallIndex


@pytest.fixture(scope="module")
def core(small_index: SmallIndex) -> Iterator[SearchCore]:
    yield small_index.core()


def test_without_judgements_titles_are_what_it_is_calibrated_by(core: SearchCore, small_index: SmallIndex) -> None:
    found = calibrate.calibrate(core, calibrate.ValidationQueries(), small_index.catalogue)
    assert found.document["source"] == "words of titles" and found.document["queries"] == 50
    assert found.document["false_rejects"]["words_of_titles"] <= 0.1
    assert found.document["false_accepts"]["gibberish"] <= 0.05
    assert found.document["false_accepts"]["off_catalogue"] <= 0.05, "of domains that no fit knew"
    assert found.score_cutoff is None, "scores of a ranker that was not trained say nothing by themselves"
    assert found.picture_cutoff is None and found.document["pictures"] == 8, "ten are the fewest"

    def fits(query: str) -> bool:
        signals = core.signals(query)
        return signals is not None and fitness.fitness(found.fit, signals.values()) >= found.fit.cutoff

    assert all(map(fits, ("red kettle", "wool blanket", "borealis lamp", "purple kettle", "kettel")))
    assert not any(map(fits, ("qwrtzp xkcdfg", "mortgage interest rates", "stonkler vabe")))
    assert core.signals("!?") is None


@pytest.fixture(scope="module")
def evidence(core: SearchCore, small_index: SmallIndex) -> calibrate.Evidence:
    return calibrate.gather(core, (), small_index.catalogue.titles)


def test_each_title_is_asked_for_with_its_product_and_without(evidence: calibrate.Evidence) -> None:
    assert len(evidence.own) == len(evidence.alone) == 50
    with_it, without_it = (np.array([signals.values() for signals in of]) for of in (evidence.own, evidence.alone))
    assert (with_it[:, 0] >= without_it[:, 0] - 1e-6).all() and (with_it[:, 0] > without_it[:, 0]).mean() >= 0.5


def test_the_more_real_queries_the_more_they_decide(core: SearchCore, evidence: calibrate.Evidence) -> None:
    """Real queries that share no word with the catalogue's titles lower the cut-off, a hundred further than ten."""
    from dataclasses import replace

    odd = core.signals("stonkler kettle vabe")
    assert odd is not None

    def kept(count: int) -> bool:
        fit = calibrate.fitted(replace(evidence, validation=[odd] * count))
        return fitness.fitness(fit, odd.values()) >= fit.cutoff

    assert not kept(0) and kept(100)


def test_domains_that_are_left_out_are_not_looked_at(evidence: calibrate.Evidence) -> None:
    assert {domain for domain, _ in evidence.off_catalogue} == set(OFF_CATALOGUE)
    assert 0 <= calibrate.held_out(evidence) <= 0.05


def test_a_catalogue_too_small_to_calibrate_with_says_so(core: SearchCore, small_index: SmallIndex) -> None:
    from dataclasses import replace

    small = replace(small_index.catalogue, titles=["", "!?", "red kettle"], has_image=np.zeros(3, bool))
    found = calibrate.calibrate(core, calibrate.ValidationQueries(), small)
    assert found.document["source"] == "nothing" and found.document["queries"] == 1
    assert fitness.fitness(found.fit, np.zeros(len(fitness.SIGNALS))) == np.inf and found.score_cutoff is None


def test_queries_to_begin_with_are_the_first_words_of_titles() -> None:
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
