from __future__ import annotations

import hashlib
import io
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest
from PIL import Image

from sqidflow.core.errors import DataError
from sqidflow.data import formats, sample_attributes
from sqidflow.data.attributes import attributes_of
from sqidflow.data.check import check_folder
from sqidflow.data.sample import NOTICE, SampleSpec, category_of_products, is_sample, write_sample
from sqidflow.data.splitmix import Rng

TINY = SampleSpec(queries=40, products=300, pairs_per_query=10, dim=64)
DEFAULT = SampleSpec()
PAIRS = DEFAULT.queries * DEFAULT.pairs_per_query


def ndcg(query_ids: np.ndarray, product_ids: np.ndarray, gains: np.ndarray, scores: np.ndarray) -> float:
    """Mean over queries, linear gains, ties by product id, queries of gain 0 left out: written apart on purpose."""
    values = []
    for query in np.unique(query_ids):
        rows = np.flatnonzero(query_ids == query)
        order = sorted(rows, key=lambda row: (-scores[row], product_ids[row]))
        discounts = 1 / np.log2(np.arange(len(rows)) + 2)
        ideal = np.sort(gains[rows])[::-1] @ discounts
        if ideal > 0:
            values.append(gains[order] @ discounts / ideal)
    return float(np.mean(values))


def matrix(column: object) -> np.ndarray:
    rows = column.to_pylist()
    dim = next(len(row) for row in rows if row)
    return np.array([row or [0.0] * dim for row in rows])


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sample") / "data"
    write_sample(folder)
    return folder


