"""Readers of the published formats: Arrow batches in canonical types, each row checked as it passes.

Parquet or CSV (also ``.csv.gz``), told apart by content. Ids of queries become int64 (``"1453.0"`` too), vectors
``list<float32>``, timestamps microseconds in UTC. Memory is bounded by one batch. Every fault is a DataError that names
file, row (from 1), column and hint.
"""

from __future__ import annotations

import csv
import difflib
import gzip
import io
import itertools
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from sqidflow.core.errors import DataError
from sqidflow.data import formats

BATCH_ROWS = 4096
_CSV_BLOCK_BYTES = 8 << 20
_PARQUET_BUFFER_BYTES = 1 << 20
_PICTURES_AT_ONCE = 256
_INTEGER = r"^[+-]?\d{1,19}(\.0*)?$"
_ZONE = r"(?:[zZ]|[+-]\d{2}:?\d{2})$"
_FLAT_TEXT = re.compile(r"^(?:text_)?f(\d+)$")
_FLAT_IMAGE = re.compile(r"^image_f(\d+)$")
_AGAIN = "copy or download the file again"

_QUERY_SCHEMA = pa.schema(
    [
        ("query_id", pa.int64()),
        (formats.TEXT_VECTOR, formats.VECTOR_TYPE),
        (formats.TIMESTAMP, formats.TIMESTAMP_TYPE),
    ]
)
_PRODUCT_SCHEMA = pa.schema(
    [
        ("product_id", pa.string()),
        (formats.TEXT_VECTOR, formats.VECTOR_TYPE),
        (formats.IMAGE_VECTOR, formats.VECTOR_TYPE),
        (formats.TIMESTAMP, formats.TIMESTAMP_TYPE),
    ]
)
_EXAMPLES_READ = formats.EXAMPLES_SCHEMA.append(pa.field(formats.TIMESTAMP, formats.TIMESTAMP_TYPE))


@dataclass(frozen=True)
class Examples:
    """Judgements that agree with each other: ``table`` has the columns of ``formats.EXAMPLES_SCHEMA`` and a timestamp
    (null where none was given); ``rows`` were read, ``duplicates`` of them repeated a judgement and were dropped."""

    table: pa.Table
    rows: int
    duplicates: int


# --- opening ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Source:
    """An opened file: its column names and a way to read them."""

    path: Path
    is_csv: bool
    columns: tuple[str, ...]

    def batches(
        self, columns: Sequence[str], types: dict[str, pa.DataType] | None = None, rows: int = BATCH_ROWS
    ) -> Iterator[pa.RecordBatch]:
        """Raw batches of ``columns``; CSV columns are strings unless ``types`` says otherwise (empty: null)."""
        try:
            if self.is_csv:
                yield from self._csv_batches(columns, types or {}, rows)
            else:
                file = pq.ParquetFile(self.path, pre_buffer=False, buffer_size=_PARQUET_BUFFER_BYTES)
                with file:
                    yield from file.iter_batches(batch_size=rows, columns=list(columns))
        except (pa.ArrowInvalid, EOFError, OSError) as error:
            if self.is_csv:
                raise explain_csv(self.path, error, [c for c in columns if c in (types or {})]) from error
            raise DataError(f"is damaged: {first_line(error)}", file=self.path, hint=_AGAIN) from error

    def _csv_batches(
        self, columns: Sequence[str], types: dict[str, pa.DataType], rows: int
    ) -> Iterator[pa.RecordBatch]:
        reader = pacsv.open_csv(
            self.path,
            read_options=pacsv.ReadOptions(block_size=_CSV_BLOCK_BYTES),
            parse_options=pacsv.ParseOptions(newlines_in_values=True),
            convert_options=pacsv.ConvertOptions(
                include_columns=list(columns),
                column_types={column: types.get(column, pa.string()) for column in columns},
                null_values=["", "NaN", "nan"] if types else [""],
                strings_can_be_null=True,
            ),
        )
        with reader:
            for batch in reader:
                for start in range(0, batch.num_rows, rows):
                    yield batch.slice(start, rows)


