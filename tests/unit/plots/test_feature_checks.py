"""The checks of Feast that a notebook shows, on a small store."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sqidflow.feature_store import names, store
from sqidflow.plots import feature_checks as checks
from sqidflow.ranking import features

START = datetime(2024, 3, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of 6 queries, the first in two versions, and 4 products, one without a picture."""
    folder = tmp_path_factory.mktemp("store")
    sources = store.features_dir(folder)
    sources.mkdir()
    stamps = [START] * 6 + [START + timedelta(days=1)]
    floats = pa.list_(pa.float32())
    pq.write_table(
        pa.table(
            {
                features.QUERY_ID: pa.array([*range(6), 0], pa.int64()),
                features.QUERY_VEC: pa.array([[3.0, 4.0]] * 6 + [[6.0, 8.0]], floats),
                features.EVENT_TIMESTAMP: pa.array(stamps, pa.timestamp("us", "UTC")),
            }
        ),
        sources / "queries.parquet",
    )
    pq.write_table(
        pa.table(
            {
                features.PRODUCT_ID: ["a", "b", "c", "d"],
                features.TEXT_VEC: pa.array([[1.0, 2.0]] * 4, floats),
                features.IMAGE_VEC: pa.array([[5.0, 6.0]] * 3 + [None], floats),
                features.HAS_IMAGE: pa.array([1, 1, 1, 0], pa.int64()),
                features.EVENT_TIMESTAMP: pa.array([START] * 4, pa.timestamp("us", "UTC")),
            }
        ),
        sources / "products.parquet",
    )
    store.apply(folder)
    store.materialize(folder)
    return folder


def test_definitions_name_type_and_service(artifacts: Path) -> None:
    table = checks.definitions_table(store.open_store(artifacts))
    row = table.loc[(names.QUERY_VIEW, features.QUERY_VEC)]
    assert row["type"] == "Array(Float32)" and row["services"] == features.FEATURE_SERVICE
    assert row["entity"] == names.QUERY_ENTITY and row["source"] == "queries.parquet"


def test_nothing_before_and_everything_at_the_last_event(artifacts: Path) -> None:
    table = checks.as_of_table(store.open_store(artifacts), artifacts)
    assert table["ids"].tolist() == [6, 6, 4, 4]
    assert table["with a vector"].tolist() == [0, 6, 0, 4]


def test_a_version_is_had_from_its_event_on(artifacts: Path, tmp_path: Path) -> None:
    result = checks.as_of_demonstration(artifacts, tmp_path / "demonstration", count=3)
    before, between, after = result.days < 0, (result.days >= 0) & (result.days < 30), result.days >= 30
    assert before.any() and between.any() and after.any()
    assert np.isnan(result.lengths[before]).all()
    # Query 0's own newest version is twice as long as the others'.
    expected = dict.fromkeys(range(6), 5.0) | {0: 10.0}
    first = np.array([expected[query_id] for query_id in result.query_ids])
    assert result.lengths[between] == pytest.approx(np.tile(first, (between.sum(), 1)))
    assert result.lengths[after] == pytest.approx(np.tile(2 * first, (after.sum(), 1)))
    [axes] = checks.as_of_figure(result).axes
    assert [label.get_text() for label in axes.get_yticklabels()] == [f"query {number}" for number in result.query_ids]


def test_online_agrees_with_offline_and_a_difference_shows(artifacts: Path) -> None:
    agreements = checks.compare_online(store.open_store(artifacts), artifacts)
    assert [item.field for item in agreements] == [features.QUERY_VEC, features.TEXT_VEC, features.IMAGE_VEC]
    table = checks.agreement_table(agreements)
    assert table["same ids present"].all() and (table["largest difference"] == 0).all()
    assert table["ids"].tolist() == [6, 4, 4]
    assert len(checks.agreement_figure(agreements).axes) == 3
    other = checks.Agreement("view", "field", np.zeros((2, 2)), np.array([[0, 0.5], [0, 0]]), True)
    assert other.largest_difference == 0.5
    assert checks.Agreement("view", "field", np.zeros((2, 2)), np.zeros((2, 3)), True).largest_difference == np.inf
