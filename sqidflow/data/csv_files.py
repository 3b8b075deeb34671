"""CSV as spreadsheets and databases write it: which delimiter, where the header is, and whether its quotes are whole.

A quote that is not closed makes a field of all that follows, and Arrow's reader takes it. So each file is looked over
once before it is read: by whole arrays of bytes where every quote delimits a field, else by Python's strict reader.
"""

from __future__ import annotations

import csv
import gzip
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv

from sqidflow.core.errors import DataError
from sqidflow.data import formats

AGAIN = "copy or download the file again"
DELIMITERS = (",", ";", "\t")
"""The header's delimiter is the one of these that it has most of; of equally many the first."""
_BLOCK_BYTES = 8 << 20
_CSV_FIELD_CHARACTERS = 1 << 30
_BOM = b"\xef\xbb\xbf"
_SEP_LINE = re.compile(r'^"?sep=(.)"?$', re.IGNORECASE)
_QUOTE, _LF, _CR = ord('"'), ord("\n"), ord("\r")
_TWICE = 'write a quote inside a quoted field twice ("")'


@dataclass(frozen=True)
class Layout:
    """How a CSV file is laid out.

    ``columns`` are the named ones, ``unnamed`` more follow them without a name; the first data row begins after
    ``header_lines`` lines, which are ``header_rows`` rows.
    """

    delimiter: str
    columns: tuple[str, ...]
    unnamed: int
    header_lines: int
    header_rows: int

    @property
    def width(self) -> int:
        return len(self.columns) + self.unnamed


@dataclass(frozen=True)
class Extent:
    """``rows`` of data on ``lines`` lines, header and blank lines left out; quoted fields may hold line breaks."""

    rows: int
    lines: int


def first_line(error: BaseException) -> str:
    """The first line of an error's text, without its end mark."""
    return (str(error).splitlines() or [type(error).__name__])[0].strip().rstrip(".")


def is_gzip(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) == b"\x1f\x8b"


def _open_bytes(path: Path) -> Any:
    return gzip.GzipFile(path) if is_gzip(path) else path.open("rb")


def open_text(path: Path) -> io.TextIOWrapper:
    """The file's text, unzipped; bytes that are not UTF-8 come as lone surrogates, line ends as they are."""
    csv.field_size_limit(_CSV_FIELD_CHARACTERS)
    return io.TextIOWrapper(_open_bytes(path), encoding="utf-8-sig", errors="surrogateescape", newline="")


def undecodable(text: str) -> bool:
    return any("\ud800" <= char <= "\udfff" for char in text)


def read_layout(path: Path) -> Layout:
    """The layout that the head of the file shows.

    Raises:
        DataError: another encoding than UTF-8, no header, a name twice, a damaged file.
    """
    try:
        with _open_bytes(path) as file:
            head = file.read(4096)
        if head[:2] in (b"\xff\xfe", b"\xfe\xff") or b"\x00" in head:
            raise DataError("is UTF-16 or binary, not UTF-8", file=path, hint="save it as CSV UTF-8")
        with open_text(path) as text:
            first = text.readline()
            lines = 1
            separator = _SEP_LINE.match(first.strip())
            if separator:
                first = text.readline()
                lines += 1
            delimiter = separator[1] if separator else _delimiter(first)
            if not delimiter.isascii():
                raise DataError(f"the delimiter {delimiter!r} is not known", file=path, hint="use a comma")
            reader = csv.reader(_chained(first, text), delimiter=delimiter, strict=True)
            header = next(reader, None)
            lines += max(reader.line_num, 1) - 1
    except (EOFError, OSError, csv.Error) as error:
        raise DataError(f"is damaged: {first_line(error)}", file=path, row=0, hint=AGAIN) from error
    names = list(header or ())
    while names and not names[-1].strip():
        names.pop()
    if not names:
        raise DataError("is empty (no header)", file=path, hint=AGAIN)
    if any(undecodable(name) for name in names):
        raise DataError("is not UTF-8", file=path, row=0, hint="save it as UTF-8")
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise DataError("stands twice in the header", file=path, column=twice[0], hint="rename one of the two")
    return Layout(delimiter, tuple(names), len(header or ()) - len(names), lines, 2 if separator else 1)