class TestFiles:
    def test_have_the_published_names_and_columns(self, tiny_data: Path) -> None:
        for name, schema in (
            (formats.EXAMPLES_FILE, formats.EXAMPLES_SCHEMA.append(pa.field(formats.QUERY_KIND, pa.string()))),
            (formats.PRODUCTS_FILE, pa.schema([*formats.PRODUCTS_SCHEMA, *sample_attributes.FIELDS])),
            (formats.QUERY_FEATURES_FILE, formats.QUERY_FEATURES_SCHEMA),
            (formats.PRODUCT_FEATURES_FILE, formats.PRODUCT_FEATURES_SCHEMA),
            (formats.IMAGES_FILE, formats.IMAGES_SCHEMA),
            (formats.ORACLE_FILE, formats.ORACLE_SCHEMA),
        ):
            table = pq.read_table(tiny_data / name)
            assert [str(f.type).replace("element", "item") for f in table.schema] == [
                str(f.type).replace("element", "item") for f in schema
            ]
            assert table.schema.names == schema.names
            assert table.schema.metadata[b"sqidflow"].decode() == NOTICE
            assert b"pandas" not in table.schema.metadata
        for name in (formats.IMAGE_URLS_FILE, formats.SUPP_IMAGE_URLS_FILE):
            assert pacsv.read_csv(tiny_data / name).column_names == ["product_id", "image_url"]

    def test_say_that_they_are_synthetic(self, tiny_data: Path) -> None:
        assert "ynthetic" in (tiny_data / "README.md").read_text()
        assert is_sample(tiny_data)

    def test_pass_the_check(self, tiny_data: Path) -> None:
        reports = check_folder(tiny_data)
        assert [problem for report in reports for problem in report.problems] == []
        assert {report.file for report in reports} == {p.name for p in tiny_data.iterdir()} - {"README.md"}

    def test_are_the_same_bytes_again(self, tiny_data: Path, tmp_path: Path) -> None:
        write_sample(tmp_path / "data", TINY)
        assert sorted(p.name for p in tmp_path.joinpath("data").iterdir()) == sorted(
            p.name for p in tiny_data.iterdir()
        )
        for path in tiny_data.iterdir():
            assert (tmp_path / "data" / path.name).read_bytes() == path.read_bytes(), path.name

    def test_hold_what_they_held_on_another_machine(self, tiny_data: Path) -> None:
        """Contents, not bytes, so that another version of Arrow does not matter."""
        digest = hashlib.sha256()
        for name in (formats.EXAMPLES_FILE, formats.PRODUCTS_FILE, formats.IMAGES_FILE, formats.ORACLE_FILE):
            table = pq.read_table(tiny_data / name)
            attributes = {field.name for field in sample_attributes.FIELDS}
            for row in table.select([column for column in table.schema.names if column not in attributes]).to_pylist():
                digest.update(repr(row).encode())
        for name in (formats.QUERY_FEATURES_FILE, formats.PRODUCT_FEATURES_FILE):
            for row in pq.read_table(tiny_data / name).to_pylist():
                for value in row.values():
                    digest.update(
                        np.array(value, np.float32).tobytes() if isinstance(value, list) else str(value).encode()
                    )
        assert digest.hexdigest() == "057a745e924b2b3c4d03c92af20ce15db05854daba803440ef24065b5baca8a6"

    def test_attributes_are_a_function_of_product_and_category(self, tiny_data: Path) -> None:
        attributes = attributes_of(tiny_data / formats.PRODUCTS_FILE)
        assert [(each.name, each.kind, each.unit) for each in attributes] == [
            ("price", "number", "EUR"), ("category", "string", None), ("rating", "number", None),
            ("in_stock", "boolean", None),
        ]  # fmt: skip
        rows = pq.read_table(tiny_data / formats.PRODUCTS_FILE).to_pylist()
        categories = category_of_products(tiny_data)
        assert [row["category"] for row in rows] == [categories[row["product_id"]] for row in rows]
        assert all(3 <= row["price"] <= 225 and round(row["price"], 2) == row["price"] for row in rows)
        ratings = [row["rating"] for row in rows if row["rating"] is not None]
        assert 0.8 < len(ratings) / len(rows) < 1 and min(ratings) >= 2.5 and max(ratings) <= 5
        assert 0.75 < np.mean([row["in_stock"] for row in rows]) < 0.95
        assert hashlib.sha256(repr([[row[each.name] for each in attributes] for row in rows]).encode()).hexdigest() == (
            "145348d790383b0a9b2092b3f82ec05ba54b925db0489342ac6df07ac5894d01"
        )

    def test_another_seed_gives_other_data(self, tiny_data: Path, tmp_path: Path) -> None:
        write_sample(tmp_path / "data", SampleSpec(queries=40, products=300, pairs_per_query=10, dim=64, seed=8))
        name = formats.EXAMPLES_FILE
        assert (tmp_path / "data" / name).read_bytes() != (tiny_data / name).read_bytes()

    def test_nothing_lies_beside(self, tiny_data: Path) -> None:
        assert [path.name for path in tiny_data.parent.iterdir()] == ["data"]


