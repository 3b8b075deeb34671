"""`evaluate --baselines`: cosines from the raw vectors, without a model or a feature store."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sqidflow.core.errors import DataError
from sqidflow.core.settings import Settings
from sqidflow.core.workdir import Workdir
from sqidflow.data import formats, readers
from sqidflow.data.encode import encode_missing
from sqidflow.encoders.offline import OfflineEncoder
from sqidflow.evaluation.zero_shot import baselines, raw_cosines
from sqidflow.ranking import features, metrics

THEN = datetime(2024, 5, 1, tzinfo=UTC)


@pytest.fixture
def copied(tiny_data: Path, tmp_path: Path) -> Workdir:
    shutil.copytree(tiny_data, tmp_path / "data")
    return Workdir(tmp_path)


def naive(data: Path) -> tuple[pa.Table, dict[str, np.ndarray]]:
    """The cosines pair by pair, in the file's order."""
    pairs = pq.read_table(data / formats.EXAMPLES_FILE)
    asked = pq.read_table(data / formats.QUERY_FEATURES_FILE).to_pylist()
    queries = {int(row["query_id"]): np.array(row[formats.TEXT_VECTOR]) for row in asked}
    products = {row["product_id"]: row for row in pq.read_table(data / formats.PRODUCT_FEATURES_FILE).to_pylist()}
    found: dict[str, list[float]] = {"cosine_text": [], "cosine_image": [], "cosine": []}

    def cosine(left, right):
        return float(left @ right / np.linalg.norm(left) / np.linalg.norm(right))

    for query, product in zip(pairs["query_id"].to_pylist(), pairs["product_id"].to_pylist()):
        row = products[product]
        text = cosine(queries[query], np.array(row[formats.TEXT_VECTOR]))
        image = row[formats.IMAGE_VECTOR]
        pictured = cosine(queries[query], np.array(image)) if image is not None else 0.0
        found["cosine_text"].append(text)
        found["cosine_image"].append(pictured)
        found["cosine"].append((text + pictured) / 2 if image is not None else text)
    return pairs, {name: np.array(values) for name, values in found.items()}


def test_vectors_of_two_encoders_are_refused(copied):
    file = copied.data / formats.QUERY_FEATURES_FILE
    pq.write_table(pq.read_table(file).replace_schema_metadata({formats.ENCODER_KEY: "other"}), file)
    with pytest.raises(DataError, match="vectors by encoder offline:3, those of the queries are by other"):
        baselines(copied, Settings())


def test_vectors_of_other_titles_are_refused(copied):
    encode_missing(copied.data, OfflineEncoder(64), force=True)
    file = copied.data / formats.PRODUCTS_FILE
    table = pq.read_table(file)
    pq.write_table(table.set_column(1, "product_title", pa.array(["another"] * table.num_rows)), file)
    with pytest.raises(DataError, match=r"judged products have vectors of another title .*data.locale"):
        baselines(copied, Settings())


def test_judgements_older_than_vectors_without_a_time(copied):
    expected = {row.method: row.ndcg.mean for row in baselines(copied, Settings()).rows}
    file = copied.data / formats.EXAMPLES_FILE
    table = pq.read_table(file)
    times = pa.array([1_500_000_000_000_000] * table.num_rows, formats.TIMESTAMP_TYPE)
    pq.write_table(table.append_column(formats.TIMESTAMP, times), file)
    assert {row.method: row.ndcg.mean for row in baselines(copied, Settings()).rows} == expected


def test_all_queries_are_ranked_by_the_cosines_of_their_raw_vectors(copied):
    pairs, expected = naive(copied.data)
    result = baselines(copied, Settings())
    assert result.pairs == pairs.num_rows and not (copied.root / "artifacts").exists()
    assert {row.method for row in result.rows} == {"random", "cosine_text", "cosine_image", "cosine", "bm25", "oracle"}
    lists = metrics.RankedLists.of(pairs["query_id"].to_numpy(), pairs["product_id"].to_numpy())
    gains = np.array([features.GAINS[label] for label in pairs["esci_label"].to_pylist()])
    for row in result.rows:
        if row.method in expected:
            ndcg = metrics.bootstrap_interval(metrics.ndcg_per_query(lists, gains, expected[row.method]))
            assert row.ndcg.mean == pytest.approx(ndcg.mean, abs=1e-6)
    json.dumps(result.as_dict(), allow_nan=False)
    assert result.lift == {} and result.pairs_without_picture > 0


