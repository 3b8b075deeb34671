from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sqidflow.core.errors import DataError
from sqidflow.data import encode, formats
from sqidflow.data.check import check_folder
from sqidflow.data.encode import encode_missing
from sqidflow.data.sample import is_sample
from sqidflow.encoders.offline import OfflineEncoder


class Counting(OfflineEncoder):
    """The offline encoder, counting what it is asked for."""

    def __init__(self, dim: int = 64, name: str = OfflineEncoder.name) -> None:
        super().__init__(dim)
        self.name = name
        self.texts: list[str] = []
        self.images = 0

    def encode_texts(self, texts: Sequence[str]) -> np.ndarray:
        self.texts.extend(texts)
        return super().encode_texts(texts)

    def encode_images(self, images: Sequence[bytes]) -> np.ndarray:
        self.images += len(images)
        return super().encode_images(images)


@pytest.fixture
def data(tiny_data: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_data, tmp_path / "data"))


def rows(path: Path, key: str) -> dict[str, dict]:
    """Rows by id, without the digests of what their vectors are of."""
    table = pq.read_table(path)
    table = table.drop_columns([name for name in table.schema.names if name.endswith("_digest")])
    return {row[key]: row for row in table.to_pylist()}


def rewrite(path: Path, change: object) -> None:
    pq.write_table(change(pq.read_table(path)), path)


def without(table: pa.Table, column: str, keep: Sequence[bool]) -> pa.Table:
    """The column is null where ``keep`` is False."""
    values = [value if kept else None for value, kept in zip(table[column].to_pylist(), keep, strict=True)]
    at = table.schema.get_field_index(column)
    return table.set_column(at, column, pa.array(values, formats.VECTOR_TYPE))


def test_makes_all_from_nothing_as_the_sample_has_them(data: Path, tiny_data: Path) -> None:
    (data / formats.QUERY_FEATURES_FILE).unlink()
    (data / formats.PRODUCT_FEATURES_FILE).unlink()
    report = encode_missing(data, OfflineEncoder(64))
    assert (report.queries_encoded, report.product_texts_encoded) == (40, 300)
    assert report.pictures_encoded + report.products_without_picture == 300
    assert report.products_without_picture > 0
    for name, key in ((formats.QUERY_FEATURES_FILE, "query_id"), (formats.PRODUCT_FEATURES_FILE, "product_id")):
        assert rows(data / name, key) == rows(tiny_data / name, key)
        assert pq.read_metadata(data / name).metadata[formats.ENCODER_KEY.encode()] == OfflineEncoder.name.encode()
    assert [problem for file in check_folder(data) for problem in file.problems] == []


def test_touches_nothing_where_nothing_is_missing(data: Path) -> None:
    before = {path.name: (path.stat().st_mtime_ns, path.stat().st_ino) for path in data.iterdir()}
    encoder = Counting()
    report = encode_missing(data, encoder)
    assert (report.queries_kept, report.product_texts_kept) == (40, 300)
    assert encoder.texts == [] and encoder.images == 0
    assert {path.name: (path.stat().st_mtime_ns, path.stat().st_ino) for path in data.iterdir()} == before


def test_fills_gaps_and_keeps_the_rest(data: Path, tiny_data: Path) -> None:
    path = data / formats.PRODUCT_FEATURES_FILE
    old = rows(path, "product_id")
    ids = list(old)
    marked = [2.0] + [0.0] * 63

    def change(table: pa.Table) -> pa.Table:
        table = table.slice(20)  # 20 products have no row
        table = without(table, "clip_text_features", [i >= 10 for i in range(280)])  # 10 no text vector
        table = without(table, "clip_image_features", [i >= 30 for i in range(280)])  # 30 no picture vector
        texts = table["clip_text_features"].to_pylist()
        texts[50] = marked  # somebody else's vector stays
        return table.set_column(1, "clip_text_features", pa.array(texts, formats.VECTOR_TYPE))

    rewrite(path, change)
    encoder = Counting()
    report = encode_missing(data, encoder)
    new = rows(path, "product_id")
    assert new.pop(ids[70])["clip_text_features"] == marked
    del old[ids[70]]
    assert new == old
    assert len(encoder.texts) == report.product_texts_encoded == 30
    assert encoder.images == report.pictures_encoded <= 50
    assert report.product_texts_kept == 270


