from __future__ import annotations

import datetime as dt
import gzip
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sqidflow.core.errors import DataError
from sqidflow.data import formats, readers

VECTORS = [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]


def examples(**changes: object) -> pa.Table:
    columns = {
        "example_id": [0, 1, 2],
        "query": ["red shoe", "red shoe", "sofa"],
        "query_id": [7, 7, 8],
        "product_id": ["A", "B", "A"],
        "product_locale": ["us"] * 3,
        "esci_label": ["E", "S", "I"],
        "small_version": [1] * 3,
        "large_version": [1] * 3,
        "split": ["test"] * 3,
    }
    columns |= changes
    return pa.table({name: column for name, column in columns.items() if column is not None})


def written(folder: Path, table: pa.Table, name: str = "file.parquet") -> Path:
    pq.write_table(table, folder / name)
    return folder / name


def whole(batches: object) -> pa.Table:
    return pa.Table.from_batches(batches)


def fails(call: Callable[[], object], path: Path, row: int | None, column: str | None, what: str) -> DataError:
    with pytest.raises(DataError, match=what) as caught:
        call()
    error = caught.value
    assert (error.file, error.row, error.column) == (path, row, column), error.message
    assert error.message.count(";") >= 1, "the hint is missing"
    return error


class TestExamples:
    def test_parquet_and_csv_give_the_same(self, tmp_path: Path) -> None:
        table = examples(query=['red "shoe"', 'red "shoe"', "sofa,\nlarge"])
        parquet = written(tmp_path, table)
        csv_path = tmp_path / "file.csv"
        table.to_pandas().to_csv(csv_path, index=False)
        zipped = tmp_path / "file.csv.gz"
        zipped.write_bytes(gzip.compress(csv_path.read_bytes()))
        bom = tmp_path / "bom.csv"
        bom.write_bytes(b"\xef\xbb\xbf" + csv_path.read_bytes())
        first = readers.load_examples(parquet)
        assert first.table.schema.names == [*formats.EXAMPLES_SCHEMA.names, "event_timestamp", "query_kind"]
        assert first.table["query"].to_pylist() == ['red "shoe"', 'red "shoe"', "sofa,\nlarge"]
        for path in (csv_path, zipped, bom):
            assert readers.load_examples(path).table.equals(first.table), path.name

    @pytest.mark.parametrize(
        "ids", [["7", " 7 ", "8"], [7.0, 7.0, 8.0], ["7.0", "7", "8."], pa.array([7, 7, 8], pa.int32())]
    )
    def test_query_ids_of_any_spelling(self, tmp_path: Path, ids: object) -> None:
        assert readers.load_examples(written(tmp_path, examples(query_id=ids))).table["query_id"].to_pylist() == [
            7,
            7,
            8,
        ]

    def test_repeated_judgements_are_dropped_and_counted(self, tmp_path: Path) -> None:
        path = written(tmp_path, pa.concat_tables([examples(), examples(), examples().slice(0, 1)]))
        read = readers.load_examples(path)
        assert (read.rows, read.duplicates) == (7, 4)
        assert read.table["product_id"].to_pylist() == ["A", "B", "A"]

    def test_timestamps_are_kept(self, tmp_path: Path) -> None:
        times = ["2025-03-27 07:01:04.332726+00:00", "2025-03-27T09:01:04+02:00", "2025-03-28"]
        table = readers.load_examples(written(tmp_path, examples(event_timestamp=times))).table
        assert table["event_timestamp"].to_pylist() == [
            dt.datetime(2025, 3, 27, 7, 1, 4, 332726, dt.UTC),
            dt.datetime(2025, 3, 27, 7, 1, 4, tzinfo=dt.UTC),
            dt.datetime(2025, 3, 28, tzinfo=dt.UTC),
        ]

    @pytest.mark.parametrize(
        ("changes", "row", "column", "what"),
        [
            ({"esci_label": None}, None, "esci_label", "missing"),
            ({"split": None}, None, "split", "missing"),
            ({"esci_label": ["E", "X", "I"]}, 2, "esci_label", "unknown label 'X'"),
            ({"esci_label": ["E", "S", "exact"]}, 3, "esci_label", "unknown label 'exact'"),
            ({"esci_label": ["E", None, "I"]}, 2, "esci_label", "no value"),
            ({"product_id": ["A", "", "A"]}, 2, "product_id", "no value"),
            ({"query": ["red shoe", "red shoe", "  "]}, 3, "query", "no value"),
            ({"query_id": [7, 7, None]}, 3, "query_id", "no value"),
            ({"query_id": ["7", "7", "eight"]}, 3, "query_id", "'eight' is not a whole number"),
            ({"query_id": [7.0, 7.5, 8.0]}, 2, "query_id", "7.5 is not a whole number"),
            ({"query_id": ["7", "7", "9" * 19]}, 3, "query_id", "too large"),
            ({"query_id": pa.array([7, 7, 2**63], pa.uint64())}, 3, "query_id", "9223372036854775808 is too large"),
            ({"query_id": [7, 7, 7]}, 3, "query_id", "'sofa' here and 'red shoe' in row 1"),
            ({"event_timestamp": ["2025-01-01", "soon", None]}, 2, "event_timestamp", "'soon' is not a time"),
            ({"event_timestamp": [1, 2, 3]}, None, "event_timestamp", "int64, not times"),
        ],
    )
    def test_faults(self, tmp_path: Path, changes: dict, row: int | None, column: str, what: str) -> None:
        path = written(tmp_path, examples(**changes))
        fails(lambda: readers.load_examples(path), path, row, column, what)

    def test_two_labels_for_one_pair(self, tmp_path: Path) -> None:
        table = pa.concat_tables([examples(), examples(esci_label=["E", "C", "I"])])
        path = written(tmp_path, table)
        error = fails(lambda: readers.load_examples(path), path, 5, "esci_label", "query 7 and product B are judged C")
        assert "S in row 2" in error.message

    def test_row_is_counted_over_batches(self, tmp_path: Path) -> None:
        n = 3 * readers.BATCH_ROWS
        labels = ["E"] * n
        labels[2 * readers.BATCH_ROWS + 4] = "?"
        table = pa.table(
            {name: [1] * n for name in ("example_id", "query_id", "small_version", "large_version")}
            | {"query": ["q"] * n, "product_id": [str(i) for i in range(n)], "product_locale": ["us"] * n}
            | {"esci_label": labels, "split": ["test"] * n}
        )
        for suffix in ("parquet", "csv"):
            path = tmp_path / f"long.{suffix}"
            pq.write_table(table, path) if suffix == "parquet" else table.to_pandas().to_csv(path, index=False)
            fails(
                lambda p=path: list(readers.read_examples(p)), path, 2 * readers.BATCH_ROWS + 5, "esci_label", "unknown"
            )

    def test_a_near_name_is_proposed(self, tmp_path: Path) -> None:
        path = written(tmp_path, examples(esci_label=None, label=["E", "S", "I"]))
        assert "rename label" in fails(lambda: readers.read_examples(path), path, None, "esci_label", "missing").message