def test_batches_do_not_change_the_cosines(copied, monkeypatch):
    pairs, expected = naive(copied.data)
    judged = pairs.append_column(formats.TIMESTAMP, pa.nulls(pairs.num_rows, formats.TIMESTAMP_TYPE))
    for rows in (7, 4096):
        read = readers.Source.batches
        monkeypatch.setattr(
            readers.Source,
            "batches",
            lambda self, columns, types=None, rows=rows, read=read: read(self, columns, types, rows),
        )
        found, _ = raw_cosines(judged, copied.data)
        for name, values in expected.items():
            np.testing.assert_allclose(found[name], values, atol=1e-6)
        monkeypatch.undo()


def test_the_settings_filters_choose_the_queries(copied):
    file = copied.data / formats.EXAMPLES_FILE
    table = pq.read_table(file)
    half = pa.array(["test" if query % 2 else "train" for query in table["query_id"].to_pylist()])
    pq.write_table(table.set_column(table.schema.get_field_index("split"), "split", half), file)
    settings = Settings.model_validate({"data": {"splits": ["test"]}})
    odd = sum(query % 2 for query in table["query_id"].to_pylist())
    assert baselines(copied, settings).pairs == odd < table.num_rows


def write_vectors(folder: Path, products: list[tuple[str, list[float], list[float] | None, datetime | None]]) -> None:
    queries = {"query_id": [1, 2], formats.TEXT_VECTOR: [[1.0, 0.0], [0.0, 2.0]]}
    pq.write_table(pa.table(queries), folder / formats.QUERY_FEATURES_FILE)
    ids, texts, images, stamps = zip(*products)
    columns = {
        "product_id": ids,
        formats.TEXT_VECTOR: pa.array(texts, formats.VECTOR_TYPE),
        formats.IMAGE_VECTOR: pa.array(images, formats.VECTOR_TYPE),
        formats.TIMESTAMP: pa.array(stamps, formats.TIMESTAMP_TYPE),
    }
    pq.write_table(pa.table(columns), folder / formats.PRODUCT_FEATURES_FILE)


def judgements(*pairs: tuple[int, str, datetime | None]) -> pa.Table:
    queries, products, stamps = zip(*pairs)
    return pa.table(
        {"query_id": queries, "product_id": products, formats.TIMESTAMP: pa.array(stamps, formats.TIMESTAMP_TYPE)}
    )


def test_vectors_are_those_known_at_the_time_of_the_judgement(tmp_path):
    later = THEN + timedelta(days=2)
    write_vectors(tmp_path, [("a", [0.0, 1.0], [1.0, 0.0], later), ("a", [3.0, 0.0], None, THEN)])
    judged = judgements((1, "a", THEN + timedelta(days=1)), (1, "a", later), (1, "a", None), (2, "a", None))
    cosines, has_image = raw_cosines(judged, tmp_path)
    np.testing.assert_allclose(cosines["cosine_text"], [1, 0, 0, 1])
    np.testing.assert_allclose(cosines["cosine_image"], [0, 1, 1, 0])
    np.testing.assert_allclose(cosines["cosine"], [1, 0.5, 0.5, 0.5])
    assert has_image.tolist() == [False, True, True, True]


def test_no_picture_anywhere_and_equal_vectors(tmp_path):
    write_vectors(tmp_path, [(name, [1.0, 1.0], None, None) for name in "abc"])
    cosines, has_image = raw_cosines(judgements(*((1, name, None) for name in "abc")), tmp_path)
    assert not has_image.any() and not cosines["cosine_image"].any()
    np.testing.assert_array_equal(cosines["cosine"], cosines["cosine_text"])
    np.testing.assert_allclose(cosines["cosine"], np.sqrt(0.5))


def test_a_product_without_a_vector_is_named_with_its_file(tmp_path):
    write_vectors(tmp_path, [("a", [1.0, 0.0], None, None)])
    with pytest.raises(DataError, match="zz.*sqidflow data encode") as raised:
        raw_cosines(judgements((1, "a", None), (2, "zz", None)), tmp_path)
    assert raised.value.file.name == formats.PRODUCT_FEATURES_FILE


def test_vectors_of_two_lengths_are_refused(tmp_path):
    write_vectors(tmp_path, [("a", [1.0, 0.0, 0.0], None, None)])
    with pytest.raises(DataError, match="3 values, those of the queries have 2"):
        raw_cosines(judgements((1, "a", None)), tmp_path)
