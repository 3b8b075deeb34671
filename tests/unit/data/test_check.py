from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from sqidflow.data import check, formats
from sqidflow.data.check import FileReport, check_folder
from sqidflow.data.encode import encode_missing
from sqidflow.encoders.offline import OfflineEncoder


@pytest.fixture
def data(tiny_data: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_data, tmp_path / "data"))


def rewrite(path: Path, change: Callable[[pa.Table], pa.Table]) -> None:
    pq.write_table(change(pq.read_table(path)), path)


def problems(data: Path, **scope: object) -> dict[str, list[str]]:
    return {report.file: report.problems for report in check_folder(data, **scope) if report.problems}


def only(found: dict[str, list[str]], file: str) -> str:
    assert list(found) == [file], found
    assert len(found[file]) == 1
    return found[file][0]


def test_counts(tiny_data: Path) -> None:
    reports = {report.file: report for report in check_folder(tiny_data)}
    examples = reports[formats.EXAMPLES_FILE]
    assert (examples.rows, examples.counts["queries"], examples.counts["judgements in use"]) == (400, 40, 400)
    assert sum(examples.counts[label] for label in "ESCI") == 400
    features = reports[formats.PRODUCT_FEATURES_FILE]
    assert (features.rows, features.dim) == (300, 64)
    assert features.counts["without picture"] == 300 - reports[formats.IMAGES_FILE].rows
    assert features.columns == formats.PRODUCT_FEATURES_SCHEMA.names
    assert features.bytes == (tiny_data / formats.PRODUCT_FEATURES_FILE).stat().st_size
    assert isinstance(examples, FileReport)


def test_empty_folder_says_what_to_do(tmp_path: Path) -> None:
    found = problems(tmp_path)
    assert len(found) == 4
    assert all("does not exist" in lines[0] and "sqidflow data sample" in lines[0] for lines in found.values())


def test_vectors_not_made_yet(data: Path) -> None:
    (data / formats.QUERY_FEATURES_FILE).unlink()
    assert "sqidflow data encode" in only(problems(data), formats.QUERY_FEATURES_FILE)


def test_query_without_vector(data: Path) -> None:
    rewrite(data / formats.QUERY_FEATURES_FILE, lambda table: table.slice(2))
    line = only(problems(data), formats.QUERY_FEATURES_FILE)
    assert "(and 1 more) has no vector" in line and "sqidflow data encode" in line


def test_product_without_vector(data: Path) -> None:
    judged = pq.read_table(data / formats.EXAMPLES_FILE)["product_id"][0]
    rewrite(
        data / formats.PRODUCT_FEATURES_FILE,
        lambda table: table.filter(pc.not_equal(table["product_id"], judged)),
    )
    assert f"judged product {judged} has no vector" in only(problems(data), formats.PRODUCT_FEATURES_FILE)


def test_judged_product_without_row(data: Path) -> None:
    judged = pq.read_table(data / formats.EXAMPLES_FILE)["product_id"][0]
    rewrite(data / formats.PRODUCTS_FILE, lambda table: table.filter(pc.not_equal(table["product_id"], judged)))
    assert f"judged product {judged} has no row" in problems(data)[formats.PRODUCTS_FILE][0]


def test_lengths_that_do_not_fit_each_other(data: Path) -> None:
    def half(table: pa.Table) -> pa.Table:
        short = [row[:32] for row in table["clip_text_features"].to_pylist()]
        return table.set_column(1, "clip_text_features", pa.array(short, formats.VECTOR_TYPE))

    rewrite(data / formats.QUERY_FEATURES_FILE, half)
    found = problems(data)[formats.PRODUCT_FEATURES_FILE]
    assert len(found) == 2
    assert "vectors of 64 values, those of the queries have 32" in found[0]


def test_files_of_two_encoders(data: Path) -> None:
    other = {formats.ENCODER_KEY: "other"}
    rewrite(data / formats.QUERY_FEATURES_FILE, lambda table: table.replace_schema_metadata(other))
    what = only(problems(data), formats.PRODUCT_FEATURES_FILE)
    assert "vectors by encoder offline:3, those of the queries are by other" in what


def test_repeats_are_named(data: Path) -> None:
    for name, key in ((formats.PRODUCTS_FILE, "product_id"), (formats.QUERY_FEATURES_FILE, "query_id")):
        path = data / name
        whole = path.read_bytes()
        rows = pq.read_metadata(path).num_rows
        rewrite(path, lambda table: pa.concat_tables([table, table.slice(3, 1)]))
        line = only(problems(data), name)
        assert f"row {rows + 1}, column {key}" in line and "in row 4" in line
        path.write_bytes(whole)


