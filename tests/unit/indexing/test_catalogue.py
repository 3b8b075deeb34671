"""The prepared files as an index is built from them: the same texts, and so the same features, as training has."""

from __future__ import annotations

import shutil
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sqidflow.data import formats
from sqidflow.data.prepare import FEATURE_EPOCH, prepare
from sqidflow.encoders.offline import OfflineEncoder
from sqidflow.indexing.build import build
from sqidflow.indexing.catalogue import (
    judgements_of,
    open_catalogue,
    read_catalogue,
    read_pairs,
    read_pictures,
    read_queries,
)
from sqidflow.indexing.served import read_served
from sqidflow.ranking import features
from sqidflow.ranking.rankers import ZeroShotRanker
from sqidflow.search.engine import SearchCore
from sqidflow.search.index import ProductIndex
from sqidflow.search.rewrite import NoRewriter
from tests.fixtures.small_index import DIM, small_meta

TITLES = {
    "P1": "Acme\u00a0red  steel\tkettle\nfor 2 litres",
    "P2": " red\r\n\r\nkettle\u2028without wire \u3000",
    "P3": "green kettle",
    "P4": "kettle\x0bred\x1c24\u2003inch",
}
QUERY = "red  steel\u00a0kettle 24 inch"


def write_raw(folder: Path) -> None:
    """A query with four judged products of locale us, whose rows in locale es stand first in the file."""
    folder.mkdir()
    encoder = OfflineEncoder(dim=DIM)
    judged = [
        {"example_id": at, "query": QUERY, "query_id": 1, "product_id": product, "product_locale": "us",
         "esci_label": "E", "small_version": 1, "large_version": 1, "split": "test"}
        for at, product in enumerate(TITLES)
    ]  # fmt: skip
    products: list[dict[str, Any]] = [
        {"product_id": product, "product_title": f"hervidor {product}", "product_locale": "es", "product_color": "rojo"}
        for product in TITLES
    ]
    products += [
        {"product_id": product, "product_title": title, "product_locale": "us", "product_brand": "Acme\n Home\u00a0Co",
         "product_color": " ", "product_description": "a\nb"}
        for product, title in TITLES.items()
    ]  # fmt: skip
    products.append({"product_id": "P0", "product_title": "judged by nobody", "product_locale": "us"})
    vectors = encoder.encode_texts([*TITLES.values(), "judged by nobody"])
    rows = {
        formats.EXAMPLES_FILE: (judged, formats.EXAMPLES_SCHEMA),
        formats.PRODUCTS_FILE: (products, formats.PRODUCTS_SCHEMA),
        formats.QUERY_FEATURES_FILE: (
            [{"query_id": "1", "clip_text_features": encoder.encode_texts([QUERY])[0].tolist()}],
            formats.QUERY_FEATURES_SCHEMA,
        ),
        formats.PRODUCT_FEATURES_FILE: (
            [
                {"product_id": product, "clip_text_features": vector.tolist(), "clip_image_features": None}
                for product, vector in zip([*TITLES, "P0"], vectors)
            ],
            formats.PRODUCT_FEATURES_SCHEMA,
        ),
    }
    for name, (content, schema) in rows.items():
        pq.write_table(pa.Table.from_pylist(content, schema=schema), folder / name)


@pytest.fixture(scope="module")
def workdir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("locales")
    write_raw(root / "data")
    prepare(root / "data", root / "artifacts", locale="us")
    return root


def core_of(artifacts: Path, folder: Path) -> SearchCore:
    catalogue = read_catalogue(artifacts)
    ranker = ZeroShotRanker(DIM)
    judged = read_pairs(artifacts / "prepared/pairs.csv")
    meta = replace(small_meta(catalogue, ranker), products=len(catalogue.product_ids))
    _, queries = read_queries(artifacts, DIM)
    build(folder, catalogue, judgements_of(judged, catalogue), (), queries, ranker, meta)
    return SearchCore(ProductIndex(folder), ranker, OfflineEncoder(dim=DIM), NoRewriter())