def open_source(path: Path | str) -> Source:
    """Opens a parquet or CSV file by its content. Raises DataError for what is not one, or is empty."""
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
            raise DataError(what, file=path, hint=_AGAIN) from error
        return Source(path, False, tuple(schema.names))
    return Source(path, True, tuple(_csv_header(path)))


def check_file(path: Path) -> None:
    """Raises DataError unless ``path`` is a file with something in it."""
    if path.is_dir():
        raise DataError("is a folder, not a file", file=path, hint="name the file in it")
    if not path.exists():
        near = difflib.get_close_matches(path.name, _names_beside(path), n=1)
        hint = f"did you mean {near[0]}?" if near else "check the path"
        raise DataError("is not there", file=path, hint=hint)
    try:
        with path.open("rb") as file:
            first = file.read(1)
    except PermissionError as error:
        raise DataError("may not be read", file=path, hint="change its permissions") from error
    if not first:
        raise DataError("is empty (0 bytes)", file=path, hint=_AGAIN)


def _names_beside(path: Path) -> list[str]:
    return [other.name for other in path.parent.iterdir()] if path.parent.is_dir() else []


def first_line(error: BaseException) -> str:
    """The first line of an error's text, without its end mark."""
    return (str(error).splitlines() or [type(error).__name__])[0].strip().rstrip(".")


def _open_text(path: Path) -> io.TextIOWrapper:
    raw: Any = gzip.GzipFile(path) if path.suffix == ".gz" else io.FileIO(path)
    return io.TextIOWrapper(raw, encoding="utf-8-sig", errors="surrogateescape", newline="")


def _csv_header(path: Path) -> list[str]:
    with path.open("rb") as file:
        if file.read(2) in (b"\xff\xfe", b"\xfe\xff"):
            raise DataError("is UTF-16, not UTF-8", file=path, hint="save it as UTF-8")
    try:
        with _open_text(path) as text:
            csv.field_size_limit(1 << 30)
            header = next(csv.reader(text), None)
    except (EOFError, OSError, csv.Error) as error:
        raise DataError(f"is damaged: {first_line(error)}", file=path, hint=_AGAIN) from error
    if not header:
        raise DataError("is empty (no header)", file=path, hint=_AGAIN)
    if any(_undecodable(name) for name in header):
        raise DataError("is not UTF-8", file=path, row=0, hint="save it as UTF-8")
    twice = [name for name in header if header.count(name) > 1]
    if twice:
        raise DataError("stands twice in the header", file=path, column=twice[0], hint="rename one of the two")
    return header


def _undecodable(text: str) -> bool:
    return any("\ud800" <= char <= "\udfff" for char in text)


def explain_csv(path: Path, error: BaseException, numeric: Sequence[str]) -> DataError:
    """Why Arrow could not read a CSV, found by reading it again row by row: the row and column at fault."""
    try:
        with _open_text(path) as text:
            rows = csv.reader(text)
            header = next(rows, [])
            numbers = [header.index(name) for name in numeric if name in header]
            for number, row in enumerate(rows, start=1):
                if not row:
                    continue
                for name, value in zip(header, row, strict=False):
                    if _undecodable(value):
                        return DataError("is not UTF-8", file=path, row=number, column=name, hint="save it as UTF-8")
                if len(row) != len(header):
                    return DataError(
                        f"has {len(row)} fields where the header has {len(header)}",
                        file=path,
                        row=number,
                        hint="quote fields that hold commas or line breaks; an incomplete last row: " + _AGAIN,
                    )
                for at in numbers:
                    if row[at].strip() and not _is_number(row[at]):
                        what = f"{row[at][:40]!r} is not a number"
                        return DataError(what, file=path, row=number, column=header[at], hint="correct it")
    except (EOFError, OSError, csv.Error) as damage:
        return DataError(f"is damaged: {first_line(damage)}", file=path, hint=_AGAIN)
    return DataError(f"cannot be read as CSV: {first_line(error)}", file=path, hint="check quotes and line ends")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