def test_queries_without_vector(data: Path, tiny_data: Path) -> None:
    path = data / formats.QUERY_FEATURES_FILE
    rewrite(path, lambda table: table.slice(0, 30))
    report = encode_missing(data, OfflineEncoder(64))
    assert (report.queries_encoded, report.queries_kept) == (10, 30)
    assert rows(path, "query_id") == rows(tiny_data / formats.QUERY_FEATURES_FILE, "query_id")


def test_timestamps_stay(data: Path) -> None:
    path = data / formats.QUERY_FEATURES_FILE
    times = pa.array([1_700_000_000_000_000] * 30, formats.TIMESTAMP_TYPE)
    rewrite(path, lambda table: table.slice(0, 30).append_column("event_timestamp", times))
    encode_missing(data, OfflineEncoder(64))
    table = pq.read_table(path)
    assert table["event_timestamp"].to_pylist() == [*times.to_pylist(), *[None] * 10]


def test_without_pictures(data: Path) -> None:
    (data / formats.PRODUCT_FEATURES_FILE).unlink()
    encoder = Counting()
    report = encode_missing(data, encoder, images=False)
    assert encoder.images == 0 and report.products_without_picture == 300
    table = pq.read_table(data / formats.PRODUCT_FEATURES_FILE)
    assert table["clip_image_features"].null_count == 300
    assert [problem for file in check_folder(data) for problem in file.problems] == []


def test_force_replaces_all(data: Path) -> None:
    report = encode_missing(data, OfflineEncoder(32), force=True)
    assert report.queries_encoded == 40 and report.queries_kept == report.product_texts_kept == 0
    assert {file.dim for file in check_folder(data) if file.dim} == {32}


