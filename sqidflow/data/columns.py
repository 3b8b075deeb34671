"""Columns of raw files in canonical types, each value checked; a fault names file, row and column."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sqidflow.core.errors import DataError
from sqidflow.data import formats
from sqidflow.data.csv_files import AGAIN, first_line

MAX_TEXT_CHARACTERS = 131_072
"""CsvExampleGen reads pairs by Python's csv module, whose fields end here."""
MAX_DESCRIPTION_CHARACTERS = 1 << 20
"""The longest text that no model reads; what is longer is a mistake of an export."""
MAX_ID_CHARACTERS = 200
"""The longest product id that the search service takes."""
_INTEGER = r"^[+-]?\d{1,19}(\.0*)?$"
_CONTROL = r"\p{Cc}"
_ZONE = r"(?:[zZ]|[+-]\d{2}:?\d{2})$"


@dataclass(frozen=True)
class Place:
    """Where a batch lies: for errors. ``numbers`` are the rows of a file that are not simply counted."""

    path: Path
    start: int
    numbers: np.ndarray | None = field(default=None, compare=False)

    def error(self, what: str, hint: str, *, index: int | None = None, column: str | None = None) -> DataError:
        row = None if index is None else self.start + index + 1
        if row is not None and self.numbers is not None:
            row = int(self.numbers[row - 1])
        return DataError(what, file=self.path, row=row, column=column, hint=hint)


def first_true(mask: pa.Array | np.ndarray) -> int | None:
    """Position of the first true value (nulls are false), or None."""
    if not isinstance(mask, np.ndarray):
        mask = pc.fill_null(mask, False).to_numpy(zero_copy_only=False)
    return int(mask.argmax()) if mask.any() else None


def strings(
    array: pa.Array, place: Place, column: str, *, required: bool = False, limit: int | None = None
) -> pa.Array:
    """Strings; blank becomes null, and null an error where ``required``, as is a text of more than ``limit``
    characters."""
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
        raise place.error(f"is damaged: {first_line(error)}", AGAIN, column=column) from error
    blank = pc.equal(pc.utf8_trim_whitespace(array), "")
    array = pc.if_else(pc.fill_null(blank, False), pa.scalar(None, pa.string()), array)
    if required and array.null_count:
        at = first_true(array.is_null())
        raise place.error("has no value", "fill it in or remove the row", index=at, column=column)
    if limit is not None and (pc.max(pc.binary_length(array)).as_py() or 0) > limit:  # bytes are counted at no cost
        lengths = pc.utf8_length(array)
        at = first_true(pc.greater(lengths, limit))
        if at is not None:
            what = f"a text of {lengths[at].as_py():,} characters, more than {limit:,}"
            raise place.error(what, "shorten it", index=at, column=column)
    return array


def product_ids(array: pa.Array, place: Place, column: str) -> pa.Array:
    """Ids of products: strings, whatever they look like, that a search service can be asked for."""
    ids = strings(array, place, column, required=True, limit=MAX_ID_CHARACTERS)
    plain = pc.all(pc.ascii_is_printable(ids)).as_py()  # many times faster than the expression
    at = None if plain else first_true(pc.match_substring_regex(ids, _CONTROL))
    if at is not None:
        what = f"the id {ids[at].as_py()!r} has a line break or another control character"
        raise place.error(what, "take it out of the id", index=at, column=column)
    return ids


def integers(array: pa.Array, place: Place, column: str, *, required: bool = True) -> pa.Array:
    """int64 from integers, whole floats and strings such as ``"1453.0"``."""
    hint = "use whole numbers"
    kind = array.type
    if pa.types.is_dictionary(kind):
        array = array.dictionary_decode()
        kind = array.type
    if pa.types.is_floating(kind):
        fractional = pc.or_(pc.not_equal(pc.floor(array), array), pc.greater(pc.abs(array), 2.0**53))
        nan = pc.is_nan(array)
        at = first_true(pc.and_not(fractional, nan))
        if at is not None:
            raise place.error(f"{array[at].as_py()} is not a whole number", hint, index=at, column=column)
        array = pc.if_else(nan, pa.scalar(None, kind), array).cast(pa.int64())
    elif pa.types.is_string(kind) or pa.types.is_large_string(kind):
        array = pc.utf8_trim_whitespace(array.cast(pa.string()))
        array = pc.if_else(pc.equal(array, ""), pa.scalar(None, pa.string()), array)
        at = first_true(pc.invert(pc.match_substring_regex(array, _INTEGER)))
        if at is not None:
            raise place.error(f"{array[at].as_py()[:40]!r} is not a whole number", hint, index=at, column=column)
        digits = pc.replace_substring_regex(array, r"^\+|\.0*$", "")
        try:
            array = digits.cast(pa.int64())
        except pa.ArrowInvalid as error:
            big = next(i for i, text in enumerate(digits.to_pylist()) if text and not -(2**63) <= int(text) < 2**63)
            raise place.error(f"{digits[big]} is too large", "use 64-bit integers", index=big, column=column) from error
    elif pa.types.is_integer(kind) or pa.types.is_null(kind):
        if kind == pa.uint64() and (at := first_true(pc.greater(array, pa.scalar(2**63 - 1, kind)))) is not None:
            raise place.error(f"{array[at]} is too large", "use 64-bit integers", index=at, column=column)
        array = array.cast(pa.int64())
    else:
        raise place.error(f"holds {kind}, not whole numbers", hint, column=column)
    if required and array.null_count:
        raise place.error(
            "has no value", "fill it in or remove the row", index=first_true(array.is_null()), column=column
        )
    return array


def timestamps(array: pa.Array, place: Place, column: str) -> pa.Array:
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


class VectorColumn:
    """Checks one column of vectors across batches; remembers its dimension."""

    def __init__(self, column: str, *, required: bool) -> None:
        self.column, self.required = column, required
        self.dim: int | None = None

    def lists(self, array: pa.Array, place: Place) -> pa.ListArray:
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
            values = (array if present.all() else array.filter(pa.array(present))).flatten()
            flat = values.to_numpy(zero_copy_only=False).astype(np.float32, copy=False)
            matrix = flat.reshape(-1, expected)
        else:
            matrix = np.zeros((0, 0), np.float32)
        return self.rows(matrix, present, place)

    def rows(
        self, matrix: np.ndarray, present: np.ndarray, place: Place, names: Sequence[str] | None = None
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

    def _check_values(self, matrix: np.ndarray, where: np.ndarray, place: Place, names: Sequence[str] | None) -> None:
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
