"""672 real CLIP query vectors of SQID, in the wide form with their timestamp, from the file to Feast's answers."""

from __future__ import annotations

import csv
import gzip
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sqidflow.data import formats
from sqidflow.data.importing import import_files
from sqidflow.data.prepare import prepare
from sqidflow.feature_store import names, store
from sqidflow.ranking import features

MOMENT = datetime(2025, 3, 27, 7, 1, 4, 332726, UTC)
"""The timestamp that stands in every row of the file."""
PRODUCTS = 5


@dataclass(frozen=True)
class Real:
    """A prepared workdir, and what a plain CSV reader finds in the file."""

    artifacts: Path
    ids: list[int]
    vectors: np.ndarray


@pytest.fixture(scope="module")
def real(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Real:
    file = real_data / "query_features_with_timestamp.csv.gz"
    with gzip.open(file, "rt", newline="") as text:
        rows = list(csv.reader(text))
    columns = [rows[0].index(f"f{i}") for i in range(768)]
    ids = [int(row[rows[0].index("query_id")]) for row in rows[1:]]
    vectors = np.array([[row[at] for at in columns] for row in rows[1:]], dtype=np.float64).astype(np.float32)

    # The excerpt has vectors without texts or judgements: each query gets one judged product of our own.
    folder = tmp_path_factory.mktemp("real")
    judged = [
        (query_id, f"query {query_id}", f"P{at % PRODUCTS}", "E", f"product {at % PRODUCTS}")
        for at, query_id in enumerate(ids)
    ]
    with (folder / "judged.csv").open("w", newline="") as text:
        csv.writer(text).writerows([("query_id", "query", "product_id", "esci_label", "product_title"), *judged])
    text_vectors = np.random.default_rng(0).standard_normal((PRODUCTS, 768)).astype(np.float32)
    pq.write_table(
        pa.table(
            {
                "product_id": [f"P{i}" for i in range(PRODUCTS)],
                formats.TEXT_VECTOR: pa.array(list(text_vectors), formats.VECTOR_TYPE),
                formats.IMAGE_VECTOR: pa.nulls(PRODUCTS, formats.VECTOR_TYPE),
            }
        ),
        folder / "products.parquet",
    )
    import_files(
        folder / "data", folder / "judged.csv", query_features=file, product_features=folder / "products.parquet"
    )
    prepare(folder / "data", folder / "artifacts")
    store.apply(folder / "artifacts")
    store.materialize(folder / "artifacts")
    return Real(folder / "artifacts", ids, vectors)


def test_the_real_vectors_are_served_online(real: Real) -> None:
    assert len(real.ids) == 672
    feast = store.open_store(real.artifacts)
    got = store.online_features(feast, names.QUERY_VIEW, real.ids)
    assert got.found.all()
    np.testing.assert_array_equal(got.vectors[features.QUERY_VEC], real.vectors)


def test_their_own_timestamps_decide_what_was_known(real: Real) -> None:
    feast = store.open_store(real.artifacts)
    ids = pa.array(real.ids, pa.int64())
    before, at = MOMENT - timedelta(microseconds=1), MOMENT
    for moment, known in ((before, False), (at, True)):
        stamps = pa.array([moment] * len(ids), formats.TIMESTAMP_TYPE)
        got = store.features_as_of(feast, names.QUERY_VIEW, (features.QUERY_VEC,), ids, stamps)
        assert got.found.tolist() == [known] * len(ids)
    np.testing.assert_array_equal(got.vectors[features.QUERY_VEC], real.vectors)


def test_pairs_are_as_of_the_newest_vector(real: Real) -> None:
    lines = (real.artifacts / "prepared/pairs.csv").read_text(encoding="utf-8").splitlines()
    assert len(lines) == 1 + 672
    assert all(line.endswith('"2025-03-27T07:01:04.332726Z"') for line in lines[1:])