def _delimiter(header: str) -> str:
    outside = re.sub(r'"[^"]*"', "", header)
    return max(DELIMITERS, key=outside.count)  # max keeps the first of equals


def _chained(first: str, rest: Iterator[str]) -> Iterator[str]:
    yield first
    yield from rest


# --- quotes -----------------------------------------------------------------------------------------------------------


def check_quotes(path: Path, layout: Layout) -> Extent:
    """How many rows and lines the file has, once its quotes are known to be whole.

    Raises:
        DataError: a quote that is never closed, text after a closing quote, a quoted field that holds whole rows; names
            the row in which the quote stands. Also a file that is cut or damaged.
    """
    try:
        for count in (_extent_by_bytes, _extent_by_line):
            extent = count(path, layout)
            if extent is not None:
                return extent
        return _extent_by_row(path, layout)
    except (EOFError, OSError) as error:
        raise DataError(f"is damaged: {first_line(error)}", file=path, hint=AGAIN) from error


def _whole_lines(path: Path) -> Iterator[np.ndarray]:
    """The file's bytes in arrays that end in a line end."""
    rest = b""
    with _open_bytes(path) as file:
        first = True
        while block := file.read(_BLOCK_BYTES):
            block = block.removeprefix(_BOM) if first else block
            first = False
            end = block.rfind(b"\n") + 1
            if not end:
                rest += block
                continue
            yield np.frombuffer(rest + block[:end], np.uint8)
            rest = block[end:]
    if rest:
        yield np.frombuffer(rest + b"\n", np.uint8)


class _Lines:
    """Whole lines of a file as bytes: where each ends, which hold something, and where quotes are."""

    def __init__(self, array: np.ndarray, delimiter: str) -> None:
        self.array, self.delimiter = array, ord(delimiter)
        self.ends = np.flatnonzero(array == _LF)
        self.quotes = np.flatnonzero(array == _QUOTE)
        before_quote, after_quote = np.zeros((2, 256), bool)
        before_quote[[self.delimiter, _LF, _QUOTE]] = True
        after_quote[[self.delimiter, _LF, _CR, _QUOTE]] = True
        self._before_quote, self._after_quote = before_quote, after_quote
        returns = array == _CR
        self.returns = returns if returns.any() else None

    @property
    def usual_ends(self) -> bool:
        """Whether lines end in ``\\n`` or ``\\r\\n`` alone."""
        return self.returns is None or bool((self.array[np.flatnonzero(self.returns) + 1] == _LF).all())

    @property
    def filled(self) -> np.ndarray:
        """bool [lines]: the line holds something."""
        lengths = np.diff(self.ends, prepend=-1) - 1
        if self.returns is not None:
            lengths -= self.returns[self.ends - 1]
        return lengths > 0

    def before(self, quotes: np.ndarray) -> np.ndarray:
        before = self.array[quotes - 1]
        before[quotes == 0] = _LF
        return before

    def may_open(self, quotes: np.ndarray) -> bool:
        return bool(self._before_quote[self.before(quotes)].all())

    def may_close(self, quotes: np.ndarray) -> bool:
        return bool(self._after_quote[self.array[quotes + 1]].all())  # the array ends in a line end


def _extent_by_bytes(path: Path, layout: Layout) -> Extent | None:
    """The extent where every quote opens a field, closes it or is one of two; None where it takes a closer look.

    Then quotes alternate between opening and closing, whatever stands between them, and it is enough to look at what
    stands before the one and after the other.
    """
    odd = False  # the quotes so far
    rows = lines = 0
    for array in _whole_lines(path):
        block = _Lines(array, layout.delimiter)
        opening, closing = block.quotes[int(odd) :: 2], block.quotes[1 - int(odd) :: 2]
        if not (block.usual_ends and block.may_open(opening) and block.may_close(closing)):
            return None
        filled = block.filled
        # whether a quoted field goes on behind each line's end
        open_at_end = (np.searchsorted(block.quotes, block.ends) + odd) % 2 == 1
        inside = np.concatenate([[odd], open_at_end[:-1]])
        if inside.any():
            delimiters = np.flatnonzero(array == block.delimiter)
            counts = np.diff(np.searchsorted(delimiters, block.ends), prepend=0)
            if (inside & (counts == layout.width - 1)).any():
                return None  # a line within a field that may be a row
            rows += int((filled & ~inside).sum())
            lines += int((filled | inside).sum())
        else:
            rows, lines = rows + int(filled.sum()), lines + int(filled.sum())
        odd = bool(open_at_end[-1])
    return None if odd else _extent(rows, lines, layout)