# --- columns in canonical types ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Place:
    """Where a batch lies: for errors."""

    path: Path
    start: int

    def error(self, what: str, hint: str, *, index: int | None = None, column: str | None = None) -> DataError:
        row = None if index is None else self.start + index + 1
        return DataError(what, file=self.path, row=row, column=column, hint=hint)


def _first(mask: pa.Array | np.ndarray) -> int | None:
    """Position of the first true value (nulls are false), or None."""
    if not isinstance(mask, np.ndarray):
        mask = pc.fill_null(mask, False).to_numpy(zero_copy_only=False)
    return int(mask.argmax()) if mask.any() else None


def _strings(array: pa.Array, place: _Place, column: str, *, required: bool = False) -> pa.Array:
    """Strings; blank becomes null, and null an error where ``required``."""
    if pa.types.is_floating(array.type) or pa.types.is_nested(array.type):
        if array.null_count == len(array):
            array = pa.nulls(len(array), pa.string())
        else:
            raise place.error(f"holds {array.type}, not text", "store it as a string", column=column)
    if array.type != pa.string():
        array = array.cast(pa.string(), safe=False)  # bytes that are no UTF-8 are found below, with their row
    try:
        array.validate(full=True)
    except pa.ArrowInvalid as error:
        for index in range(len(array)):
            try:
                array[index].as_py()
            except UnicodeDecodeError:
                raise place.error("is not UTF-8", "store the text as UTF-8", index=index, column=column) from error
        raise place.error(f"is damaged: {first_line(error)}", _AGAIN, column=column) from error
    blank = pc.equal(pc.utf8_trim_whitespace(array), "")
    array = pc.if_else(pc.fill_null(blank, False), pa.scalar(None, pa.string()), array)
    if required and array.null_count:
        raise place.error("has no value", "fill it in or remove the row", index=_first(array.is_null()), column=column)
    return array


def _integers(array: pa.Array, place: _Place, column: str, *, required: bool = True) -> pa.Array:
    """int64 from integers, whole floats and strings such as ``"1453.0"``."""
    hint = "use whole numbers"
    kind = array.type
    if pa.types.is_dictionary(kind):
        array = array.dictionary_decode()
        kind = array.type
    if pa.types.is_floating(kind):
        fractional = pc.or_(pc.not_equal(pc.floor(array), array), pc.greater(pc.abs(array), 2.0**53))
        nan = pc.is_nan(array)
        at = _first(pc.and_not(fractional, nan))
        if at is not None:
            raise place.error(f"{array[at].as_py()} is not a whole number", hint, index=at, column=column)
        array = pc.if_else(nan, pa.scalar(None, kind), array).cast(pa.int64())
    elif pa.types.is_string(kind) or pa.types.is_large_string(kind):
        array = pc.utf8_trim_whitespace(array.cast(pa.string()))
        array = pc.if_else(pc.equal(array, ""), pa.scalar(None, pa.string()), array)
        at = _first(pc.invert(pc.match_substring_regex(array, _INTEGER)))
        if at is not None:
            raise place.error(f"{array[at].as_py()[:40]!r} is not a whole number", hint, index=at, column=column)
        digits = pc.replace_substring_regex(array, r"^\+|\.0*$", "")
        try:
            array = digits.cast(pa.int64())
        except pa.ArrowInvalid as error:
            big = next(i for i, text in enumerate(digits.to_pylist()) if text and not -(2**63) <= int(text) < 2**63)
            raise place.error(f"{digits[big]} is too large", "use 64-bit integers", index=big, column=column) from error
    elif pa.types.is_integer(kind) or pa.types.is_null(kind):
        if kind == pa.uint64() and (at := _first(pc.greater(array, pa.scalar(2**63 - 1, kind)))) is not None:
            raise place.error(f"{array[at]} is too large", "use 64-bit integers", index=at, column=column)
        array = array.cast(pa.int64())
    else:
        raise place.error(f"holds {kind}, not whole numbers", hint, column=column)
    if required and array.null_count:
        raise place.error("has no value", "fill it in or remove the row", index=_first(array.is_null()), column=column)
    return array


