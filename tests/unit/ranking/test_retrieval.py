"""Which candidates a query has, and their order before anything is learned."""

from __future__ import annotations

import numpy as np
import pytest

from sqidflow.encoders.offline import OfflineEncoder
from sqidflow.ranking.retrieval import (
    RETRIEVAL_NAMES,
    Fusion,
    best_rows,
    candidate_rows,
    fused_rows,
    fusion_kind,
    fusion_scores,
    likeness_to_thing,
    retrieval_features,
    z,
)


@pytest.mark.parametrize("size", [7, 300, 20_000])
def test_best_rows_are_those_of_a_whole_sort(size: int) -> None:
    scores = np.random.default_rng(size).integers(-3, 40, size).astype(np.float32)
    order = np.lexsort((np.arange(size), -scores))
    assert best_rows(scores, 50).tolist() == [row for row in order.tolist() if scores[row] > 0][:50]
    assert best_rows(scores, 50, -np.inf).tolist() == order[:50].tolist()
    assert best_rows(-scores, 50, -np.inf).tolist() == np.lexsort((np.arange(size), scores))[:50].tolist()
    assert len(best_rows(np.zeros(size, np.float32), 5)) == 0


def test_fusion_adds_reciprocal_ranks_and_breaks_ties_by_row() -> None:
    # Row 3 is first in one list and second in the other; 5 and 1 are in one list each, at the same rank.
    assert fused_rows(np.array([3, 5]), np.array([7, 3]), 10).tolist() == [3, 7, 5]
    assert fused_rows(np.array([5]), np.array([1]), 10).tolist() == [1, 5]
    assert fused_rows(np.array([3, 5]), np.array([7, 3]), 1).tolist() == [3]


def test_without_a_known_word_the_nearest_are_the_candidates() -> None:
    near = np.array([4, 2, 9])
    assert candidate_rows(near, None, 2).tolist() == [4, 2]
    assert candidate_rows(near, np.zeros(10, np.float32), 3).tolist() == [4, 2, 9]
    worded = np.zeros(10, np.float32)
    worded[7] = 1.0
    assert 7 in candidate_rows(near, worded, 4).tolist()


def test_statistics_are_of_the_retrieved_rows_alone() -> None:
    values = np.array([1.0, 2.0, 3.0, 100.0])
    found = z(values, retrieved=3)
    np.testing.assert_allclose(found, (values - 2) / np.std([1.0, 2.0, 3.0]))
    moved = z(np.array([1.0, 2.0, 3.0, -5.0]), retrieved=3)
    assert moved[:3].tolist() == found[:3].tolist()


@pytest.mark.parametrize("values", [np.zeros(0), np.array([0.4]), np.full(3, 0.4), np.array([0.4, 0.4 + 1e-9])])
def test_values_that_cannot_be_told_apart_are_zero(values: np.ndarray) -> None:
    assert z(values).tolist() == [0.0] * len(values)


def test_f0_is_the_weighted_sum_of_the_z_scores() -> None:
    cosine, bm25, trigram = np.array([0.1, 0.3, 0.2]), np.array([5.0, 0.0, 0.0]), np.array([1.0, 0.5, 0.0])
    fusion = Fusion(0.6, 0.3, 0.1)
    found = retrieval_features(cosine, bm25, trigram, 10.0, fusion)
    by_name = dict(zip(RETRIEVAL_NAMES, found.T))
    expected = 0.6 * z(cosine) + 0.3 * z(bm25) + 0.1 * z(trigram)
    np.testing.assert_allclose(by_name["f0"], expected, rtol=1e-5)
    np.testing.assert_allclose(by_name["bm25_share"], [0.5, 0, 0])
    assert found.dtype == np.float32
    assert fusion_scores(cosine, bm25, trigram, fusion).tolist() == by_name["f0"].tolist()
    assert np.isfinite(retrieval_features(cosine, bm25, trigram, 0.0, fusion)).all()


def test_weights_are_read_as_they_were_written() -> None:
    assert Fusion.read(Fusion.of("semantic").as_json()) == Fusion.of("semantic")
    with pytest.raises(ValueError, match="no weights"):
        Fusion.read({"cosine": 1.0})


KINDS = {"kettle": ("steel", "boiling"), "lamp": ("desk", "light"), "shoe": ("running", "sole")}
MAKERS = ("acme", "borealis", "corvid", "dune", "ember", "fjord", "gale", "harbor", "inlet", "juniper")


def titles() -> list[str]:
    """Thirty titles whose halves share no letters to speak of."""
    return [f"{maker} {kind} {first} {second}" for kind, (first, second) in KINDS.items() for maker in MAKERS]


def test_vectors_that_know_which_halves_belong_together_are_semantic() -> None:
    own = {word: number for number, title in enumerate(titles()) for word in (title,)}

    def knows(texts: list[str]) -> np.ndarray:
        vectors = np.zeros((len(texts), len(own)), np.float32)
        for row, text in enumerate(texts):
            for title, column in own.items():
                vectors[row, column] = float(set(text.split()) <= set(title.split()))
        return vectors + 1e-6

    assert fusion_kind(titles(), knows, "english") == "semantic"


def test_vectors_of_letters_are_lexical_and_the_choice_is_the_same_each_time() -> None:
    encoder = OfflineEncoder(dim=64)
    kinds = {fusion_kind(order, encoder.encode_texts, "english") for order in (titles(), titles()[::-1])}
    assert kinds == {"lexical"}


def test_too_few_titles_to_tell_are_lexical() -> None:
    def never(texts: list[str]) -> np.ndarray:
        raise AssertionError("nothing to encode")

    assert fusion_kind(["one two", "three"], never, "english") == "lexical"


def test_what_is_like_the_products_that_a_title_names() -> None:
    """Two shoes named so, one that is called otherwise, and a bicycle."""
    blends = np.array([[1, 0.1], [1, -0.1], [0.9, 0], [0, 1]], np.float32)
    found = likeness_to_thing(blends, np.array([True, True, False, False]), 4)
    np.testing.assert_allclose(found[2:], [1.0, 0.0], atol=1e-6)
    assert (found[:2] > 0.99).all()


def test_the_middle_is_of_what_was_retrieved_and_there_is_none_without_a_name() -> None:
    blends = np.array([[1, 0], [0, 1], [0, 1]], np.float32)
    named = np.array([True, False, True])
    np.testing.assert_allclose(likeness_to_thing(blends, named, 2), [1, 0, 0], atol=1e-6)
    assert not likeness_to_thing(blends, np.zeros(3, bool), 3).any()
    assert not likeness_to_thing(blends, np.ones(3, bool), 3).any()
