"""BM25 of pairs: rarer words weigh more, nothing in common is 0, nothing at all is no error."""

from __future__ import annotations

import numpy as np
import pytest

from sqidflow.evaluation.bm25 import bm25_scores, product_text

CATALOGUE = {"a": "Red kettle", "b": "red pan", "c": "red red hose", "d": ""}


def test_scores_of_a_pair_do_not_depend_on_the_other_pairs():
    pairs = [("red kettle", "a"), ("red kettle", "b"), ("pan", "b"), ("red kettle", "d"), ("unheard", "a")]
    together = bm25_scores(*zip(*pairs), CATALOGUE)
    alone = [bm25_scores([query], [product], CATALOGUE)[0] for query, product in pairs]
    np.testing.assert_array_equal(together, alone)
    assert together[0] > together[1] > 0
    assert together[3] == together[4] == 0


def test_scores_are_lucenes_formula():
    """idf = ln(1 + (N - df + 0.5) / (df + 0.5)); tf / (k1 (1 - b + b length / mean length) + tf)."""
    found = bm25_scores(["kettle"], ["a"], CATALOGUE)[0]
    idf = np.log(1 + (4 - 1 + 0.5) / (1 + 0.5))
    assert found == pytest.approx(idf / (1.5 * (1 - 0.75 + 0.75 * 2 / (7 / 4)) + 1), rel=1e-6)


@pytest.mark.parametrize("catalogue", [{"a": ""}, {"a": "!!", "b": "..."}])
def test_a_catalogue_without_words_scores_0(catalogue):
    np.testing.assert_array_equal(bm25_scores(["red"], ["a"], catalogue), [0.0])


def test_a_query_without_words_scores_0():
    np.testing.assert_array_equal(bm25_scores(["", "?!"], ["a", "a"], CATALOGUE), [0.0, 0.0])


def test_missing_texts_are_empty():
    assert product_text(None, None).strip() == "" and product_text("Pan", None).strip() == "Pan"
