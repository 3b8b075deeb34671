"""Vectors through an import: whose ids, whose encoder, what stays."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sqidflow.core.errors import DataError
from sqidflow.data import formats
from sqidflow.data.check import check_folder
from sqidflow.data.encode import encode_missing
from sqidflow.data.importing import import_files
from sqidflow.encoders.offline import OfflineEncoder

PRODUCTS = "product_id,product_title\nA,Red shoe\nB,Blue sofa\nC,Lamp\n"
MARCH, MAY = dt.datetime(2025, 3, 1, tzinfo=dt.UTC), dt.datetime(2025, 5, 1, tzinfo=dt.UTC)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "work" / "data"


def written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def shop(folder: Path, rows: str = "query,product_id,esci_label\nred shoe,A,E\nsofa,B,E\n") -> dict[str, Path]:
    return {"examples": written(folder / "j.csv", rows), "products": written(folder / "p.csv", PRODUCTS)}


def parquet(path: Path, encoder: str | None = None, **columns: Any) -> Path:
    table = pa.table(columns)
    pq.write_table(table.replace_schema_metadata({formats.ENCODER_KEY: encoder}) if encoder else table, path)
    return path


def rows_of(data: Path, name: str = formats.PRODUCT_FEATURES_FILE) -> list[dict[str, Any]]:
    return pq.read_table(data / name).to_pylist()


# --- ids --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ids", [[1, 2], [0, 1], [501, 502]])
def test_ids_that_the_import_made_up_never_meet_those_of_the_vectors(
    tmp_path: Path, data: Path, ids: list[int]
) -> None:
    files = shop(tmp_path)
    vectors = parquet(tmp_path / "q.parquet", query_id=ids, clip_text_features=[[1.0, 0.0], [0.0, 1.0]])
    with pytest.raises(DataError, match="row 1, column query_id: .*made up.*column query"):
        import_files(data, **files, query_features=vectors)
    import_files(data, **files)
    before = {path.name: path.read_bytes() for path in data.iterdir()}
    with pytest.raises(DataError, match="made up"):
        import_files(data, query_features=vectors)
    assert {path.name: path.read_bytes() for path in data.iterdir()} == before


def test_made_up_ids_among_given_ones_are_refused_and_the_given_are_not(tmp_path: Path, data: Path) -> None:
    import_files(data, **shop(tmp_path, "query_id,query,product_id,esci_label\n7,red shoe,A,E\n,sofa,B,E\n"))
    known = parquet(tmp_path / "q.parquet", query_id=[7, 99], clip_text_features=[[1.0, 0.0], [0.0, 1.0]])
    assert import_files(data, query_features=known).query_vectors == 2
    with pytest.raises(DataError, match="row 1, column query_id: .*8 to 8.*the first of them 8"):
        import_files(data, query_features=parquet(tmp_path / "r.parquet", query_id=[8], clip_text_features=[[1.0, 0]]))


@pytest.mark.parametrize("with_ids", [False, True])
def test_vectors_with_their_text_are_matched_by_it(tmp_path: Path, data: Path, with_ids: bool) -> None:
    columns = {"query": ["Sofa ", "unknown", "RED  shoe"], "clip_text_features": [[1.0, 2], [3.0, 4], [5.0, 6]]}
    ids = {"query_id": [1, 2, 3]} if with_ids else {}
    vectors = parquet(tmp_path / "q.parquet", **ids, **columns)
    report = import_files(data, **shop(tmp_path), query_features=vectors)
    found = {row["query_id"]: row["clip_text_features"] for row in rows_of(data, formats.QUERY_FEATURES_FILE)}
    assert found == {"1": [5.0, 6.0], "2": [1.0, 2.0]}
    assert (report.query_vectors, report.query_vectors_of_no_query) == (2, 1)


def test_a_text_of_two_locales_gives_its_vector_to_both_unless_it_says_which(tmp_path: Path, data: Path) -> None:
    files = {
        "examples": written(
            tmp_path / "j.csv", "query,product_id,product_locale,esci_label\nlamp,A,us,E\nlamp,A,es,E\n"
        ),
        "products": written(tmp_path / "p.csv", "product_id,product_title,product_locale\nA,a,us\nA,b,es\n"),
    }
    both = parquet(tmp_path / "both.parquet", query=["lamp"], clip_text_features=[[1.0, 2.0]])
    assert import_files(data, **files, query_features=both).query_vectors == 2
    one = parquet(
        tmp_path / "one.parquet", query=["lamp"] * 2, query_locale=["es", "us"], clip_text_features=[[1.0, 2], [3.0, 4]]
    )
    import_files(data, **files, query_features=one)
    found = {row["query_id"]: row["clip_text_features"] for row in rows_of(data, formats.QUERY_FEATURES_FILE)}
    assert found == {"1": [3.0, 4.0], "2": [1.0, 2.0]}


def test_vectors_follow_their_ids_where_those_were_merged(tmp_path: Path, data: Path) -> None:
    rows = "query_id,query,product_id,esci_label\n4,sofa,B,E\n9,Sofa,A,S\n2,lamp,C,E\n3,Lamp,A,I\n"
    vectors = parquet(tmp_path / "q.parquet", query_id=[9, 2, 3], clip_text_features=[[1.0, 2], [3.0, 4], [5.0, 6]])
    import_files(data, **shop(tmp_path, rows), query_features=vectors)
    found = {row["query_id"]: row["clip_text_features"] for row in rows_of(data, formats.QUERY_FEATURES_FILE)}
    assert found == {"4": [1.0, 2.0], "2": [3.0, 4.0]}, "9 gave its vector to 4; 2 has its own"


# --- what stays -------------------------------------------------------------------------------------------------------


def both_kinds(folder: Path) -> Path:
    return parquet(
        folder / "both.parquet",
        product_id=["A", "B", "C"],
        clip_text_features=[[1.0, 0], [2.0, 0], [3.0, 0]],
        clip_image_features=[[0.0, 1], [0.0, 2], None],
    )


def test_text_vectors_alone_leave_picture_vectors_and_the_other_way_round(tmp_path: Path, data: Path) -> None:
    import_files(data, **shop(tmp_path), product_features=both_kinds(tmp_path))
    texts = parquet(tmp_path / "t.parquet", product_id=["C", "A"], clip_text_features=[[9.0, 9], [8.0, 8]])
    report = import_files(data, product_features=texts)
    assert (report.product_vectors, report.product_vectors_kept, report.product_vectors_completed) == (2, 1, 1)
    kinds = ("clip_text_features", "clip_image_features")
    found = {row["product_id"]: tuple(row[kind] for kind in kinds) for row in rows_of(data)}
    assert found == {"A": ([8.0, 8.0], [0.0, 1.0]), "B": ([2.0, 0.0], [0.0, 2.0]), "C": ([9.0, 9.0], None)}
    pictures = parquet(tmp_path / "i.parquet", product_id=["B", "C"], clip_image_features=[[7.0, 7], [6.0, 6]])
    import_files(data, product_features=pictures)
    found = {row["product_id"]: tuple(row[kind] for kind in kinds) for row in rows_of(data)}
    assert found == {"A": ([8.0, 8.0], [0.0, 1.0]), "B": ([2.0, 0.0], [7.0, 7.0]), "C": ([9.0, 9.0], [6.0, 6.0])}


def test_no_hint_makes_text_vectors_of_picture_vectors(tmp_path: Path, data: Path) -> None:
    pictures = parquet(tmp_path / "q.parquet", query_id=[1], clip_image_features=[[7.0, 7]])
    with pytest.raises(DataError, match="column clip_text_features: the column is missing") as raised:
        import_files(data, query_features=pictures)
    assert "rename" not in raised.value.message


def test_older_vectors_of_an_id_are_its_history(tmp_path: Path, data: Path) -> None:
    first = parquet(
        tmp_path / "march.parquet", product_id=["A", "B"], clip_text_features=[[1.0, 0], [2.0, 0]],
        clip_image_features=[[0.0, 1], None], event_timestamp=[MARCH, None],
    )  # fmt: skip
    import_files(data, **shop(tmp_path), product_features=first)
    later = parquet(tmp_path / "may.parquet", product_id=["A"], clip_text_features=[[5.0, 5]], event_timestamp=[MAY])
    report = import_files(data, product_features=later)
    assert (report.product_vectors, report.product_vectors_kept) == (1, 2)
    found = {(row["product_id"], row["event_timestamp"]): row for row in rows_of(data)}
    assert set(found) == {("A", MARCH), ("A", MAY), ("B", None)}
    assert found["A", MAY]["clip_text_features"] == [5.0, 5.0]
    assert found["A", MAY]["clip_image_features"] == [0.0, 1.0], "the newest picture vector that was known then"
    early = parquet(
        tmp_path / "early.parquet", product_id=["A"], clip_text_features=[[4.0, 4]],
        event_timestamp=[dt.datetime(2024, 1, 1, tzinfo=dt.UTC)],
    )  # fmt: skip
    import_files(data, product_features=early)
    (row,) = (row for row in rows_of(data) if row["clip_text_features"] == [4.0, 4.0])
    assert row["clip_image_features"] is None


def test_a_vector_without_a_time_is_not_hidden_behind_older_ones(tmp_path: Path, data: Path) -> None:
    timed = parquet(tmp_path / "t.parquet", product_id=["A"], clip_text_features=[[1.0, 0]], event_timestamp=[MARCH])
    import_files(data, **shop(tmp_path), product_features=timed)
    bare = parquet(tmp_path / "b.parquet", product_id=["A", "B"], clip_text_features=[[2.0, 0], [3.0, 0]])
    with pytest.raises(DataError, match=r"column event_timestamp: A has vectors with times .*\(1 such\)"):
        import_files(data, product_features=bare)


# --- encoders ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def encoded(tmp_path: Path, data: Path) -> Path:
    import_files(data, **shop(tmp_path))
    encode_missing(data, OfflineEncoder(16))
    return data


def some_vectors(path: Path, ids: list[str], encoder: str | None = None) -> Path:
    values = np.random.default_rng(1).standard_normal((len(ids), 16)).tolist()
    return parquet(path, encoder, product_id=ids, clip_text_features=values)


@pytest.mark.parametrize("ids", [["A", "B", "C"], ["A"]])
@pytest.mark.parametrize(("encoder", "hint"), [(None, "--encoder NAME"), ("other", "vectors of one encoder")])
def test_vectors_of_another_or_an_unknown_encoder_are_refused(
    tmp_path: Path, encoded: Path, ids: list[str], encoder: str | None, hint: str
) -> None:
    before = {path.name: path.read_bytes() for path in encoded.iterdir()}
    vectors = some_vectors(tmp_path / "v.parquet", ids, encoder)
    whose = f"by encoder {encoder}" if encoder else "of unknown origin"
    with pytest.raises(DataError, match=f"vectors {whose}, but the .* are by {OfflineEncoder.name}.*{hint}"):
        import_files(encoded, product_features=vectors)
    assert {path.name: path.read_bytes() for path in encoded.iterdir()} == before


def test_query_vectors_nobody_knows_are_refused_beside_encoded_products(tmp_path: Path, encoded: Path) -> None:
    vectors = parquet(tmp_path / "q.parquet", query=["sofa", "red shoe"], clip_text_features=[[1.0] * 16] * 2)
    with pytest.raises(DataError, match="but the product vectors there are by"):
        import_files(encoded, query_features=vectors)


def test_who_made_them_can_be_said_and_is_kept(tmp_path: Path, encoded: Path) -> None:
    own = OfflineEncoder(16).encode_texts(["Red shoe"]).tolist()
    vectors = parquet(tmp_path / "v.parquet", product_id=["A"], clip_text_features=own)
    import_files(encoded, product_features=vectors, encoder=OfflineEncoder.name)
    metadata = pq.read_schema(encoded / formats.PRODUCT_FEATURES_FILE).metadata
    assert metadata[formats.ENCODER_KEY.encode()] == OfflineEncoder.name.encode()
    assert not [line for file in check_folder(encoded) for line in file.problems]
    named = some_vectors(tmp_path / "n.parquet", ["A"], "other")
    with pytest.raises(DataError, match="its vectors are by other, not by mine"):
        import_files(encoded, product_features=named, encoder="mine")


def test_digests_of_vectors_that_stay_are_kept(tmp_path: Path, encoded: Path) -> None:
    before = {row["product_id"]: row["text_digest"] for row in rows_of(encoded)}
    assert all(before.values())
    own = OfflineEncoder(16).encode_texts(["Red shoe"]).tolist()
    vectors = parquet(tmp_path / "v.parquet", product_id=["A"], clip_text_features=own)
    import_files(encoded, product_features=vectors, encoder=OfflineEncoder.name)
    after = {row["product_id"]: row["text_digest"] for row in rows_of(encoded)}
    assert after == {**before, "A": None}


def test_times_of_judgements_are_told(tmp_path: Path, data: Path) -> None:
    rows = "query,product_id,esci_label,event_timestamp\nlamp,C,E,2023-01-15 10:00:00\nsofa,B,E,2024-05-01\n"
    report = import_files(data, **shop(tmp_path, rows))
    assert any("judgements have times from 2023-01-15 on" in note for note in report.notes)
    encode_missing(data, OfflineEncoder(16))
    notes = [note for file in check_folder(data) for note in file.notes]
    assert any("from 2023-01-15 10:00 on: vectors without a time count as known" in note for note in notes)
