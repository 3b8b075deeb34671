"""BM25's index: which products have which terms."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sqidflow.ranking.bm25 import WordIndex
from sqidflow.ranking.exclusion import terms_to_index

TEXTS = ["red kettle", "blue kettle", "red lamp", "", "red red rug"]


def test_coverage_is_the_share_of_what_the_terms_say() -> None:
    index = WordIndex.of(TEXTS)
    rows = np.array([4, 1, 0, 3])
    assert index.coverage(["red"], rows).tolist() == [1, 0, 1, 0]
    whole = index.total_idf(["red", "kettl"])
    expected = [index.total_idf(["red"]) / whole, index.total_idf(["kettl"]) / whole, 1, 0]
    assert index.coverage(["red", "kettl"], rows).tolist() == pytest.approx(expected)
    assert index.coverage(["red", "nowher"], rows)[0] < 0.5, "what no product has says most"
    assert index.coverage([], rows).tolist() == [0] * 4


def test_rows_that_have_all_terms() -> None:
    index = WordIndex.of(TEXTS)
    assert index.having(["red"]).tolist() == [0, 2, 4] and index.having(["red", "kettl"]).tolist() == [0]
    assert not len(index.having([])) and not len(index.having(["red", "nowher"]))
    assert index.count("red") == 3 and index.count("nowher") == 0
    assert WordIndex.of([""]).count("red") == 0


def test_every_score_is_what_bm25s_gives() -> None:
    import bm25s

    texts = [*TEXTS, "kettle for tea, without lid", "Teekannen und Kannen", "red kettle red kettle"]
    plain = bm25s.BM25(method="lucene", k1=1.5, b=0.75)
    plain.index([terms_to_index(text) for text in texts], show_progress=False)
    index = WordIndex.of(texts)
    terms = [term for term in plain.vocab_dict if term]
    assert len(terms) > 8
    for term in terms:
        np.testing.assert_array_equal(index.scores([term]), plain.get_scores([term]))


def test_an_updated_index_is_that_of_the_new_texts(tmp_path: Path) -> None:
    WordIndex.of(TEXTS).save(tmp_path)
    now = ["blue kettle", "green teapot", "red red rug", "", "red kettle and teapot"]
    updated = WordIndex.updated(tmp_path, np.array([1, -1, 4, 3, -1]), [now[1], now[4]], "english")
    built = WordIndex.of(now)
    for term in ("red", "kettl", "blue", "teapot", "green", "rug"):
        np.testing.assert_array_equal(updated.scores([term]), built.scores([term]))
        assert updated.total_idf([term]) == built.total_idf([term])
    assert updated.count("lamp") == 0 and updated.scores(["lamp"]) is None, "of the product that is gone"


def test_all_products_may_be_new_or_gone(tmp_path: Path) -> None:
    WordIndex.of([""]).save(tmp_path / "empty")
    grown = WordIndex.updated(tmp_path / "empty", np.array([-1, 0]), ["red lamp"], "english")
    assert grown.having(["red"]).tolist() == [0] and grown.count("lamp") == 1
    grown.save(tmp_path / "grown")
    assert WordIndex.updated(tmp_path / "grown", np.array([1]), [], "english").scores(["red"]) is None