def test_one_bad_file_does_not_hide_another(data: Path) -> None:
    (data / formats.PRODUCTS_FILE).write_bytes(b"PAR1 cut")
    (data / formats.SUPP_IMAGE_URLS_FILE).write_text("product_id,url\nA,b\n")
    found = problems(data)
    assert "not a whole parquet file" in found[formats.PRODUCTS_FILE][0]
    assert "column image_url: the column is missing" in found[formats.SUPP_IMAGE_URLS_FILE][0]
    assert len(found) == 2


def test_vectors_are_asked_of_judgements_in_use_only(data: Path) -> None:
    """The published judgements go beyond the published vectors: other locales, the train split."""

    def foreign(table: pa.Table) -> pa.Table:
        rows = table.slice(0, 10)
        ids = pa.array([f"ES{i}" for i in range(10)])
        rows = rows.set_column(3, "product_id", ids).set_column(2, "query_id", pa.array([999_999] * 10))
        rows = rows.set_column(1, "query", pa.array(["zapato rojo"] * 10))
        return pa.concat_tables([table, rows.set_column(4, "product_locale", pa.array(["es"] * 10))])

    rewrite(data / formats.EXAMPLES_FILE, foreign)
    assert problems(data) == {}
    assert set(problems(data, locale=None)) == {
        formats.PRODUCTS_FILE,
        formats.QUERY_FEATURES_FILE,
        formats.PRODUCT_FEATURES_FILE,
    }


def test_one_text_under_two_ids_is_a_problem(data: Path) -> None:
    """It would be in training and held out."""

    def spelt_again(table: pa.Table) -> pa.Table:
        ids, texts = table["query_id"].to_pylist(), table["query"].to_pylist()
        other = next(number for number in ids if number != ids[0])
        variant = f" {texts[0].upper()}\u00a0"
        renamed = [variant if number == other else text for number, text in zip(ids, texts, strict=True)]
        return table.set_column(1, "query", pa.array(renamed))

    rewrite(data / formats.EXAMPLES_FILE, spelt_again)
    line = only(problems(data), formats.EXAMPLES_FILE)
    assert "1 query_ids have the text and locale of another one" in line and "sqidflow data import" in line


def test_a_list_too_long_for_trees_is_told(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check, "MOST_JUDGED_PRODUCTS", 9)
    examples = check_folder(data)[0]
    assert examples.problems == []
    assert examples.counts["lists too long for trees"] == 40
    assert any("has 10 judged products: LightGBM takes 9" in note and "pointwise" in note for note in examples.notes)


def test_vectors_of_unknown_origin_beside_named_ones(data: Path) -> None:
    rewrite(data / formats.QUERY_FEATURES_FILE, lambda table: table.replace_schema_metadata(None))
    what = only(problems(data), formats.PRODUCT_FEATURES_FILE)
    assert "those of the queries are of unknown origin" in what and "--encoder NAME" in what


def test_vectors_of_other_titles_are_a_problem(data: Path) -> None:
    encode_missing(data, OfflineEncoder(64), force=True)
    assert problems(data) == {}
    judged = pq.read_table(data / formats.EXAMPLES_FILE)["product_id"][0].as_py()

    def retitled(table: pa.Table) -> pa.Table:
        rows = zip(table["product_id"].to_pylist(), table["product_title"].to_pylist(), strict=True)
        titles = ["another thing" if key == judged else f"  {title.replace(' ', '  ')}" for key, title in rows]
        return table.set_column(1, "product_title", pa.array(titles))

    rewrite(data / formats.PRODUCTS_FILE, retitled)
    line = only(problems(data), formats.PRODUCT_FEATURES_FILE)
    assert "1 judged products have vectors of another title" in line and "data.locale" in line


def test_nothing_in_use(data: Path) -> None:
    assert "params.yaml" in only(problems(data, splits=["dev"]), formats.EXAMPLES_FILE)


def test_empty_sidecar_is_named(data: Path) -> None:
    (data / formats.IMAGE_URLS_FILE).write_bytes(b"")
    assert "empty (0 bytes)" in only(problems(data), formats.IMAGE_URLS_FILE)


def test_products_that_nobody_judged_and_those_without_a_vector_are_counted(tiny_data: Path, tmp_path: Path) -> None:
    data = Path(shutil.copytree(tiny_data, tmp_path / "data"))
    products = pq.read_table(data / formats.PRODUCTS_FILE)
    more = products.slice(0, 2).to_pylist()
    for row, name in zip(more, ("NOBODY1", "NOBODY2")):
        row["product_id"] = name
    pq.write_table(
        pa.concat_tables([products, pa.Table.from_pylist(more, schema=products.schema)]), data / formats.PRODUCTS_FILE
    )
    before, after = ({report.file: report.counts for report in check_folder(folder)} for folder in (tiny_data, data))
    assert after[formats.PRODUCTS_FILE]["not judged"] == before[formats.PRODUCTS_FILE]["not judged"] + 2
    assert before[formats.PRODUCT_FEATURES_FILE]["products without vector"] == 0
    assert after[formats.PRODUCT_FEATURES_FILE]["products without vector"] == 2