def test_search_reads_the_features_that_training_reads(workdir: Path, tmp_path: Path) -> None:
    """Bit for bit, every feature of every candidate, whatever blanks the titles have."""
    artifacts = workdir / "artifacts"
    core = core_of(artifacts, tmp_path / "index")
    _, queries = read_queries(artifacts, DIM)
    text = read_pairs(artifacts / "prepared/pairs.csv")["query"].to_pylist()[0]
    served = read_served(artifacts, core.index.meta.fusion)
    (trained,) = served.lists([text], queries[:1], [served.rows_of(list(TITLES))])
    found = core.retrieve(text, core.encode(text, None))

    assert found.rows.tolist() == trained.rows.tolist() and len(trained.rows) == trained.retrieved == 5
    searched = {
        features.LEXICAL: found.candidates.lexical,
        features.RELATIVE: found.candidates.relative,
        features.RETRIEVAL: found.candidates.retrieval,
    }
    for name, values in searched.items():
        np.testing.assert_array_equal(values, trained.features[name], name)
    np.testing.assert_array_equal(found.candidates.text, trained.text)
    overlap = trained.features[features.LEXICAL][:, features.LEXICAL_NAMES.index("token_overlap")]
    assert overlap.max() > 0.5, "the words were found"
    assert np.ptp(trained.features[features.RETRIEVAL][:, 0]) > 1
    at = core.index.row_of("P1")
    assert core.index.cell("title", at) == "Acme red steel kettle for 2 litres"
    assert core.index.cell("description", at) == "a\nb"


def test_the_whole_catalogue_of_the_locale_is_there_in_the_order_of_ids(workdir: Path) -> None:
    catalogue = read_catalogue(workdir / "artifacts")
    assert catalogue.product_ids == ["P0", "P1", "P2", "P3", "P4"]
    assert catalogue.titles[0] == "judged by nobody" and not any("hervidor" in title for title in catalogue.titles)
    assert catalogue.text.shape == catalogue.image.shape == (5, DIM) and not catalogue.has_image.any()


def test_vectors_are_read_of_the_products_that_are_asked_for(workdir: Path) -> None:
    artifacts = workdir / "artifacts"
    prepared, whole = open_catalogue(artifacts), read_catalogue(artifacts)
    some = prepared.with_vectors(np.array([1, 3]))
    np.testing.assert_array_equal(some.text[[1, 3]], whole.text[[1, 3]])
    assert not some.text[[0, 2, 4]].any() and some.text.shape == some.image.shape == whole.text.shape
    assert prepared.with_vectors(np.zeros(0, np.int64)).text.shape == whole.text.shape
    assert prepared.prints is not None and len(np.unique(prepared.prints)) == len(np.unique(whole.text, axis=0))
    assert prepared.first_of_file(2).tolist() == sorted(prepared.place[:2].tolist())


def test_of_a_history_the_newest_vector_is_searched(workdir: Path, tmp_path: Path) -> None:
    artifacts = Path(shutil.copytree(workdir / "artifacts", tmp_path / "artifacts"))
    file = artifacts / "features/products.parquet"
    table = pq.read_table(file)
    newer = table.slice(1, 1).to_pylist()[0]
    newer |= {"product_text_vec": [1.0] * DIM, "event_timestamp": FEATURE_EPOCH + timedelta(days=1)}
    older = newer | {"product_text_vec": [2.0] * DIM, "event_timestamp": FEATURE_EPOCH - timedelta(days=1)}
    more = pa.Table.from_pylist([newer, older], schema=table.schema)
    pq.write_table(pa.concat_tables([table, more]), file)
    catalogue = read_catalogue(artifacts)
    row = catalogue.product_ids.index(newer["product_id"])
    assert catalogue.text[row].tolist() == [1.0] * DIM and len(catalogue.product_ids) == 5


def test_pictures_come_in_the_order_of_rows_and_of_known_products_alone(tmp_path: Path) -> None:
    rows = [{"product_id": name, "image": name.encode()} for name in ("P2", "nowhere", "P0")]
    pq.write_table(pa.Table.from_pylist(rows, schema=formats.IMAGES_SCHEMA), tmp_path / formats.IMAGES_FILE)
    assert list(read_pictures(tmp_path, {"P0": 0, "P1": 1, "P2": 2})) == [(0, b"P0"), (2, b"P2")]
    (tmp_path / formats.IMAGES_FILE).unlink()
    assert list(read_pictures(tmp_path, {"P0": 0})) == []