def _timestamps(array: pa.Array, place: _Place, column: str) -> pa.Array:
    """Microseconds in UTC; a time without a zone counts as UTC."""
    kind = array.type
    if pa.types.is_null(kind):
        return pa.nulls(len(array), formats.TIMESTAMP_TYPE)
    if pa.types.is_timestamp(kind):
        return array.cast(pa.timestamp("us", tz=kind.tz), safe=False).cast(formats.TIMESTAMP_TYPE)
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        array = pc.replace_substring_regex(array.cast(pa.string()), r"^(\d{4}-\d{2}-\d{2})$", r"\1 00:00:00")
        zoned = pc.fill_null(pc.match_substring_regex(array, _ZONE), False)
        in_utc = pc.if_else(zoned, array, pc.binary_join_element_wise(array, pa.scalar("Z"), ""))
        try:
            return in_utc.cast(formats.TIMESTAMP_TYPE)
        except pa.ArrowInvalid as error:
            for index, text in enumerate(in_utc):
                try:
                    text.cast(formats.TIMESTAMP_TYPE)
                except pa.ArrowInvalid:
                    raise place.error(
                        f"{array[index].as_py()!r} is not a time",
                        "write it like 2025-03-27 07:01:04.332726+00:00",
                        index=index,
                        column=column,
                    ) from error
    raise place.error(f"holds {kind}, not times", "store timestamps or ISO 8601 text", column=column)


class _VectorColumn:
    """Checks one column of vectors across batches; remembers its dimension."""

    def __init__(self, column: str, *, required: bool) -> None:
        self.column, self.required = column, required
        self.dim: int | None = None

    def lists(self, array: pa.Array, place: _Place) -> pa.ListArray:
        """``list<float32>``, null where there is no vector."""
        kind = array.type
        nested = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
        if pa.types.is_null(kind):
            return self.rows(np.zeros((0, 0), np.float32), np.zeros(len(array), bool), place)
        if not nested or not (pa.types.is_floating(kind.value_type) or pa.types.is_integer(kind.value_type)):
            raise place.error(f"holds {kind}, not lists of numbers", "store a list of floats", column=self.column)
        lengths = pc.fill_null(pc.list_value_length(array), 0).to_numpy(zero_copy_only=False)
        present = lengths > 0
        if present.any():
            expected = self.dim or int(lengths[present][0])
            odd = present & (lengths != expected)
            if odd.any():
                index = int(odd.argmax())
                raise place.error(
                    f"a vector of {lengths[index]} values where those before have {expected}",
                    "make all vectors of one length, from one encoder",
                    index=index,
                    column=self.column,
                )
            # a null fixed-size list still owns values; filter drops them
            values = array.filter(pa.array(present)).flatten()
            flat = values.to_numpy(zero_copy_only=False).astype(np.float32, copy=False)
            matrix = flat.reshape(-1, expected)
        else:
            matrix = np.zeros((0, 0), np.float32)
        return self.rows(matrix, present, place)

    def rows(
        self, matrix: np.ndarray, present: np.ndarray, place: _Place, names: Sequence[str] | None = None
    ) -> pa.ListArray:
        """The same from a float32 ``[present rows, dim]`` matrix; ``names`` are the flat columns, for errors."""
        where = np.flatnonzero(present)
        if self.required and len(where) < len(present):
            index = int((~present).argmax())
            raise place.error("has no vector", "run `sqidflow data encode`", index=index, column=self.column)
        if len(where):
            self.dim = self.dim or matrix.shape[1]
            self._check_values(matrix, where, place, names)
        offsets = np.concatenate([[0], np.cumsum(present)]) * (self.dim or 0)
        mask = None if present.all() else pa.array(~present)
        values = pa.array(np.ascontiguousarray(matrix).reshape(-1))
        return pa.ListArray.from_arrays(pa.array(offsets.astype(np.int32)), values, mask=mask)

    def _check_values(self, matrix: np.ndarray, where: np.ndarray, place: _Place, names: Sequence[str] | None) -> None:
        # maximum and minimum pass NaN on
        top, bottom = matrix.max(axis=1), matrix.min(axis=1)
        odd = ~(np.isfinite(top) & np.isfinite(bottom))
        if odd.any():
            row = int(odd.argmax())
            at = int((~np.isfinite(matrix[row])).argmax())
            kind = "NaN or missing" if np.isnan(matrix[row, at]) else "infinite"
            raise place.error(
                f"value {at} of the vector is {kind}",
                "compute the vector again or remove the row",
                index=int(where[row]),
                column=names[at] if names else self.column,
            )
        zero = (top == 0) & (bottom == 0)
        if zero.any():
            raise place.error(
                "the vector is all zero, it has no direction",
                "leave it out (no picture: null) or run `sqidflow data encode`",
                index=int(where[int(zero.argmax())]),
                column=names[0] if names else self.column,
            )


