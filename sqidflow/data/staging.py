"""Folders and files that appear whole or not at all."""

from __future__ import annotations

import ctypes
import errno
import json
import os
import shutil
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from sqidflow.core.errors import DataError, DiskFullError

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2
_COUNTS_KEY = "sqidflow.lists"


@contextmanager
def disk_errors(folder: Path) -> Iterator[None]:
    """Turns a full disk under ``folder`` into DiskFullError and a forbidden write into DataError."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFullError(
                f"the disk is full ({free_bytes(folder) / 1e6:,.0f} MB free)",
                where=folder,
                hint="free some space, or use another disk with --workdir; the earlier files are unchanged",
            ) from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise DataError(
                "may not be written", file=error.filename or folder, hint="change its permissions or use --workdir"
            ) from error
        raise


def free_bytes(folder: Path) -> int:
    """Free bytes on the disk of ``folder`` or of the nearest of its parents that exists."""
    folder = folder.absolute()
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


@contextmanager
def staged_file(path: Path) -> Iterator[Path]:
    """A path beside ``path`` to write to; moved over ``path`` when the block ends well, deleted when it does not."""
    partial = path.with_name(f".{path.name}.part")
    with disk_errors(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield partial
            sync(partial)
            os.replace(partial, path)
        finally:
            partial.unlink(missing_ok=True)


@contextmanager
def staged_folder(target: Path) -> Iterator[Path]:
    """An empty folder beside ``target`` to fill; takes the place of ``target`` when the block ends well.

    Killed at any moment, ``target`` is the old folder whole or the new one whole (Linux; elsewhere a kill between two
    renames is finished at the next start). What a killed predecessor left beside it is removed.

    Raises DataError where ``target`` is a link to a folder elsewhere, before anything is done.
    """
    target = target.absolute()
    _refuse_link(target)
    fresh = target.with_name(f".{target.name}.new")
    retired = target.with_name(f".{target.name}.old")
    with disk_errors(target.parent):
        target.parent.mkdir(parents=True, exist_ok=True)
        if retired.exists() and not target.exists():
            os.rename(retired, target)
        for leftover in (fresh, retired):
            if leftover.exists():
                shutil.rmtree(leftover)
        fresh.mkdir()
        try:
            yield fresh
            for path in sorted(fresh.iterdir()):
                sync(path)
            sync(fresh)
            _swap(fresh, target, retired)
        finally:
            for leftover in (fresh, retired):
                if leftover.exists():
                    shutil.rmtree(leftover, ignore_errors=True)
        sync(target.parent)


def keep_others(old: Path, folder: Path, replaced: Collection[str]) -> None:
    """Puts into ``folder`` what is in ``old``, but for the files named ``replaced`` and what a killed call left there.

    A hard link where the file system has them: nothing ever writes into a file of ``data/`` in place.
    """
    for path in old.iterdir():
        if path.name in replaced or path.name.endswith(".part"):
            continue
        if path.is_dir():
            shutil.copytree(path, folder / path.name, copy_function=_link)
        else:
            _link(path, folder / path.name)


def _link(source: str | Path, target: str | Path) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def write_batches(
    path: Path, schema: pa.Schema, batches: Iterable[pa.RecordBatch | pa.Table], *, compression: str = "zstd"
) -> int:
    """Writes ``batches`` to a parquet file, a row group each, and returns the rows written.

    Instead of the least and the greatest number of vectors, which nobody asks for and which take half of the time of
    writing, the file says how many of a row group's rows have none, see :func:`rows_without_list`.
    """
    rows = 0
    counts: dict[str, list[list[int]]] = {field.name: [] for field in schema if pa.types.is_list(field.type)}
    # numbers of vectors hardly repeat: looking for those that do takes most of the time of writing
    repeating = [field.name for field in schema if not pa.types.is_list(field.type)]
    # the writer drops a schema's metadata together with Arrow's own copy of the schema
    with (
        pa.OSFile(str(path), "wb") as sink,
        pq.ParquetWriter(
            sink,
            schema,
            compression=compression,
            store_schema=False,
            use_dictionary=repeating,
            write_statistics=repeating,
        ) as writer,
    ):
        writer.add_key_value_metadata(schema.metadata or {})
        for batch in batches:
            if batch.num_rows:
                batch = batch.cast(schema) if batch.schema != schema else batch
                table = batch if isinstance(batch, pa.Table) else pa.Table.from_batches([batch])
                start = sink.tell()
                writer.write_table(table, row_group_size=batch.num_rows)
                rows += batch.num_rows
                for name, of_groups in counts.items():
                    of_groups.append([*_counts(batch[name]), sink.tell() - start])
        if counts:
            writer.add_key_value_metadata({_COUNTS_KEY: json.dumps(counts)})
    return rows


def kept_rows(batch: pa.RecordBatch, kept: np.ndarray) -> pa.Table:
    """The rows of a batch for which ``kept``, bool [n], is true, as pieces of the batch: where few rows go, vectors are
    not copied, which takes longer than writing them."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], kept, [False]]).astype(np.int8)))
    pieces = [batch.slice(start, end - start) for start, end in edges.reshape(-1, 2).tolist()]
    return pa.Table.from_batches(pieces, schema=batch.schema)


def _counts(lists: pa.ListArray | pa.ChunkedArray) -> list[int]:
    """How many rows have no list, and how many values parquet counts: one for each of those rows too."""
    lengths = pc.list_value_length(lists)
    without = len(lists) - (pc.sum(pc.greater(lengths, 0)).as_py() or 0)
    return [without, (pc.sum(lengths).as_py() or 0) + without]


def rows_without_list(file: pq.ParquetFile, group: int, column: str, values: int) -> int | None:
    """How many rows of a row group have no list in a column, as :func:`write_batches` said it; None where it did not.

    Who rewrites a file with pyarrow keeps what it says. It is believed where the row group has the size in bytes, and
    the column the number of ``values``, that were written.
    """
    text = (file.metadata.metadata or {}).get(_COUNTS_KEY.encode())
    counts = json.loads(text).get(column) if text else None
    if not counts or len(counts) != file.metadata.num_row_groups:
        return None
    about = file.metadata.row_group(group)
    size_bytes = sum(about.column(at).total_compressed_size for at in range(about.num_columns))
    without, *written = counts[group]
    return without if written == [values, size_bytes] else None


def sync(path: Path) -> None:
    """Flushes a file or a folder to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _refuse_link(target: Path) -> None:
    """A folder elsewhere may be on another disk, where nothing can be moved in one step."""
    if target.is_symlink() and target.resolve().parent != target.parent.resolve():
        raise DataError(
            f"is a link to {target.resolve()}",
            file=target,
            hint="let --workdir be the folder that holds the data itself",
        )


def _swap(fresh: Path, target: Path, retired: Path) -> None:
    if not target.exists():
        os.rename(fresh, target)
        return
    if target.is_symlink():
        target = target.resolve()
    if not _exchange(fresh, target):
        os.rename(target, retired)
        os.rename(fresh, target)


def _exchange(first: Path, second: Path) -> bool:
    """Swaps two names in one step; False where the system or the file system cannot."""
    renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if renameat2 is None:
        return False
    return renameat2(_AT_FDCWD, os.fsencode(first), _AT_FDCWD, os.fsencode(second), _RENAME_EXCHANGE) == 0
