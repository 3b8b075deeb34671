"""Attributes on their way from a products file to the index."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from sqidflow.data.attributes import attributes_of
from sqidflow.data.encode import encode_missing
from sqidflow.data.importing import import_files
from sqidflow.data.prepare import prepare
from sqidflow.encoders.offline import OfflineEncoder
from sqidflow.indexing.attributes import write_attributes
from sqidflow.indexing.build import build
from sqidflow.indexing.catalogue import judgements_of, read_catalogue, read_pairs, read_queries
from sqidflow.ranking.rankers import ZeroShotRanker
from sqidflow.search.attributes import Attributes
from sqidflow.search.index import ProductIndex
from tests.fixtures.small_index import small_meta

DIM = 64
PRODUCTS = """product_id,product_title,Price,Category,released,sold_out
b,red kettle,"1.299,50 EUR",Home  &amp;  Garden,2024-03-01,no
a,blue kettle,,home & garden,2024-03-02T10:30:00Z,yes
c,green hat,"5,00 EUR",,,
"""


def test_they_are_those_of_the_file_in_the_order_of_the_index(tmp_path: Path) -> None:
    data, artifacts = tmp_path / "data", tmp_path / "artifacts"
    file = tmp_path / "p.csv"
    file.write_text(PRODUCTS)
    from sqidflow.data.attributes import AttributeRules

    import_files(data, products=file, rules=AttributeRules(decimal=","))
    encode_missing(data, OfflineEncoder(dim=DIM))
    prepare(data, artifacts)
    prepared = artifacts / "prepared/products.parquet"
    assert [each.described for each in attributes_of(prepared)] == [
        "price (number, EUR)", "category (string)", "released (date)", "sold_out (boolean)",
    ]  # fmt: skip
    assert pq.read_schema(prepared).field("attr_price").type == pa.float64()

    catalogue, ranker = read_catalogue(artifacts), ZeroShotRanker(DIM)
    _, queries = read_queries(artifacts, DIM)
    judged = judgements_of(read_pairs(artifacts / "prepared/pairs.csv"), catalogue)
    meta = replace(small_meta(catalogue, ranker), products=3)
    build(tmp_path / "index", catalogue, judged, (), queries if len(queries) else catalogue.text, ranker, meta)
    attributes = ProductIndex(tmp_path / "index").attributes
    assert catalogue.product_ids == ["a", "b", "c"]
    assert [attributes.of_row(row) for row in range(3)] == [
        {"category": attributes.of_row(1)["category"], "released": "2024-03-02T10:30:00Z", "sold_out": True},
        {"price": 1299.5, "category": attributes.of_row(0)["category"], "released": "2024-03-01", "sold_out": False},
        {"price": 5.0},
    ]
    assert str(attributes.of_row(0)["category"]).casefold() == "home & garden"
    assert attributes.columns["price"].unit == "EUR"


def test_values_are_numbered_without_case_and_lists_of_names_are_no_facet(tmp_path: Path) -> None:
    many = [f"name {number}" for number in range(40)]
    write_attributes(
        tmp_path,
        {
            "material": ("string", None, pa.array(["Wool", "wool", "WOOL", "wool", None] * 8)),
            "sku": ("string", None, pa.array(many)),
            "long": ("string", None, pa.array(["x" * 201] * 40)),
        },
    )
    columns = Attributes.load(tmp_path, []).columns
    assert columns["material"].labels.to_pylist() == ["wool"]
    assert columns["material"].values.tolist() == [0, 0, 0, 0, -1] * 8
    assert {name: column.facet for name, column in columns.items()} == {"material": True, "sku": False, "long": False}
