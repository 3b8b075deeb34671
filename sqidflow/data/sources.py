"""Raw files, opened: parquet or CSV, told apart by content, read in Arrow batches."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from sqidflow.core.errors import DataError
from sqidflow.data import csv_files
from sqidflow.data.csv_files import AGAIN, Extent, Layout, first_line

BATCH_ROWS = 4096
_PARQUET_BUFFER_BYTES = 1 << 20


@dataclass(frozen=True)
class Source:
    """An opened file: its column names and a way to read them. ``layout`` is that of a CSV, None for parquet.

    ``stored`` is a parquet file with the content of ``path``, where that is neither; ``numbers`` int64 are then the
    rows of ``path``, from 1, that the stored rows begin in. ``plain`` columns have nothing but numbers with a point
    before their decimals, by the format's definition; ``nested`` fields of ``path`` are in no column. ``several`` are
    columns in which a row has several values, as lines of one text, and the first such row.
    """

    path: Path
    columns: tuple[str, ...]
    layout: Layout | None = None
    stored: Path | None = field(default=None, compare=False)
    numbers: np.ndarray | None = field(default=None, compare=False)
    plain: frozenset[str] = frozenset()
    nested: tuple[str, ...] = ()
    several: Mapping[str, int] = field(default_factory=dict, compare=False)

    def number(self, row: int) -> int:
        """The row of the file, from 1, of a row that was read, from 0."""
        return row + 1 if self.numbers is None else int(self.numbers[row])

    @cached_property
    def extent(self) -> Extent | None:
        """Rows and lines of a CSV, None for parquet. Raises DataError where its quotes are not whole."""
        return csv_files.check_quotes(self.path, self.layout) if self.layout else None

    def batches(
        self, columns: Sequence[str], types: dict[str, pa.DataType] | None = None, rows: int = BATCH_ROWS
    ) -> Iterator[pa.RecordBatch]:
        """Raw batches of ``columns``; CSV columns are strings unless ``types`` says otherwise (empty: null)."""
        assert self.layout is None or self.extent is not None  # its quotes are whole
        try:
            if self.layout:
                yield from csv_files.csv_batches(self.path, self.layout, columns, types or {}, rows)
            else:
                file = pq.ParquetFile(self.stored or self.path, pre_buffer=False, buffer_size=_PARQUET_BUFFER_BYTES)
                with file:
                    yield from file.iter_batches(batch_size=rows, columns=list(columns))
        except (pa.ArrowInvalid, EOFError, OSError) as error:
            if self.layout:
                numeric = [column for column in columns if column in (types or {})]
                raise csv_files.explain_csv(self.path, self.layout, error, numeric) from error
            raise DataError(f"is damaged: {first_line(error)}", file=self.path, hint=AGAIN) from error


def open_source(path: Path | str | Source) -> Source:
    """Opens a parquet or CSV file by its content. Raises DataError for what is not one, or is empty."""
    if isinstance(path, Source):
        return path
    path = Path(path)
    check_file(path)
    with path.open("rb") as file:
        head = file.read(200)
    if head.startswith(b"version https://git-lfs"):
        raise DataError("is a Git LFS pointer, not the file", file=path, hint="run `git lfs pull` where it is from")
    if head.startswith(b"PAR1") or path.suffix in (".parquet", ".pq"):
        try:
            schema = pq.read_schema(path)
        except (pa.ArrowInvalid, OSError) as error:
            what = f"is not a whole parquet file ({path.stat().st_size:,} bytes; {first_line(error)})"
            raise DataError(what, file=path, hint=AGAIN) from error
        twice = [name for name in schema.names if schema.names.count(name) > 1]
        if twice:
            raise DataError("stands twice among the columns", file=path, column=twice[0], hint="rename one of the two")
        return Source(path, tuple(schema.names))
    layout = csv_files.read_layout(path)
    return Source(path, layout.columns, layout)


def check_file(path: Path) -> None:
    """Raises DataError unless ``path`` is a file with something in it."""
    if path.is_dir():
        raise DataError("is a folder, not a file", file=path, hint="name the file in it")
    if not path.exists():
        near = difflib.get_close_matches(path.name, _names_beside(path), n=1)
        hint = f"did you mean {near[0]}?" if near else "check the path"
        raise DataError("does not exist", file=path, hint=hint)
    try:
        with path.open("rb") as file:
            first = file.read(1)
    except PermissionError as error:
        raise DataError("may not be read", file=path, hint="change its permissions") from error
    if not first:
        raise DataError("is empty (0 bytes)", file=path, hint=AGAIN)


def _names_beside(path: Path) -> list[str]:
    return [other.name for other in path.parent.iterdir()] if path.parent.is_dir() else []


def need_columns(source: Source, columns: Sequence[str], never: Sequence[str] = ()) -> None:
    """Raises DataError for the first of ``columns`` that is missing; none of ``never`` is proposed in its place."""
    for column in columns:
        if column not in source.columns:
            near = difflib.get_close_matches(column, [name for name in source.columns if name not in never], n=1)
            has = f"rename {near[0]}" if near else f"it has {', '.join(source.columns[:12])}"
            raise DataError("the column is missing", file=source.path, column=column, hint=f"add it ({has})")


def nonempty(path: Path, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    rows = 0
    for batch in batches:
        if batch.num_rows:
            rows += batch.num_rows
            yield batch
    if not rows:
        raise DataError("has no rows", file=path, hint="name a file with data")