def _need(source: Source, columns: Sequence[str]) -> None:
    for column in columns:
        if column not in source.columns:
            near = difflib.get_close_matches(column, source.columns, n=1)
            has = f"rename {near[0]}" if near else f"it has {', '.join(source.columns[:12])}"
            raise DataError("the column is missing", file=source.path, column=column, hint=f"add it ({has})")


def _nonempty(path: Path, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    rows = 0
    for batch in batches:
        if batch.num_rows:
            rows += batch.num_rows
            yield batch
    if not rows:
        raise DataError("has no rows", file=path, hint="name a file with data")


# --- judgements -------------------------------------------------------------------------------------------------------


def read_examples(path: Path | str, *, lenient: bool = False) -> Iterator[pa.RecordBatch]:
    """Judgements in batches: the columns of ``formats.EXAMPLES_SCHEMA`` and ``event_timestamp`` (null: none given).

    ``lenient``, for import: only query, product_id and esci_label must be there, a query_id may be missing, and the
    product columns of a joined file are passed on as strings. Absent columns are null.

    Raises DataError: a missing column, an unknown label, a null id, a query_id that is no integer, and what
    :func:`open_source` raises. What lies across rows is checked by :func:`load_examples`.
    """
    source = open_source(path)
    _need(source, ("query", "product_id", "esci_label") if lenient else formats.EXAMPLES_SCHEMA.names)
    return _nonempty(source.path, _example_batches(source, lenient))


def _example_batches(source: Source, lenient: bool) -> Iterator[pa.RecordBatch]:
    extra = [n for n in formats.PRODUCTS_SCHEMA.names if n not in _EXAMPLES_READ.names] if lenient else []
    names = [*_EXAMPLES_READ.names, *extra]
    schema = pa.schema([*_EXAMPLES_READ, *((name, pa.string()) for name in extra if name in source.columns)])
    start = 0
    for batch in source.batches([name for name in names if name in source.columns]):
        place = _Place(source.path, start)
        columns = []
        for column in schema:
            name = column.name
            if name not in source.columns:
                columns.append(pa.nulls(batch.num_rows, column.type))
            elif name == formats.TIMESTAMP:
                columns.append(_timestamps(batch[name], place, name))
            elif column.type == pa.int64():
                columns.append(_integers(batch[name], place, name, required=not lenient))
            else:
                needed = name in ("query", "product_id", "esci_label") or (not lenient and name in _EXAMPLES_READ.names)
                columns.append(_strings(batch[name], place, name, required=needed))
        out = pa.RecordBatch.from_arrays(columns, schema=schema)
        _check_labels(out["esci_label"], place)
        yield out
        start += batch.num_rows


def _check_labels(labels: pa.Array, place: _Place) -> None:
    at = _first(pc.invert(pc.is_in(labels, pa.array(formats.LABELS))))
    if at is not None:
        raise place.error(
            f"unknown label {labels[at].as_py()[:40]!r}",
            "use E (exact), S (substitute), C (complement) or I (irrelevant)",
            index=at,
            column="esci_label",
        )


def load_examples(path: Path | str) -> Examples:
    """All judgements of a file in the published form, checked across rows; repeated judgements are dropped.

    Raises DataError: what :func:`read_examples` raises, a pair judged twice with different labels, one query_id with
    two texts.
    """
    table = pa.Table.from_batches(read_examples(path))
    check_query_texts(table, Path(path))
    keep = first_judgements(table, Path(path))
    return Examples(table.filter(pa.array(keep)), table.num_rows, int((~keep).sum()))


def codes(column: pa.ChunkedArray) -> np.ndarray:
    """int64 [n]: equal values, nulls too, get equal numbers."""
    encoded = column.combine_chunks().dictionary_encode(null_encoding="encode")
    return encoded.indices.to_numpy(zero_copy_only=False).astype(np.int64)


def first_judgements(table: pa.Table, path: Path) -> np.ndarray:
    """bool [n]: False on rows that repeat an earlier row's query_id, product_id and label.

    Raises DataError where a pair has two labels. Rows without a query_id must have been numbered before.
    """
    pairs = np.stack([codes(table["query_id"]), codes(table["product_id"])])
    order = np.lexsort(pairs[::-1])
    ordered = pairs[:, order]
    again = np.concatenate([[False], (ordered[:, 1:] == ordered[:, :-1]).all(axis=0)])
    labels = codes(table["esci_label"])
    # lexsort is stable: within a pair the rows stand in the file's order
    odd = np.flatnonzero(again & np.concatenate([[False], labels[order][1:] != labels[order][:-1]]))
    if odd.size:
        second = int(order[odd].min())
        first = int(order[np.flatnonzero(order == second)[0] - 1])
        label = table["esci_label"]
        raise DataError(
            f"query {table['query_id'][second]} and product {table['product_id'][second]} are judged {label[second]} "
            f"here and {label[first]} in row {first + 1}",
            file=path,
            row=second + 1,
            column="esci_label",
            hint="keep one of the two judgements",
        )
    keep = np.ones(table.num_rows, dtype=bool)
    keep[order[again]] = False
    return keep


def check_query_texts(table: pa.Table, path: Path) -> None:
    """Raises DataError where one query_id has two texts. Null ids are left alone."""
    ids = codes(pc.fill_null(table["query_id"], -(2**63)))
    texts = codes(table["query"])
    order = np.argsort(ids, kind="stable")
    same = (ids[order][1:] == ids[order][:-1]) & (texts[order][1:] != texts[order][:-1])
    odd = [int(i) for i in order[1:][same] if table["query_id"][int(i)].is_valid]
    if odd:
        row = min(odd)
        first = int(order[ids[order] == ids[row]][0])
        raise DataError(
            f"query_id {table['query_id'][row]} is {table['query'][row].as_py()[:60]!r} here and "
            f"{table['query'][first].as_py()[:60]!r} in row {first + 1}",
            file=path,
            row=row + 1,
            column="query_id",
            hint="give each query text its own id",
        )


# --- products ---------------------------------------------------------------------------------------------------------


def read_products(path: Path | str, *, lenient: bool = False) -> Iterator[pa.RecordBatch]:
    """Products in batches, the columns of ``formats.PRODUCTS_SCHEMA``; a missing title is an empty string.

    ``lenient``, for import: only product_id and product_title must be there; absent columns are null, a missing locale
    is "us". Raises DataError: a missing column, a null id, text that is not UTF-8. That an id stands once is for the
    caller to check (``sqidflow.data.check``).
    """
    source = open_source(path)
    _need(source, ("product_id", "product_title") if lenient else formats.PRODUCTS_SCHEMA.names)
    return _nonempty(source.path, _product_batches(source, lenient))


def _product_batches(source: Source, lenient: bool) -> Iterator[pa.RecordBatch]:
    start = 0
    for batch in source.batches([name for name in formats.PRODUCTS_SCHEMA.names if name in source.columns]):
        place = _Place(source.path, start)
        columns = []
        for name in formats.PRODUCTS_SCHEMA.names:
            if name not in source.columns:
                column = pa.nulls(batch.num_rows, pa.string())
            else:
                needed = name == "product_id" or (name == "product_locale" and not lenient)
                column = _strings(batch[name], place, name, required=needed)
            if name == "product_title":
                column = pc.fill_null(column, "")
            elif name == "product_locale":
                column = pc.fill_null(column, "us")
            columns.append(column)
        yield pa.RecordBatch.from_arrays(columns, schema=formats.PRODUCTS_SCHEMA)
        start += batch.num_rows


# --- vectors ----------------------------------------------------------------------------------------------------------


def read_query_features(path: Path | str, *, allow_missing: bool = False) -> Iterator[pa.RecordBatch]:
    """Query vectors in batches: query_id int64, clip_text_features list<float32>, event_timestamp (null: none given).

    Reads lists (``clip_text_features``) and the flat forms ``f0..fN`` and ``text_f0..N``, parquet or CSV. Raises
    DataError: a missing column, vectors of two lengths, NaN or infinite values, an all-zero vector, a null or
    non-integer id, and, unless ``allow_missing``, a row without a vector.
    """
    source = open_source(path)
    _need(source, ("query_id",))
    return _nonempty(source.path, _feature_batches(source, _QUERY_SCHEMA, allow_missing))


def read_product_features(path: Path | str, *, allow_missing: bool = False) -> Iterator[pa.RecordBatch]:
    """Product vectors in batches: product_id, clip_text_features, clip_image_features (null: no picture),
    event_timestamp (null: none given).

    Forms and errors as of :func:`read_query_features`; ``allow_missing`` is about the text vector.
    """
    source = open_source(path)
    _need(source, ("product_id",))
    return _nonempty(source.path, _feature_batches(source, _PRODUCT_SCHEMA, allow_missing))


def _flat_columns(source: Source, pattern: re.Pattern[str]) -> list[str]:
    """Columns of a flat vector in the order of their numbers. Raises DataError where a number is missing."""
    numbered = {int(match[1]): name for name in source.columns if (match := pattern.match(name))}
    for expected in range(len(numbered)):
        if expected not in numbered:
            like = re.sub(r"\d+$", str(expected), next(iter(numbered.values())))
            raise DataError("the column is missing", file=source.path, column=like, hint="vectors need every f0 .. fN")
    return [numbered[number] for number in sorted(numbered)]


def _feature_batches(source: Source, schema: pa.Schema, allow_missing: bool) -> Iterator[pa.RecordBatch]:
    key = schema.names[0]
    readers: dict[str, tuple[_VectorColumn, list[str]]] = {}
    patterns = {formats.TEXT_VECTOR: _FLAT_TEXT, formats.IMAGE_VECTOR: _FLAT_IMAGE}
    for name in schema.names[1:-1]:
        flat = [] if name in source.columns else _flat_columns(source, patterns[name])
        if name == formats.TEXT_VECTOR and not flat:
            _need(source, (name,))
        if name in source.columns and source.is_csv:
            hint = "use parquet, or columns f0..fN"
            raise DataError("lists of numbers do not go into CSV", file=source.path, column=name, hint=hint)
        readers[name] = (_VectorColumn(name, required=name == formats.TEXT_VECTOR and not allow_missing), flat)
    flat_names = list(itertools.chain.from_iterable(flat for _, flat in readers.values()))
    wanted = [n for n in (key, *readers, formats.TIMESTAMP) if n in source.columns] + flat_names
    start = 0
    for batch in source.batches(wanted, types=dict.fromkeys(flat_names, pa.float32())):
        place = _Place(source.path, start)
        ids = _integers if key == "query_id" else _strings
        columns = [ids(batch[key], place, key, required=True)]
        for name, (reader, flat) in readers.items():
            if flat:
                columns.append(_from_flat(reader, batch, flat, place))
            elif name in source.columns:
                columns.append(reader.lists(batch[name], place))
            else:
                columns.append(pa.nulls(batch.num_rows, formats.VECTOR_TYPE))
        if formats.TIMESTAMP in source.columns:
            columns.append(_timestamps(batch[formats.TIMESTAMP], place, formats.TIMESTAMP))
        else:
            columns.append(pa.nulls(batch.num_rows, formats.TIMESTAMP_TYPE))
        yield pa.RecordBatch.from_arrays([c.cast(f.type) for c, f in zip(columns, schema, strict=True)], schema=schema)
        start += batch.num_rows


def _from_flat(reader: _VectorColumn, batch: pa.RecordBatch, flat: Sequence[str], place: _Place) -> pa.ListArray:
    matrix = np.empty((batch.num_rows, len(flat)), dtype=np.float32)
    for at, name in enumerate(flat):
        column = batch[name]
        if not (pa.types.is_floating(column.type) or pa.types.is_integer(column.type) or pa.types.is_null(column.type)):
            raise place.error(f"holds {column.type}, not numbers", "store floats", column=name)
        matrix[:, at] = column.cast(pa.float32(), safe=False).to_numpy(zero_copy_only=False)
    present = ~np.isnan(matrix).all(axis=1)
    return reader.rows(matrix[present], present, place, flat)


# --- pictures ---------------------------------------------------------------------------------------------------------


def read_image_urls(path: Path | str) -> Iterator[pa.RecordBatch]:
    """Addresses of pictures in batches: product_id, image_url (null: none). Raises DataError."""
    source = open_source(path)
    _need(source, formats.IMAGE_URLS_SCHEMA.names)

    def batches() -> Iterator[pa.RecordBatch]:
        start = 0
        for batch in source.batches(formats.IMAGE_URLS_SCHEMA.names):
            place = _Place(source.path, start)
            columns = [
                _strings(batch[name], place, name, required=name == "product_id")
                for name in formats.IMAGE_URLS_SCHEMA.names
            ]
            yield pa.RecordBatch.from_arrays(columns, schema=formats.IMAGE_URLS_SCHEMA)
            start += batch.num_rows

    return _nonempty(source.path, batches())


def read_images(path: Path | str) -> Iterator[pa.RecordBatch]:
    """Pictures in small batches: product_id, image (PNG or JPEG bytes). Raises DataError for other bytes."""
    source = open_source(path)
    _need(source, formats.IMAGES_SCHEMA.names)
    if source.is_csv:
        raise DataError("pictures do not go into CSV", file=source.path, hint="use parquet with product_id, image")

    def batches() -> Iterator[pa.RecordBatch]:
        start = 0
        for batch in source.batches(formats.IMAGES_SCHEMA.names, rows=_PICTURES_AT_ONCE):
            place = _Place(source.path, start)
            ids = _strings(batch["product_id"], place, "product_id", required=True)
            if not (pa.types.is_binary(batch["image"].type) or pa.types.is_large_binary(batch["image"].type)):
                raise place.error(f"holds {batch['image'].type}, not bytes", "store PNG or JPEG files", column="image")
            images = batch["image"].cast(pa.binary())
            heads = pc.binary_slice(images, 0, 3)
            known = pc.is_in(heads, pa.array([b"\x89PN", b"\xff\xd8\xff"], pa.binary()))
            at = _first(pc.or_(pc.invert(known), images.is_null()))
            if at is not None:
                raise place.error("is no PNG or JPEG picture", "convert it or remove the row", index=at, column="image")
            yield pa.RecordBatch.from_arrays([ids, images], schema=formats.IMAGES_SCHEMA)
            start += batch.num_rows

    return _nonempty(source.path, batches())


# --- across rows ------------------------------------------------------------------------------------------------------


def first_repeat(columns: Sequence[pa.ChunkedArray]) -> tuple[int, int] | None:
    """Positions (second, first) of the earliest row that repeats all ``columns`` of an earlier one, or None."""
    keys = np.stack([codes(column) for column in columns])
    order = np.lexsort(keys[::-1])
    again = (keys[:, order][:, 1:] == keys[:, order][:, :-1]).all(axis=0)
    if not again.any():
        return None
    at = int(order[1:][again].min())
    return at, int(order[(keys[:, order] == keys[:, [at]]).all(axis=0)].min())


Reader = Callable[[Path], Iterator[pa.RecordBatch]]