def _extent_by_line(path: Path, layout: Layout) -> Extent | None:
    """The extent where every line is a row, and quotes also stand within fields that are not quoted (``24" desk``)."""
    rows = 0
    for array in _whole_lines(path):
        block = _Lines(array, layout.delimiter)
        if not block.usual_ends:
            return None
        before = block.before(block.quotes)
        line = np.searchsorted(block.ends, block.quotes)
        # a line in which no quote begins a field has none that opens one
        quoted = np.zeros(len(block.ends), bool)
        quoted[line[(before == block.delimiter) | (before == _LF)]] = True
        some = quoted[line]
        quotes, line = block.quotes[some], line[some]
        if (np.bincount(line) % 2).any():
            return None
        if len(quotes) and not (block.may_open(quotes[::2]) and block.may_close(quotes[1::2])):
            return None
        rows += int(block.filled.sum())
    return _extent(rows, rows, layout)


def _extent(rows: int, lines: int, layout: Layout) -> Extent:
    return Extent(rows - layout.header_rows, lines - layout.header_lines)


def _extent_by_row(path: Path, layout: Layout) -> Extent:
    rows = lines = 0
    taken: list[str] = []

    def watched(text: Iterator[str]) -> Iterator[str]:
        for line in text:
            taken.append(line)
            yield line

    with open_text(path) as text:
        for _ in range(layout.header_lines):
            text.readline()
        reader = csv.reader(watched(text), delimiter=layout.delimiter, strict=True)
        while True:
            taken.clear()
            try:
                row = next(reader, None)
            except csv.Error as error:
                raise _broken_quote(path, rows + 1, taken, error) from error
            if row is None:
                return Extent(rows, lines)
            if not row:
                continue
            rows += 1
            lines += len(taken)
            if len(taken) > 1 and _are_rows(taken, layout):
                raise DataError(
                    f"a quoted field holds what looks like {len(taken) - 1} more rows",
                    file=path,
                    row=rows,
                    hint=f"close the quote where its field ends; {_TWICE}",
                )


def _broken_quote(path: Path, row: int, taken: Sequence[str], error: csv.Error) -> DataError:
    if "end of data" in str(error):
        more = f"; its field would hold {len(taken) - 1:,} more lines, to the end of the file" if len(taken) > 1 else ""
        what, hint = f"a quote is opened and never closed{more}", f"close it, or {AGAIN} where it was cut; {_TWICE}"
    elif "expected after" in str(error):
        what = "text follows a closing quote"
        if len(taken) > 1:
            what += f", {len(taken) - 1:,} lines after the quote was opened"
        hint = f'{_TWICE}, not with a backslash (\\")'
    else:
        what, hint = f"is damaged: {first_line(error)}", AGAIN
    return DataError(what, file=path, row=row, hint=hint)


def _are_rows(lines: Sequence[str], layout: Layout) -> bool:
    """Whether each line of a record, quotes aside, is a row by itself: all fields, a label or an id in its place."""
    split = [line.strip("\r\n").replace('"', "").split(layout.delimiter) for line in lines]
    if layout.width < 2 or any(len(fields) != layout.width for fields in split):
        return False
    if "esci_label" in layout.columns:
        at = layout.columns.index("esci_label")
        return all(fields[at].strip() in formats.LABELS for fields in split)
    at = next((layout.columns.index(name) for name in ("product_id", "query_id") if name in layout.columns), 0)
    ids = [fields[at].strip() for fields in split]
    return all(_alike(ids[0], other) for other in ids[1:])


def _alike(first: str, second: str) -> bool:
    """Whether two ids are of one pattern: letters and digits change alike, or both are as long and hold a digit."""
    if not first or not second or re.search(r"\s", first + second):
        return False
    if re.search(r"\d", first) and re.search(r"\d", second) and len(first) == len(second):
        return True
    return _pattern(first) == _pattern(second) and bool(re.search(r"\d", first))


