from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sqidflow.core.errors import DataError, DiskFullError
from sqidflow.data import formats, readers, staging
from sqidflow.data.staging import kept_rows, staged_file, staged_folder, write_batches


def tree(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "old").write_text("old")
    return folder


@pytest.mark.parametrize("exchange", [True, False])
def test_folder_is_swapped_whole(data: Path, exchange: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not exchange:
        monkeypatch.setattr(staging, "_exchange", lambda *_: False)
    with staged_folder(data) as fresh:
        (fresh / "new").write_text("new")
        assert tree(data) == {"old": "old"}
    assert tree(data.parent) == {"data/new": "new"}


def test_folder_that_was_not_there(tmp_path: Path) -> None:
    with staged_folder(tmp_path / "a" / "data") as fresh:
        (fresh / "new").write_text("new")
    assert tree(tmp_path) == {"a/data/new": "new"}


def test_a_link_to_a_folder_elsewhere_is_refused_before_anything_is_done(data: Path, tmp_path: Path) -> None:
    link = tmp_path / "work" / "data"
    link.parent.mkdir()
    link.symlink_to(data)
    with pytest.raises(DataError, match="is a link to"), staged_folder(link):
        raise AssertionError("it has begun")
    assert tree(data) == {"old": "old"}


def test_an_error_leaves_the_old_and_nothing_beside(data: Path) -> None:
    with pytest.raises(RuntimeError), staged_folder(data) as fresh:
        (fresh / "new").write_text("new")
        raise RuntimeError
    assert tree(data.parent) == {"data/old": "old"}
    assert os.listdir(data.parent) == ["data"]


def test_killed_while_writing_leaves_the_old_and_the_next_cleans_up(data: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from sqidflow.data.staging import staged_folder\n"
        "with staged_folder(Path(sys.argv[1])) as fresh:\n"
        "    (fresh / 'new').write_text('half'); print('ready', flush=True); time.sleep(60)\n"
    )
    root = Path(__file__).parents[3]
    process = subprocess.Popen([sys.executable, "-c", code, str(data)], stdout=subprocess.PIPE, cwd=root)
    assert process.stdout.readline() == b"ready\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert tree(data) == {"old": "old"}
    with staged_folder(data) as fresh:
        assert tree(fresh) == {}
        (fresh / "new").write_text("new")
    assert tree(data.parent) == {"data/new": "new"}


def test_killed_between_two_renames_is_mended(data: Path) -> None:
    data.rename(data.with_name(".data.old"))
    with pytest.raises(RuntimeError), staged_folder(data):
        raise RuntimeError
    assert tree(data.parent) == {"data/old": "old"}


def test_file_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_text("old")
    with pytest.raises(RuntimeError), staged_file(path) as partial:
        partial.write_text("half")
        raise RuntimeError
    assert tree(tmp_path) == {"f": "old"}
    with staged_file(path) as partial:
        partial.write_text("new")
    assert tree(tmp_path) == {"f": "new"}


@pytest.mark.parametrize(
    ("number", "kind", "what"),
    [(errno.ENOSPC, DiskFullError, "disk is full .* MB free"), (errno.EROFS, DataError, "may not be written")],
)
def test_disk_errors_are_told_apart(data: Path, number: int, kind: type[Exception], what: str) -> None:
    with pytest.raises(kind, match=what), staged_folder(data):
        raise OSError(number, os.strerror(number))
    assert tree(data.parent) == {"data/old": "old"}


def test_other_errors_pass(data: Path) -> None:
    with pytest.raises(ConnectionError), staged_folder(data):
        raise ConnectionError(errno.ECONNRESET, "reset")


def test_old_is_whole_at_every_moment_of_many_swaps(data: Path) -> None:
    """Looks at the folder from another process while it is swapped again and again."""
    code = (
        "import sys; from pathlib import Path; from sqidflow.data.staging import staged_folder\n"
        "for i in range(60):\n"
        "    with staged_folder(Path(sys.argv[1])) as fresh:\n"
        "        (fresh / 'old').write_text('old')\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(data)], cwd=Path(__file__).parents[3])
    looks = 0
    while process.poll() is None:
        assert (data / "old").exists()
        looks += 1
        time.sleep(0.001)
    assert process.returncode == 0 and looks > 10


def _vector_file(path: Path, rows: list[list[float] | None]) -> pa.Schema:
    schema = pa.schema([("product_id", pa.string()), (formats.TEXT_VECTOR, formats.VECTOR_TYPE)])
    ids = [f"P{at}" for at in range(len(rows))]
    batches = [
        pa.RecordBatch.from_pydict({"product_id": ids[part], formats.TEXT_VECTOR: rows[part]}, schema=schema)
        for part in (slice(0, 2), slice(2, None))
    ]
    assert write_batches(path, schema, batches, compression="none") == len(rows)
    return schema


def _lengths(path: Path) -> list[int | None]:
    batches = readers.read_vector_lengths(path, of_products=True)
    return [length for batch in batches for length in batch[formats.TEXT_VECTOR].to_pylist()]


def test_the_lengths_of_vectors_are_known_without_reading_them_or_their_statistics(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "whole.parquet"
    _vector_file(file, [[1, 2], [3, 4], None, None])
    leaf = pq.ParquetFile(file).metadata.row_group(0).column(1)
    assert leaf.path_in_schema.startswith(formats.TEXT_VECTOR) and leaf.statistics is None
    read = pq.ParquetFile.read_row_group
    columns = []
    monkeypatch.setattr(
        pq.ParquetFile,
        "read_row_group",
        lambda self, at, columns=None: columns_read(columns) or read(self, at, columns=columns),
    )
    columns_read = columns.extend
    assert _lengths(file) == [2, 2, None, None]
    assert formats.TEXT_VECTOR not in columns
    _vector_file(file, [[1, 2], None, [3, 4], [5, 6]])
    assert _lengths(file) == [2, None, 2, 2]


@pytest.mark.parametrize("kept", [[1, 1, 1, 1], [0, 0, 0, 0], [0, 1, 1, 0], [1, 0, 0, 1], [1, 0, 1, 0]])
def test_rows_that_stay_are_written_as_one_row_group(tmp_path: Path, kept: list[int]) -> None:
    rows = [[1, 2], None, [3, 4], [5, 6]]
    schema = pa.schema([("product_id", pa.string()), (formats.TEXT_VECTOR, formats.VECTOR_TYPE)])
    batch = pa.RecordBatch.from_pydict({"product_id": list("abcd"), formats.TEXT_VECTOR: rows}, schema=schema)
    table = kept_rows(batch, np.array(kept, bool))
    expected = [row for row, stays in zip(batch.to_pylist(), kept) if stays]
    assert table.to_pylist() == expected
    file = tmp_path / "vectors.parquet"
    assert write_batches(file, schema, [table]) == len(expected)
    if expected:
        assert pq.ParquetFile(file).num_row_groups == 1 and pq.read_table(file).to_pylist() == expected
        assert _lengths(file) == [row[formats.TEXT_VECTOR] and 2 for row in expected]


def test_counts_of_another_file_are_not_believed(tmp_path: Path) -> None:
    """Who reads and writes a file with pyarrow keeps its metadata."""
    file = tmp_path / "vectors.parquet"
    _vector_file(file, [[1, 2], [3, 4], [5, 6], [7, 8]])
    table = pq.read_table(file)
    assert b"sqidflow.lists" in table.schema.metadata
    for rows in ([[1, 2], None, [5, 6], [7, 8]], [[1, 2, 3], None, [5, 6, 7], [7, 8, 9]]):
        other = table.set_column(1, table.schema.field(1), pa.array(rows, formats.VECTOR_TYPE))
        pq.write_table(other, file, row_group_size=2, write_statistics=False)
        assert _lengths(file) == [row and len(row) for row in rows]
