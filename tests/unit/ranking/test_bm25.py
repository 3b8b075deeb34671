"""BM25's index: which products have which terms."""

from __future__ import annotations

import numpy as np
import pytest

from sqidflow.ranking.bm25 import WordIndex

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