def _pattern(text: str) -> str:
    return re.sub(r"\d+", "9", re.sub(r"[^\W\d_]+", "a", text))


# --- reading ----------------------------------------------------------------------------------------------------------


def csv_batches(
    path: Path, layout: Layout, columns: Sequence[str], types: dict[str, pa.DataType], rows: int
) -> Iterator[pa.RecordBatch]:
    """Batches of ``columns``: strings, unless ``types`` says otherwise; an empty field is null."""
    if layout.unnamed:
        yield from _spreadsheet_batches(path, layout, columns, types, rows)
        return
    # Arrow goes by the name, which may not say that the file is zipped
    zipped = path.suffix != ".gz" and is_gzip(path)
    reader = pacsv.open_csv(
        pa.input_stream(str(path), compression="gzip") if zipped else path,
        read_options=pacsv.ReadOptions(
            block_size=_BLOCK_BYTES, skip_rows=layout.header_lines, column_names=list(layout.columns)
        ),
        parse_options=pacsv.ParseOptions(newlines_in_values=True, delimiter=layout.delimiter),
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


def _spreadsheet_batches(
    path: Path, layout: Layout, columns: Sequence[str], types: dict[str, pa.DataType], rows: int
) -> Iterator[pa.RecordBatch]:
    """The same where unnamed columns follow the named ones: spreadsheets write any number of them."""
    at = [layout.columns.index(name) for name in columns]
    held: list[list[str | None]] = []

    def batch() -> pa.RecordBatch:
        arrays = []
        for position, name in enumerate(columns):
            texts = pa.array([row[position] for row in held], pa.string())
            arrays.append(texts.cast(types[name]) if name in types else texts)
        return pa.RecordBatch.from_arrays(arrays, names=list(columns))

    with open_text(path) as text:
        for _ in range(layout.header_lines):
            text.readline()
        number = 0
        for row in csv.reader(text, delimiter=layout.delimiter, strict=True):
            if not row:
                continue
            number += 1
            named = len(layout.columns)
            if len(row) < named:
                row = [*row, *[""] * (named - len(row))]
            if any(field.strip() for field in row[named:]):
                raise DataError(
                    "holds a value under a column without a name",
                    file=path,
                    row=number,
                    hint="name the column in the header, or quote fields that hold the delimiter",
                )
            if any(undecodable(row[position]) for position in at):
                name = next(layout.columns[position] for position in at if undecodable(row[position]))
                raise DataError("is not UTF-8", file=path, row=number, column=name, hint="save it as UTF-8")
            held.append([row[position] or None for position in at])
            if len(held) == rows:
                yield batch()
                held = []
    if held:
        yield batch()


def explain_csv(path: Path, layout: Layout, error: BaseException, numeric: Sequence[str]) -> DataError:
    """Why Arrow could not read a CSV, found by reading it again row by row: the row and column at fault."""
    header = layout.columns
    try:
        with open_text(path) as text:
            for _ in range(layout.header_lines):
                text.readline()
            numbers = [header.index(name) for name in numeric if name in header]
            rows = (row for row in csv.reader(text, delimiter=layout.delimiter) if row)
            for number, row in enumerate(rows, start=1):
                for name, value in zip(header, row, strict=False):
                    if undecodable(value):
                        return DataError("is not UTF-8", file=path, row=number, column=name, hint="save it as UTF-8")
                if len(row) != len(header):
                    return DataError(
                        f"has {len(row)} fields where the header has {len(header)}",
                        file=path,
                        row=number,
                        hint=f"quote fields that hold {_called(layout.delimiter)} or line breaks; an incomplete last "
                        f"row: {AGAIN}",
                    )
                for at in numbers:
                    if row[at].strip() and not _is_number(row[at]):
                        what = f"{row[at][:40]!r} is not a number"
                        return DataError(what, file=path, row=number, column=header[at], hint="correct it")
    except (EOFError, OSError, csv.Error) as damage:
        return DataError(f"is damaged: {first_line(damage)}", file=path, hint=AGAIN)
    return DataError(f"cannot be read as CSV: {first_line(error)}", file=path, hint="check quotes and line ends")


def _called(delimiter: str) -> str:
    return {",": "commas", ";": "semicolons", "\t": "tabs"}.get(delimiter, repr(delimiter))


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
