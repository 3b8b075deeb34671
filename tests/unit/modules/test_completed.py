"""Judged lists completed with what search shows beside them."""

from __future__ import annotations

import numpy as np
import pytest

from modules.completed import JudgedQueries, completed_lists, joined
from modules.ladder import UNJUDGED, UNJUDGED_NEAR, UNJUDGED_RANDOM
from modules.model import SHALLOW_NAMES
from sqidflow.encoders.offline import OfflineEncoder
from sqidflow.indexing.build import Catalogue
from sqidflow.ranking import features
from sqidflow.ranking.retrieval import Fusion
from sqidflow.ranking.served import OwnVectors, ServedCatalogue
from tests.fixtures.small_index import DIM, invented_catalogue

CANDIDATES = 40
TEXTS = ["red kettle", "blue desk lamp"]


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return invented_catalogue()


@pytest.fixture(scope="module")
def served(catalogue: Catalogue) -> ServedCatalogue:
    return ServedCatalogue(catalogue, Fusion.of("lexical"), CANDIDATES, "english")


@pytest.fixture(scope="module")
def queries(catalogue: Catalogue, served: ServedCatalogue) -> JudgedQueries:
    vectors = OfflineEncoder(dim=DIM).encode_texts(TEXTS)
    kettle = [product for product, title in zip(catalogue.product_ids, catalogue.titles) if "red kettle" in title]
    (lamps,) = served.lists(TEXTS[1:], vectors[1:], [np.zeros(0, np.int64)])
    far = served.product_ids[int(np.setdiff1d(np.arange(len(served)), lamps.rows)[0])]
    return JudgedQueries(TEXTS, vectors, [kettle, [far]], [np.array([3, 2]), np.array([1])])


def test_what_a_list_is_made_of(served: ServedCatalogue, queries: JudgedQueries) -> None:
    lists = completed_lists(served, queries, None, 17)
    assert lists.queries == 2 and lists.names == SHALLOW_NAMES
    for query in range(2):
        own = lists.query == query
        assert int((own & lists.retrieved).sum()) == CANDIDATES
        rows = lists.row[own].tolist()
        assert len(set(rows)) == len(rows)
        near = own & lists.retrieved & (lists.rating == UNJUDGED)
        assert int((lists.weight[near] > 0).sum()) == UNJUDGED_NEAR
        far = own & ~lists.retrieved & (lists.rating == UNJUDGED)
        assert int(far.sum()) <= UNJUDGED_RANDOM and (lists.weight[far] > 0).all()
        assert lists.weight[own].sum() == pytest.approx(5)
    judged = np.flatnonzero(lists.rating != UNJUDGED)
    assert lists.rating[judged].tolist() == [3, 2, 1]
    assert lists.retrieved[judged].tolist() == [True, True, False]
    assert [served.product_ids[row] for row in lists.row[judged]] == [*queries.products[0], *queries.products[1]]


def test_a_judged_product_that_is_not_found_moves_nothing_of_retrieval(
    served: ServedCatalogue, queries: JudgedQueries
) -> None:
    vectors = queries.vectors
    nothing = [np.zeros(0, np.int64)] * 2
    alone = list(served.lists(TEXTS, vectors, nothing))
    added = list(served.lists(TEXTS, vectors, [served.rows_of(products) for products in queries.products]))
    for one, other in zip(alone, added):
        assert one.rows.tolist() == other.rows[: other.retrieved].tolist()
        np.testing.assert_array_equal(
            one.features[features.RETRIEVAL], other.features[features.RETRIEVAL][: other.retrieved]
        )
    assert len(added[1].rows) == CANDIDATES + 1


def test_vectors_as_of_the_judgement_are_used_for_the_judged_product_alone(served: ServedCatalogue) -> None:
    vector = OfflineEncoder(dim=DIM).encode_texts(TEXTS[:1])
    row = served.rows_of(["P00"])
    own = OwnVectors(row, -7 * vector, vector, np.array([0]))
    (plain,) = served.lists(TEXTS[:1], vector, [row])
    (then,) = served.lists(TEXTS[:1], vector, [row], [own])
    (place,) = then.places_of(row)
    assert then.features[features.COSINES][place, 0] == pytest.approx(-1, abs=1e-3)
    assert then.has_image[place] == 0 and not then.image[place].any()
    others = np.arange(len(plain.rows)) != place
    np.testing.assert_array_equal(plain.features[features.COSINES][others], then.features[features.COSINES][others])


def test_columns_are_what_the_model_reads(served: ServedCatalogue, queries: JudgedQueries) -> None:
    """As Keras computes them of the same vectors, with a map from texts to pictures."""
    from modules.model import SHALLOW, Dimensions, build_shallow

    to_picture = np.random.default_rng(0).normal(size=(DIM, DIM)).astype(np.float32)
    lists = completed_lists(served, queries, to_picture, 17)
    own = np.flatnonzero(lists.query == 0)
    model = build_shallow(Dimensions(vector=DIM))
    model.get_layer("text_to_picture").set_weights([to_picture])
    rows = lists.row[own]
    has_image = served.has_image[rows].astype(np.float32)[:, None]
    query = np.repeat(features.unit(queries.vectors[0])[None], len(own), 0)
    columns = {name: lists.read[own][:, [SHALLOW_NAMES.index(each) for each in names]] for name, names in (
        (features.COSINES, features.COSINE_NAMES), (features.LEXICAL, features.LEXICAL_NAMES),
        (features.RELATIVE, features.RELATIVE_NAMES), (features.RETRIEVAL, features.RETRIEVAL_NAMES),
    )}  # fmt: skip
    inputs = {
        features.QUERY_VEC: query, features.TEXT_VEC: served.text[rows].astype(np.float32),
        features.IMAGE_VEC: served.image[rows].astype(np.float32) * has_image, features.HAS_IMAGE: has_image, **columns,
    }  # fmt: skip
    assert model.output.name.startswith(SHALLOW) or model.output.shape[-1] == len(SHALLOW_NAMES)
    np.testing.assert_allclose(lists.read[own], model.predict(inputs, verbose=0), atol=1e-3)


def test_the_same_seed_completes_the_same_way_and_lists_join(served: ServedCatalogue, queries: JudgedQueries) -> None:
    first, again = (completed_lists(served, queries, None, 5) for _ in range(2))
    assert first.weight.tolist() == again.weight.tolist() and first.row.tolist() == again.row.tolist()
    both = joined(first, again)
    assert both.queries == 4 and len(both) == 2 * len(first)
    assert both.has_exact().tolist() == [True, False, True, False]


def test_a_product_that_is_not_in_the_catalogue_is_named(served: ServedCatalogue) -> None:
    with pytest.raises(ValueError, match="product_id 'P99' is judged and not in the prepared catalogue"):
        served.rows_of(["P00", "P99"])