class TestContents:
    def test_counts(self, sample: Path) -> None:
        examples = pq.read_table(sample / formats.EXAMPLES_FILE)
        products = pq.read_table(sample / formats.PRODUCTS_FILE)
        assert examples.num_rows == PAIRS == 40_000
        assert len(set(examples["query_id"].to_pylist())) == len(set(examples["query"].to_pylist())) == DEFAULT.queries
        assert set(Counter(examples["query_id"].to_pylist()).values()) == {20}
        assert len(set(products["product_id"].to_pylist())) == products.num_rows == DEFAULT.products
        assert set(examples["split"].to_pylist()) == {"test"}
        features = pq.read_table(sample / formats.PRODUCT_FEATURES_FILE)
        assert 0.04 < features["clip_image_features"].null_count / DEFAULT.products < 0.06
        assert set(map(len, features["clip_text_features"].to_pylist())) == {768}

    def test_label_shares_are_about_the_real_ones(self, sample: Path) -> None:
        labels = Counter(pq.read_table(sample / formats.EXAMPLES_FILE)["esci_label"].to_pylist())
        shares = {label: count / PAIRS for label, count in labels.items()}
        assert 0.45 <= shares["E"] <= 0.60
        assert 0.20 <= shares["S"] <= 0.30
        assert 0.03 <= shares["C"] <= 0.06
        assert 0.12 <= shares["I"] <= 0.25

    def test_difficulty(self, sample: Path) -> None:
        """Random < text cosine < blend < oracle < 1, with room for a ranker between the last two."""
        examples = pq.read_table(sample / formats.EXAMPLES_FILE)
        queries = pq.read_table(sample / formats.QUERY_FEATURES_FILE)
        products = pq.read_table(sample / formats.PRODUCT_FEATURES_FILE)
        row_of_query = {int(id_): row for row, id_ in enumerate(queries["query_id"].to_pylist())}
        row_of_product = {id_: row for row, id_ in enumerate(products["product_id"].to_pylist())}
        ids, product_ids = examples["query_id"].to_numpy(), np.array(examples["product_id"].to_pylist())
        q = matrix(queries["clip_text_features"])[[row_of_query[i] for i in ids]]
        at = [row_of_product[i] for i in product_ids]
        text = (q * matrix(products["clip_text_features"])[at]).sum(axis=1)
        image = (q * matrix(products["clip_image_features"])[at]).sum(axis=1)
        gains = np.array([{"E": 1, "S": 0.1, "C": 0.01, "I": 0}[label] for label in examples["esci_label"].to_pylist()])
        oracle = pq.read_table(sample / formats.ORACLE_FILE)
        assert oracle["product_id"].to_pylist() == list(product_ids)
        scores = {
            "random": np.random.default_rng(0).random(PAIRS),
            "text": text,
            "image": image,
            "blend": text + image,
            "oracle": oracle["latent_gain"].to_numpy(),
        }
        result = {name: ndcg(ids, product_ids, gains, score) for name, score in scores.items()}
        assert 0.70 < result["random"] < 0.78
        assert result["text"] > result["random"] + 0.05
        assert result["image"] > result["random"] + 0.05
        assert result["blend"] > result["text"]
        assert 0.95 < result["oracle"] < 0.985
        assert result["oracle"] - result["blend"] > 0.06

    def test_pictures_decode(self, tiny_data: Path) -> None:
        for data in pq.read_table(tiny_data / formats.IMAGES_FILE)["image"].to_pylist():
            image = Image.open(io.BytesIO(data))
            image.load()
            assert (image.format, image.size) == ("PNG", (64, 64))
            assert len(image.convert("RGB").getcolors()) >= 2


class TestWriting:
    def test_refuses_to_replace_other_data(self, tmp_path: Path) -> None:
        data = tmp_path / "data"
        data.mkdir()
        (data / "mine.csv").write_text("precious")
        with pytest.raises(DataError, match="not the sample"):
            write_sample(data, TINY)
        assert (data / "mine.csv").read_text() == "precious"
        write_sample(data, TINY, replace=True)
        assert not (data / "mine.csv").exists()

    def test_replaces_an_older_sample(self, tmp_path: Path) -> None:
        write_sample(tmp_path / "data", TINY)
        report = write_sample(tmp_path / "data", SampleSpec(queries=3, products=60, pairs_per_query=4, dim=16))
        assert (report.queries, report.products, report.pairs) == (3, 60, 12)
        assert pq.read_metadata(tmp_path / "data" / formats.PRODUCTS_FILE).num_rows == 60
        assert sum(report.labels.values()) == 12

    @pytest.mark.parametrize("values", [{"queries": 0}, {"products": 10}, {"pairs_per_query": 0}])
    def test_spec_too_small(self, values: dict[str, int]) -> None:
        with pytest.raises(ValueError, match="too small"):
            SampleSpec(**values)


class TestRng:
    def test_is_splitmix64(self) -> None:
        """First outputs for seed 1234567, as in the reference implementation (Vigna, prng.di.unimi.it)."""
        rng = Rng(1234567)
        assert [rng.bits() for _ in range(3)] == [6457827717110365317, 3203168211198807973, 9817491932198370423]

    def test_below_and_some(self) -> None:
        rng = Rng(1)
        counts = Counter(rng.below(5) for _ in range(5000))
        assert set(counts) == set(range(5)) and min(counts.values()) > 900
        assert sorted(rng.some(range(10), 10)) == list(range(10))
        assert len(set(rng.some(range(10), 4))) == 4
        assert rng.some([1, 2], 5) in ([1, 2], [2, 1])
