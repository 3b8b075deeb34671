"""What the index is made of."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sqidflow.core import feature_files
from sqidflow.core.workdir import Workdir
from sqidflow.data import formats
from sqidflow.indexing.make import read_catalogue
from sqidflow.ranking import features


@pytest.fixture
def workdir(tmp_path: Path) -> Workdir:
    """Products p1 and p2, both in three locales; p1 is judged in the second, p2 in the third."""
    made = Workdir(tmp_path)
    sources = made.artifacts / feature_files.FOLDER
    sources.mkdir(parents=True)
    made.data.mkdir()
    rows = [
        {features.PRODUCT_ID: product, features.TEXT_VEC: [1.0, 0.0], features.IMAGE_VEC: None,
         features.HAS_IMAGE: 0, features.EVENT_TIMESTAMP: datetime(2026, 1, 1, tzinfo=UTC)}
        for product in ("p1", "p2")
    ]  # fmt: skip
    vector = pa.list_(pa.float32())
    schema = pa.schema(
        [(features.PRODUCT_ID, pa.string()), (features.TEXT_VEC, vector), (features.IMAGE_VEC, vector),
         (features.HAS_IMAGE, pa.int64()), (features.EVENT_TIMESTAMP, pa.timestamp("us", "UTC"))]
    )  # fmt: skip
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), sources / feature_files.PRODUCTS)
    texts = [
        {"product_id": product, "product_locale": locale, "product_title": f"{product} {locale}",
         "product_description": f"says {locale}"}
        for product in ("p1", "p2")
        for locale in ("es", "us", "jp")
    ]  # fmt: skip
    pq.write_table(pa.Table.from_pylist(texts, schema=formats.PRODUCTS_SCHEMA), made.data / formats.PRODUCTS_FILE)
    judged = [{"product_id": "p1", "product_locale": "us"}, {"product_id": "p2", "product_locale": "jp"},
              {"product_id": "p1", "product_locale": "es"}]  # fmt: skip
    pq.write_table(pa.Table.from_pylist(judged, schema=formats.EXAMPLES_SCHEMA), made.data / formats.EXAMPLES_FILE)
    return made


@pytest.mark.parametrize(
    ("locale", "wanted"), [("us", ["us", "us"]), ("jp", ["jp", "jp"]), ("es", ["es", "es"]), (None, ["us", "jp"])]
)
def test_texts_are_of_the_locale_in_which_a_product_is_judged(
    workdir: Workdir, locale: str | None, wanted: list[str]
) -> None:
    found = read_catalogue(workdir, locale)
    assert found.titles == tuple(f"{product} {of}" for product, of in zip(("p1", "p2"), wanted))
    assert found.descriptions == tuple(f"says {of}" for of in wanted)