class TestFiles:
    def test_not_there(self, tmp_path: Path) -> None:
        written(tmp_path, examples(), "examples.parquet")
        path = tmp_path / "exmples.parquet"
        assert (
            "did you mean examples.parquet"
            in fails(lambda: readers.load_examples(path), path, None, None, "does not exist").message
        )

    def test_folder(self, tmp_path: Path) -> None:
        fails(lambda: readers.load_examples(tmp_path), tmp_path, None, None, "is a folder")

    @pytest.mark.parametrize("name", ["a.parquet", "a.csv", "a.csv.gz"])
    def test_no_bytes(self, tmp_path: Path, name: str) -> None:
        path = tmp_path / name
        path.touch()
        fails(lambda: readers.load_examples(path), path, None, None, r"empty \(0 bytes\)")

    def test_no_rows(self, tmp_path: Path) -> None:
        path = written(tmp_path, examples().slice(0, 0))
        fails(lambda: readers.load_examples(path), path, None, None, "no rows")
        path = tmp_path / "a.csv"
        path.write_text(",".join(formats.EXAMPLES_SCHEMA.names) + "\n")
        fails(lambda: readers.load_examples(path), path, None, None, "no rows")

    @pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
    def test_truncated_parquet(self, tmp_path: Path, share: float) -> None:
        path = written(tmp_path, examples())
        data = path.read_bytes()
        path.write_bytes(data[: int(len(data) * share)])
        fails(lambda: readers.load_examples(path), path, None, None, "not a whole parquet file")

    def test_damaged_parquet(self, tmp_path: Path) -> None:
        path = tmp_path / "a.parquet"
        pq.write_table(examples(query=["x" * 5000, "x" * 5000, "y"]), path, compression="zstd", use_dictionary=False)
        data = bytearray(path.read_bytes())
        data[4:200] = bytes(196)
        path.write_bytes(data)
        with pytest.raises(DataError, match="damaged"):
            readers.load_examples(path)

    def test_lfs_pointer(self, tmp_path: Path) -> None:
        path = tmp_path / "product_features.parquet"
        path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:4eac\nsize 914932556\n")
        error = fails(lambda: readers.read_product_features(path), path, None, None, "Git LFS pointer")
        assert "git lfs pull" in error.message

    def csv_of(self, folder: Path, data: bytes) -> Path:
        path = folder / "file.csv"
        path.write_bytes(",".join(formats.EXAMPLES_SCHEMA.names).encode() + b"\n" + data)
        return path

    def test_wrong_encoding(self, tmp_path: Path) -> None:
        good = b'0,"two\nlines",7,A,us,E,1,1,test\n'
        path = self.csv_of(tmp_path, good + "1,café,8,A,us,E,1,1,test\n".encode("latin-1"))
        fails(lambda: readers.load_examples(path), path, 2, "query", "not UTF-8")
        path.write_bytes(path.read_bytes().decode("latin-1").encode("utf-16"))
        fails(lambda: readers.load_examples(path), path, None, None, "UTF-16")

    def test_wrong_encoding_within_parquet(self, tmp_path: Path) -> None:
        text = pa.array([b"red", b"red", b"caf\xe9"]).cast(pa.binary()).view(pa.string())
        path = written(tmp_path, examples(query=text))
        fails(lambda: readers.load_examples(path), path, 3, "query", "not UTF-8")

    @pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary(), pa.dictionary(pa.int32(), pa.binary())])
    def test_wrong_encoding_within_a_column_of_bytes(self, tmp_path: Path, kind: pa.DataType) -> None:
        path = written(tmp_path, examples(query=pa.array([b"red", b"red", b"caf\xe9"]).cast(kind)))
        fails(lambda: readers.load_examples(path), path, 3, "query", "not UTF-8")

    def test_ragged_row(self, tmp_path: Path) -> None:
        path = self.csv_of(tmp_path, b"0,q,7,A,us,E,1,1,test\n1,q,7,B,us\n")
        fails(lambda: readers.load_examples(path), path, 2, None, "has 5 fields where the header has 9")

    def test_truncated_gzip(self, tmp_path: Path) -> None:
        rows = "".join(f"{i},query {i * 7919},{i},P{i},us,E,1,1,test\n" for i in range(5000))
        whole_file = gzip.compress(self.csv_of(tmp_path, rows.encode()).read_bytes())
        path = tmp_path / "cut.csv.gz"
        path.write_bytes(whole_file[: len(whole_file) // 2])
        with pytest.raises(DataError, match="cut.csv.gz.*damaged"):
            readers.load_examples(path)

    def test_column_twice(self, tmp_path: Path) -> None:
        path = tmp_path / "a.csv"
        path.write_text("product_id,image_url,product_id\nA,u,B\n")
        fails(lambda: readers.read_image_urls(path), path, None, "product_id", "twice")


class TestProducts:
    def test_blank_fields_are_null_and_words_like_null_are_words(self, tmp_path: Path) -> None:
        path = tmp_path / "a.csv"
        path.write_text(",".join(formats.PRODUCTS_SCHEMA.names) + "\nA,null,,NA,nan,,us\nB,,d,b,x,y,jp\n")
        rows = whole(readers.read_products(path)).to_pylist()
        assert rows[0] == {
            "product_id": "A",
            "product_title": "null",
            "product_description": None,
            "product_bullet_point": "NA",
            "product_brand": "nan",
            "product_color": None,
            "product_locale": "us",
        }
        assert rows[1]["product_title"] == ""

    def test_lenient_needs_id_and_title_only(self, tmp_path: Path) -> None:
        path = written(tmp_path, pa.table({"product_id": ["A"], "product_title": ["t"], "price": [3]}))
        assert whole(readers.read_products(path, lenient=True)).schema.names == formats.PRODUCTS_SCHEMA.names
        fails(lambda: readers.read_products(path), path, None, "product_description", "missing")

    def test_real_file(self, real_data: Path) -> None:
        table = whole(readers.read_products(real_data / "esci_us_train_sample.csv", lenient=True))
        assert table.num_rows == 1695
        assert table["product_title"][0].as_py().startswith("ACDelco Professional 36-365453")
        judged = whole(readers.read_examples(real_data / "esci_us_train_sample.csv", lenient=True))
        assert judged["query_id"].null_count == 1271
        assert judged["query_id"][1].as_py() == 1453


def lists(kind: str, rows: list[list[float] | None]) -> pa.Array:
    return pa.array(
        rows,
        {
            "float": pa.list_(pa.float32()),
            "double": pa.list_(pa.float64()),
            "large": pa.large_list(pa.float32()),
            "fixed": pa.list_(pa.float32(), 2),
            "int": pa.list_(pa.int64()),
        }[kind],
    )


class TestVectors:
    @pytest.mark.parametrize("kind", ["float", "double", "large", "fixed", "int"])
    def test_list_types(self, tmp_path: Path, kind: str) -> None:
        table = pa.table(
            {
                "product_id": ["A", "B", "C"],
                "clip_text_features": lists(kind, VECTORS),
                "clip_image_features": lists(kind, [VECTORS[0], None, VECTORS[2]]),
            }
        )
        read = whole(readers.read_product_features(written(tmp_path, table)))
        assert [str(t) for t in read.schema.types[1:3]] == ["list<item: float>"] * 2
        assert read["clip_text_features"].to_pylist() == VECTORS
        assert read["clip_image_features"].to_pylist() == [VECTORS[0], None, VECTORS[2]]
        assert read["event_timestamp"].null_count == 3

    def test_an_empty_list_is_no_picture(self, tmp_path: Path) -> None:
        table = pa.table(
            {
                "product_id": ["A", "B"],
                "clip_text_features": VECTORS[:2],
                "clip_image_features": pa.array([[], [1.0, 1.0]], pa.list_(pa.float32())),
            }
        )
        read = whole(readers.read_product_features(written(tmp_path, table)))
        assert read["clip_image_features"].to_pylist() == [None, [1.0, 1.0]]

    def test_no_picture_column_at_all(self, tmp_path: Path) -> None:
        table = pa.table({"product_id": ["A"], "clip_text_features": VECTORS[:1]})
        assert whole(readers.read_product_features(written(tmp_path, table)))["clip_image_features"].null_count == 1

    @pytest.mark.parametrize("suffix", ["parquet", "csv", "csv.gz"])
    def test_flat_forms(self, tmp_path: Path, suffix: str) -> None:
        flat = {"text_f1": [2.0, 4.0], "text_f0": [1.0, 3.0], "image_f0": [9.0, None], "image_f1": [8.0, None]}
        table = pa.table({"product_id": ["A", "B"], **flat})
        path = tmp_path / f"a.{suffix}"
        if suffix == "parquet":
            pq.write_table(table, path)
        else:
            table.to_pandas().to_csv(path, index=False)
        read = whole(readers.read_product_features(path))
        assert read["clip_text_features"].to_pylist() == [[1.0, 2.0], [3.0, 4.0]]
        assert read["clip_image_features"].to_pylist() == [[9.0, 8.0], None]

    def test_wide_query_file(self, tmp_path: Path) -> None:
        path = tmp_path / "q.csv"
        path.write_text("query_id,f0,f1,event_timestamp\n95824,0.5,-1e-3,2025-03-27 07:01:04.332726+00:00\n8.0,1,2,\n")
        assert whole(readers.read_query_features(path)).to_pylist() == [
            {
                "query_id": 95824,
                "clip_text_features": [0.5, np.float32(-1e-3)],
                "event_timestamp": dt.datetime(2025, 3, 27, 7, 1, 4, 332726, dt.UTC),
            },
            {"query_id": 8, "clip_text_features": [1.0, 2.0], "event_timestamp": None},
        ]

    def test_naive_and_nanosecond_timestamps(self, tmp_path: Path) -> None:
        table = pa.table(
            {
                "query_id": ["1"],
                "clip_text_features": VECTORS[:1],
                "event_timestamp": pa.array([1_700_000_000_123_456_789], pa.timestamp("ns")),
            }
        )
        read = whole(readers.read_query_features(written(tmp_path, table)))
        assert read["event_timestamp"].type == formats.TIMESTAMP_TYPE
        assert read["event_timestamp"].cast(pa.int64()).to_pylist() == [1_700_000_000_123_456]

    def table(self, vectors: object, **more: object) -> pa.Table:
        return pa.table({"query_id": [1, 2, 3], "clip_text_features": vectors, **more})

    @pytest.mark.parametrize(
        ("vectors", "row", "what"),
        [
            ([[1.0, 2.0], [1.0, 2.0, 3.0], [1.0, 2.0]], 2, "3 values where those before have 2"),
            ([[1.0, 2.0], [1.0, float("nan")], [1.0, 2.0]], 2, "value 1 of the vector is NaN"),
            ([[1.0, 2.0], [1.0, None], [1.0, 2.0]], 2, "value 1 of the vector is NaN or missing"),
            ([[1.0, 2.0], [1.0, 2.0], [float("-inf"), 1.0]], 3, "value 0 of the vector is infinite"),
            ([[1.0, 2.0], [0.0, 0.0], [1.0, 1.0]], 2, "all zero"),
            ([[1.0, 2.0], [-0.0, 0.0], [1.0, 1.0]], 2, "all zero"),
            ([[1.0, 2.0], None, [1.0, 1.0]], 2, "no vector"),
            ([[1.0, 2.0], [], [1.0, 1.0]], 2, "no vector"),
            (["[1, 2]", "[1, 2]", "[1, 2]"], None, "string, not lists of numbers"),
        ],
    )
    def test_faults(self, tmp_path: Path, vectors: list, row: int | None, what: str) -> None:
        path = written(tmp_path, self.table(vectors))
        fails(lambda: whole(readers.read_query_features(path)), path, row, "clip_text_features", what)

    def test_huge_and_tiny_values_are_legal(self, tmp_path: Path) -> None:
        vectors = [[3e38, -3e38], [1e-40, 0.0], [1.0, 1.0]]
        assert whole(readers.read_query_features(written(tmp_path, self.table(vectors)))).num_rows == 3

    def test_length_is_remembered_over_batches(self, tmp_path: Path) -> None:
        n = readers.BATCH_ROWS
        table = pa.table({"query_id": range(n + 2), "clip_text_features": [[1.0, 2.0]] * n + [[1.0, 2.0, 3.0]] * 2})
        path = written(tmp_path, table)
        fails(lambda: whole(readers.read_query_features(path)), path, n + 1, "clip_text_features", "3 values")

    def test_faults_of_pictures_name_their_column(self, tmp_path: Path) -> None:
        table = pa.table(
            {
                "product_id": ["A", "B"],
                "clip_text_features": VECTORS[:2],
                "clip_image_features": [None, [0.0, 0.0]],
            }
        )
        path = written(tmp_path, table)
        fails(lambda: whole(readers.read_product_features(path)), path, 2, "clip_image_features", "all zero")

    @pytest.mark.parametrize(
        ("body", "row", "column", "what"),
        [
            ("1,0.5,x\n", 1, "f1", "'x' is not a number"),
            ("1,0.5,0.5\n2,,0.5\n", 2, "f0", "NaN or missing"),
            ("1,0.5,0.5\n2,inf,0.5\n", 2, "f0", "infinite"),
            ("1,0.5,0.5\n2,0,0\n", 2, "f0", "all zero"),
            ("1,0.5,0.5\n2,,\n", 2, "clip_text_features", "no vector"),
        ],
    )
    def test_faults_of_wide_files(self, tmp_path: Path, body: str, row: int, column: str, what: str) -> None:
        path = tmp_path / "q.csv"
        path.write_text("query_id,f0,f1\n" + body)
        fails(lambda: whole(readers.read_query_features(path)), path, row, column, re.escape(what))

    def test_gap_in_flat_columns(self, tmp_path: Path) -> None:
        path = tmp_path / "q.csv"
        path.write_text("query_id,f0,f2\n1,1,1\n")
        fails(lambda: readers.read_query_features(path).__next__(), path, None, "f1", "missing")

    def test_no_vectors_at_all(self, tmp_path: Path) -> None:
        path = written(tmp_path, pa.table({"query_id": [1], "embedding": [[1.0]]}))
        fails(lambda: next(readers.read_query_features(path)), path, None, "clip_text_features", "missing")

    def test_real_query_vectors(self, real_data: Path) -> None:
        table = whole(readers.read_query_features(real_data / "query_features_with_timestamp.csv.gz"))
        assert table.num_rows == 672
        assert table["query_id"][0].as_py() == 95824
        norms = np.linalg.norm(np.array(table["clip_text_features"].to_pylist()), axis=1)
        assert norms.min() > 10 and norms.max() < 25
        assert set(table["event_timestamp"].to_pylist()) == {dt.datetime(2025, 3, 27, 7, 1, 4, 332726, dt.UTC)}

    def test_memory_is_that_of_a_batch(self, tmp_path: Path) -> None:
        """One row group of 100 MB, as pandas would write it, is not held at once."""
        n, dim = 50_000, 512
        values = pa.array(np.random.default_rng(0).random(n * dim, np.float32))
        vectors = pa.ListArray.from_arrays(pa.array(np.arange(0, n * dim + 1, dim, dtype=np.int32)), values)
        path = tmp_path / "a.parquet"
        pq.write_table(pa.table({"query_id": range(n), "clip_text_features": vectors}), path, row_group_size=n)
        del values, vectors
        before = pa.total_allocated_bytes()
        highest = 0
        for _ in readers.read_query_features(path):
            highest = max(highest, pa.total_allocated_bytes() - before)
        assert highest < 60e6


class TestPictures:
    def test_urls(self, tmp_path: Path) -> None:
        path = tmp_path / "u.csv"
        path.write_text("product_id,image_url\nA,https://x.invalid/a.jpg\nB,\n")
        assert whole(readers.read_image_urls(path))["image_url"].to_pylist() == ["https://x.invalid/a.jpg", None]

    def test_other_bytes_are_no_picture(self, tmp_path: Path) -> None:
        path = written(tmp_path, pa.table({"product_id": ["A", "B"], "image": [b"\x89PNG....", b"GIF89a"]}))
        fails(lambda: whole(readers.read_images(path)), path, 2, "image", "no PNG or JPEG")


class TestRepeats:
    def test_first_repeat(self) -> None:
        ids = pa.chunked_array([["a", "b"], ["a", "b", "a"]])
        times = pa.chunked_array([[1, 1, 2, 1, None]])
        assert readers.first_repeat([ids]) == (2, 0)
        assert readers.first_repeat([ids, times]) == (3, 1)
        assert readers.first_repeat([pa.chunked_array([["a", "b"]])]) is None


class TestVectorLengths:
    """Ids and lengths alone, equal to what a reader of the vectors sees."""

    @pytest.mark.parametrize("groups", [1, 2, 7])
    def test_equal_to_reading_the_vectors(self, tmp_path: Path, groups: int) -> None:
        numbers = [1.0, 2.0]
        table = pa.table(
            {
                "product_id": ["A", "B", "C", "D", "E", "F", "G"],
                formats.TEXT_VECTOR: pa.array([numbers, None, numbers, numbers, None, None, []], formats.VECTOR_TYPE),
                formats.IMAGE_VECTOR: pa.array([None, None, None, numbers, numbers, numbers, numbers]),
                formats.TEXT_DIGEST: ["1", None, "3", "4", None, None, "7"],
                formats.TIMESTAMP: [None, dt.datetime(2024, 1, 1), *[None] * 5],
            }
        )
        path = tmp_path / "file.parquet"
        pq.write_table(table, path, row_group_size=-(-7 // groups))
        self._same(path)

    @pytest.mark.parametrize(
        "table",
        [
            pa.table({"product_id": ["A", "B"], "text_f0": [1.0, 2.0], "text_f1": [1.0, 2.0], "image_f0": [1.0, None]}),
            pa.table({"product_id": ["A", "B"], formats.TEXT_VECTOR: VECTORS[:2], formats.IMAGE_VECTOR: pa.nulls(2)}),
            pa.table({"product_id": [1, 2], formats.IMAGE_VECTOR: VECTORS[:2]}),
        ],
        ids=["flat", "a column of nulls", "pictures alone"],
    )
    def test_other_forms(self, tmp_path: Path, table: pa.Table) -> None:
        self._same(written(tmp_path, table))

    def test_a_file_that_stops_short_is_damaged(self, tmp_path: Path) -> None:
        table = pa.table({"product_id": ["A" * 999, "B"], formats.TEXT_VECTOR: VECTORS[:2]})
        path = written(tmp_path, table)
        content = path.read_bytes()
        path.write_bytes(content[:40] + bytes(60) + content[100:])
        with pytest.raises(DataError, match="file.parquet"):
            whole(readers.read_vector_lengths(path, of_products=True))

    def _same(self, path: Path) -> None:
        lengths = whole(readers.read_vector_lengths(path, of_products=True))
        read = readers.read_product_features(path, allow_missing=True, digests=True, pictures_alone=True)
        expected = whole(read)
        assert lengths.schema.names == expected.schema.names
        for name in expected.schema.names:
            column = expected[name]
            if name in (formats.TEXT_VECTOR, formats.IMAGE_VECTOR):
                column = pa.compute.list_value_length(column)
            assert lengths[name].to_pylist() == column.to_pylist(), name