def test_force_killed_between_the_two_files_leaves_the_old_vectors(
    data: Path, tiny_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(encode, "_encode_products", killed)
    with pytest.raises(KeyboardInterrupt):
        encode_missing(data, Counting(name="other"), force=True)
    assert {path.name: path.read_bytes() for path in data.iterdir()} == {
        path.name: path.read_bytes() for path in tiny_data.iterdir()
    }
    assert [path.name for path in data.parent.iterdir()] == ["data"]


def test_force_keeps_what_is_no_vector(data: Path) -> None:
    (data / "notes.txt").write_text("mine")
    inode = (data / formats.PRODUCTS_FILE).stat().st_ino
    encode_missing(data, OfflineEncoder(32), force=True)
    assert (data / "notes.txt").read_text() == "mine"
    assert (data / formats.PRODUCTS_FILE).stat().st_ino == inode


@pytest.mark.parametrize("force", [False, True])
def test_a_sample_with_vectors_of_another_encoder_is_no_sample_any_more(data: Path, force: bool) -> None:
    encode_missing(data, OfflineEncoder(32), force=True)
    assert is_sample(data)
    if not force:
        (data / formats.QUERY_FEATURES_FILE).unlink()
        (data / formats.PRODUCT_FEATURES_FILE).unlink()
    encode_missing(data, Counting(name="other"), force=force)
    assert not is_sample(data)


def named(path: Path, encoder: str) -> None:
    rewrite(path, lambda table: table.replace_schema_metadata({formats.ENCODER_KEY: encoder}))


def test_files_of_two_encoders_are_refused_until_force(data: Path) -> None:
    named(data / formats.QUERY_FEATURES_FILE, "other")
    with pytest.raises(DataError, match="vectors by encoder offline:3, those of the queries are by other.*--force"):
        encode_missing(data, OfflineEncoder(64))
    encode_missing(data, OfflineEncoder(64), force=True)
    assert [problem for file in check_folder(data) for problem in file.problems] == []


def test_a_file_that_is_missing_is_not_made_by_another_encoder(data: Path) -> None:
    (data / formats.PRODUCT_FEATURES_FILE).unlink()
    encoder = Counting(name="other")
    with pytest.raises(DataError, match="vectors by encoder other, those of the queries are by offline:3"):
        encode_missing(data, encoder)
    assert encoder.texts == [] and not (data / formats.PRODUCT_FEATURES_FILE).exists()


def test_other_length_is_refused_with_both_named(data: Path) -> None:
    before = {path.name: path.read_bytes() for path in data.iterdir()}
    rewrite(data / formats.QUERY_FEATURES_FILE, lambda table: table)
    with pytest.raises(DataError, match="64 values, those of encoder offline:3 32.*--dim 64.*--force"):
        encode_missing(data, OfflineEncoder(32))
    after = {path.name: path.read_bytes() for path in data.iterdir()}
    after[formats.QUERY_FEATURES_FILE] = before[formats.QUERY_FEATURES_FILE]
    assert after == before


def foreign(table: pa.Table) -> pa.Table:
    """The vectors of somebody whom nobody names."""
    rng = np.random.default_rng(3)
    vectors = pa.array(rng.standard_normal((table.num_rows, 64)).tolist(), formats.VECTOR_TYPE)
    return table.set_column(1, formats.TEXT_VECTOR, vectors).replace_schema_metadata(None)


@pytest.mark.parametrize("whose", ["of unknown origin", "by encoder other"])
def test_new_vectors_never_join_those_of_another_encoder(data: Path, whose: str) -> None:
    for name in (formats.QUERY_FEATURES_FILE, formats.PRODUCT_FEATURES_FILE):
        rewrite(data / name, lambda table: foreign(table.slice(0, 30)))
        if "other" in whose:
            named(data / name, "other")
    before = {path.name: path.read_bytes() for path in data.iterdir()}
    encoder = Counting()
    with pytest.raises(DataError, match=f"has 30 vectors {whose}, new ones would be by offline.*--force"):
        encode_missing(data, encoder)
    assert {path.name: path.read_bytes() for path in data.iterdir()} == before


def test_vectors_of_one_file_nobody_knows_do_not_stand_beside_new_ones(data: Path) -> None:
    rewrite(data / formats.QUERY_FEATURES_FILE, foreign)
    (data / formats.PRODUCT_FEATURES_FILE).unlink()
    with pytest.raises(DataError, match="vectors by encoder offline.*, those of the queries are of unknown origin"):
        encode_missing(data, OfflineEncoder(64))
    assert not (data / formats.PRODUCT_FEATURES_FILE).exists()


def test_vectors_that_were_kept_are_not_claimed(data: Path) -> None:
    for name in (formats.QUERY_FEATURES_FILE, formats.PRODUCT_FEATURES_FILE):
        rewrite(data / name, foreign)
    report = encode_missing(data, OfflineEncoder(64))
    assert report.queries_encoded == report.product_texts_encoded == 0
    assert any("340 text vectors that were kept are of unknown origin, not by offline" in note for note in report.notes)


def test_vectors_of_the_encoder_at_hand_are_recognised_without_a_name(data: Path) -> None:
    for name in (formats.QUERY_FEATURES_FILE, formats.PRODUCT_FEATURES_FILE):
        rewrite(data / name, lambda table: table.slice(0, 30).replace_schema_metadata(None))
    report = encode_missing(data, OfflineEncoder(64))
    assert (report.queries_encoded, report.product_texts_encoded) == (10, 270)
    for name in (formats.QUERY_FEATURES_FILE, formats.PRODUCT_FEATURES_FILE):
        assert pq.read_schema(data / name).metadata[formats.ENCODER_KEY.encode()] == OfflineEncoder.name.encode()


# --- what a vector was made from --------------------------------------------------------------------------------------


@pytest.fixture
def encoded(data: Path) -> Path:
    """The sample with vectors that say what they were made from."""
    encode_missing(data, OfflineEncoder(64), force=True)
    return data


def replaced(path: Path, column: str, row: int, value: object) -> None:
    def change(table: pa.Table) -> pa.Table:
        values = table[column].to_pylist()
        values[row] = value
        at = table.schema.get_field_index(column)
        return table.set_column(at, column, pa.array(values, table.schema.field(column).type))

    rewrite(path, change)


def test_a_replaced_picture_is_encoded_anew_and_nothing_else(encoded: Path) -> None:
    images = pq.read_table(encoded / formats.IMAGES_FILE)
    product, other = images["product_id"][4].as_py(), images["image"][9].as_py()
    before = rows(encoded / formats.PRODUCT_FEATURES_FILE, "product_id")
    replaced(encoded / formats.IMAGES_FILE, "image", 4, other)
    encoder = Counting()
    report = encode_missing(encoded, encoder)
    assert (report.pictures_renewed, report.pictures_encoded, report.pictures_kept) == (1, 0, images.num_rows - 1)
    assert (encoder.images, encoder.texts[64:]) == (1, [])
    after = rows(encoded / formats.PRODUCT_FEATURES_FILE, "product_id")
    expected = OfflineEncoder(64).encode_images([other])[0].tolist()
    assert after[product]["clip_image_features"] == expected != before[product]["clip_image_features"]
    assert {**after, product: before[product]} == before
    assert encode_missing(encoded, OfflineEncoder(64)).pictures_renewed == 0


def test_replaced_texts_are_encoded_anew(encoded: Path) -> None:
    products = pq.read_table(encoded / formats.PRODUCTS_FILE)
    replaced(encoded / formats.PRODUCTS_FILE, "product_title", 7, "violet umbrella")
    judged = pq.read_table(encoded / formats.EXAMPLES_FILE)
    query = judged["query_id"][0].as_py()
    renamed = [
        "blue sofa" if number == query else text
        for number, text in zip(judged["query_id"].to_pylist(), judged["query"].to_pylist(), strict=True)
    ]
    rewrite(encoded / formats.EXAMPLES_FILE, lambda table: table.set_column(1, "query", pa.array(renamed)))
    report = encode_missing(encoded, OfflineEncoder(64))
    assert (report.queries_renewed, report.queries_encoded, report.queries_kept) == (1, 0, 39)
    assert (report.product_texts_renewed, report.product_texts_encoded, report.product_texts_kept) == (1, 0, 299)
    fresh = OfflineEncoder(64).encode_texts(["blue sofa", "violet umbrella"]).tolist()
    assert rows(encoded / formats.QUERY_FEATURES_FILE, "query_id")[str(query)]["clip_text_features"] == fresh[0]
    product = products["product_id"][7].as_py()
    assert rows(encoded / formats.PRODUCT_FEATURES_FILE, "product_id")[product]["clip_text_features"] == fresh[1]


@pytest.mark.parametrize("most", [8192, 1])
def test_renewed_rows_stand_behind_the_others_while_they_are_few(
    encoded: Path, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that what reads the changed rows later reads one row group."""
    monkeypatch.setattr(encode, "_MOST_MOVED", most)
    path = encoded / formats.PRODUCT_FEATURES_FILE
    ids = pq.read_table(path)["product_id"].to_pylist()
    for row in (3, 200):
        replaced(encoded / formats.PRODUCTS_FILE, "product_title", row, f"violet umbrella {row}")
    titled = pq.read_table(encoded / formats.PRODUCTS_FILE)["product_id"].to_pylist()
    changed = {titled[3], titled[200]}
    encode_missing(encoded, OfflineEncoder(64))
    now = pq.read_table(path)["product_id"].to_pylist()
    assert now == [each for each in ids if each not in changed] + [each for each in ids if each in changed]


def test_a_vector_with_a_time_is_history_and_stays(encoded: Path) -> None:
    path = encoded / formats.PRODUCT_FEATURES_FILE
    times = pa.array([1_700_000_000_000_000] * 300, formats.TIMESTAMP_TYPE)
    rewrite(path, lambda table: table.append_column("event_timestamp", times))
    replaced(encoded / formats.PRODUCTS_FILE, "product_title", 7, "violet umbrella")
    before = path.read_bytes()
    assert encode_missing(encoded, OfflineEncoder(64)).product_texts_renewed == 0
    assert path.read_bytes() == before


# --- locales ----------------------------------------------------------------------------------------------------------

TITLES = {("A", "us"): "red kettle", ("A", "es"): "hervidor rojo", ("B", "us"): "blue lamp", ("B", "es"): "farol azul"}


def bilingual(data: Path, judged: list[tuple[str, str]]) -> Path:
    """Products A and B in two locales, judged as said (product, locale), each by a query of its own."""
    data.mkdir()
    products = [
        {"product_id": key, "product_title": title, "product_locale": locale} for (key, locale), title in TITLES.items()
    ]
    schema = formats.PRODUCTS_SCHEMA
    pq.write_table(pa.Table.from_pylist(products, schema=schema), data / formats.PRODUCTS_FILE)
    pairs = [
        {"example_id": n, "query": f"query {n}", "query_id": n, "product_id": product, "product_locale": locale,
         "esci_label": "E", "small_version": 1, "large_version": 1, "split": "test"}
        for n, (product, locale) in enumerate(judged)
    ]  # fmt: skip
    pq.write_table(pa.Table.from_pylist(pairs, schema=formats.EXAMPLES_SCHEMA), data / formats.EXAMPLES_FILE)
    return data


@pytest.mark.parametrize(
    ("judged", "locale", "expected", "several"),
    [
        ([("A", "es"), ("B", "us")], "us", ("es", "us"), 0),
        ([("A", "es"), ("A", "us"), ("B", "es")], "us", ("us", "es"), 1),
        ([("A", "es"), ("A", "us"), ("B", "es")], "es", ("es", "es"), 1),
        ([("A", "us"), *[("A", "es")] * 12, ("B", "es")], "us", ("es", "es"), 1),
        ([("A", "es")], "us", ("es", "es"), 0),  # nothing is judged in us
        ([("A", "es"), ("B", "es")], None, ("es", "es"), 0),
    ],
)
def test_a_product_has_the_title_of_the_locale_in_which_it_is_judged(
    tmp_path: Path, judged: list[tuple[str, str]], locale: str | None, expected: tuple[str, str], several: int
) -> None:
    data = bilingual(tmp_path / "data", judged)
    encoder = Counting()
    report = encode_missing(data, encoder, locale=locale)
    titles = [TITLES[key, locale] for key, locale in zip("AB", expected, strict=True)]
    vectors = rows(data / formats.PRODUCT_FEATURES_FILE, "product_id")
    assert [vectors[key]["clip_text_features"] for key in "AB"] == OfflineEncoder(64).encode_texts(titles).tolist()
    assert report.products_judged_in_several_locales == several
    assert bool(report.notes) == bool(several)


def test_another_locale_that_is_asked_for_renews_the_vectors(tmp_path: Path) -> None:
    data = bilingual(tmp_path / "data", [("A", "us"), *[("A", "es")] * 12, ("B", "es")])
    encode_missing(data, OfflineEncoder(64), locale="us")
    assert any("of another title" in line for file in check_folder(data, locale="us") for line in file.problems)
    assert not any(file.problems for file in check_folder(data, locale="es"))
    report = encode_missing(data, OfflineEncoder(64), locale="us", locale_was_asked_for=True)
    assert (report.product_texts_renewed, report.product_texts_kept) == (1, 1)
    assert not any(file.problems for file in check_folder(data, locale="us"))


def test_bad_picture_is_named(data: Path) -> None:
    (data / formats.PRODUCT_FEATURES_FILE).unlink()

    def change(table: pa.Table) -> pa.Table:
        images = table["image"].to_pylist()
        images[17] = images[17][:50]
        return table.set_column(1, "image", pa.array(images))

    rewrite(data / formats.IMAGES_FILE, change)
    with pytest.raises(DataError, match="row 18, column image: the picture cannot be used: not a whole"):
        encode_missing(data, OfflineEncoder(64))
    assert not (data / formats.PRODUCT_FEATURES_FILE).exists()
    assert not list(data.glob(".*"))


def test_leftovers_of_a_killed_call_are_removed(data: Path) -> None:
    (data / ".product_features.parquet.part").write_bytes(b"half")
    encode_missing(data, OfflineEncoder(64))
    assert not list(data.glob(".*"))


def test_catalogue_of_one_query_and_product(tmp_path: Path) -> None:
    from sqidflow.data.importing import import_files

    path = tmp_path / "f.csv"
    path.write_text("query,product_id,product_title,esci_label\nred shoe,A,,E\n")
    import_files(tmp_path / "data", path)
    report = encode_missing(tmp_path / "data", OfflineEncoder(64))
    assert (report.queries_encoded, report.product_texts_encoded, report.products_without_picture) == (1, 1, 1)
    assert [problem for file in check_folder(tmp_path / "data") for problem in file.problems] == []
