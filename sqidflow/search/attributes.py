"""Attributes of an index's products: filters, facet counts and sorting by them.

``attributes/attributes.json`` lists them; ``<number>.npy`` has a value a product: float64 for numbers and dates
(seconds since 1970 in UTC; NaN where there is none), int8 for booleans and int32 for strings (-1 where there is none).
That of a string is a number of ``<number>.arrow``, which has the values as they are shown, the frequent first. Brand
and colour are attributes too; they lie beside the others, see ``sqidflow.search.index``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np

Kind = Literal["number", "date", "boolean", "string"]
Value = str | float | bool
FOLDER = "attributes"
LIST_FILE = "attributes.json"
MAX_FACET_VALUES = 50
_RANGE = ".."
_TRUE, _FALSE = frozenset(("true", "yes", "1")), frozenset(("false", "no", "0"))


class UnfitRequest(ValueError):
    """A request that is well formed and cannot be answered here: ``field`` names what, the message why."""

    def __init__(self, field: str, detail: str) -> None:
        super().__init__(detail)
        self.field = field


@dataclass(frozen=True)
class AttributeFilter:
    """Which values of an attribute pass: any of ``values``, or those from ``least`` to ``most``, both included.

    A text such as ``10..20`` among the values of a number or a date is a range too; either end may be left out.
    """

    name: str
    values: tuple[Value, ...] = ()
    least: Value | None = None
    most: Value | None = None


@dataclass(frozen=True)
class FacetValue:
    """A value of a facet, how many products of the answer have it, and whether it is filtered by."""

    value: str | bool
    products: int
    selected: bool


@dataclass(frozen=True)
class FacetCounts:
    """What the products of an answer have of an attribute: values of a string or boolean, the span of a number or a
    date. ``products`` have a value."""

    name: str
    kind: Kind
    unit: str | None
    products: int
    values: tuple[FacetValue, ...] = ()
    least: str | float | None = None
    most: str | float | None = None


@dataclass(frozen=True)
class AttributeColumn:
    """One attribute: a value a product. ``labels`` are the values of a string. ``facet``: worth counting."""

    name: str
    kind: Kind
    values: np.ndarray
    unit: str | None = None
    facet: bool = True
    labels: Any = field(default=(), repr=False)

    def label(self, number: int) -> str:
        value = self.labels[number]
        return value if isinstance(value, str) else value.as_py()

    @cached_property
    def numbers(self) -> dict[str, int]:
        """Folded value of a string -> its number."""
        return {self.label(number).casefold(): number for number in range(len(self.labels))}

    def value_of(self, row: int) -> Value | None:
        """A product's value as JSON has it, None where it has none."""
        value = self.values[row]
        if self.kind in ("number", "date"):
            return None if np.isnan(value) else self._shown(float(value))
        if value < 0:
            return None
        return bool(value) if self.kind == "boolean" else self.label(int(value))

    def _shown(self, value: float) -> str | float:
        return iso_of(value) if self.kind == "date" else value

    def passing(self, wanted: AttributeFilter) -> np.ndarray:
        """bool [n]. Raises UnfitRequest for values of another kind."""
        masks = [self._having(value) for value in wanted.values]
        if wanted.least is not None or wanted.most is not None:
            masks.append(self._between(wanted.least, wanted.most))
        if not masks:
            raise UnfitRequest(f"filters.{self.name}", "names no value and no range")
        return np.logical_or.reduce(masks)

    def _having(self, value: Value) -> np.ndarray:
        if self.kind == "string":
            if isinstance(value, bool) or not isinstance(value, str):
                raise self._unfit(value, "a text")
            return np.asarray(self.values == self.numbers.get(value.strip().casefold(), -2))
        if self.kind == "boolean":
            return np.asarray(self.values == int(self._truth(value)))
        if isinstance(value, str) and _RANGE in value:
            least, _, most = value.partition(_RANGE)
            return self._between(least.strip() or None, most.strip() or None)
        if self.kind == "date":
            return self._between(value, value)
        return np.asarray(self.values == self._bound(value, last=False))

    def _between(self, least: Value | None, most: Value | None) -> np.ndarray:
        if self.kind in ("string", "boolean"):
            raise UnfitRequest(f"filters.{self.name}", f"is a {self.kind} and has no range; name its values")
        if least is None and most is None:
            raise UnfitRequest(f"filters.{self.name}", "names no end of the range, e.g. 10..20, 10.. or ..20")
        low = -np.inf if least is None else self._bound(least, last=False)
        high = np.inf if most is None else self._bound(most, last=True)
        if low > high:
            raise UnfitRequest(f"filters.{self.name}", f"{least} is above {most}")
        return np.asarray((self.values >= low) & (self.values <= high))

    def _bound(self, value: Value, last: bool) -> float:
        """``last``: of a day without a time its last moment."""
        if self.kind == "date":
            return self._second(value, last)
        try:
            number = None if isinstance(value, bool) else float(value)
        except (ValueError, OverflowError):
            number = None
        if number is None or not np.isfinite(number):
            raise self._unfit(value, "a number, or a range such as 10..20")
        return number

    def _second(self, value: Value, last: bool) -> float:
        text = value.strip() if isinstance(value, str) else ""
        try:
            moment = datetime.fromisoformat(text)
            moment = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
            if last and len(text) == len("2024-12-31"):
                moment += timedelta(days=1) - timedelta(microseconds=1)
            return moment.timestamp()
        except (ValueError, OverflowError):
            raise self._unfit(value, "a date such as 2024-12-31, or a range of two") from None

    def _truth(self, value: Value) -> bool:
        if isinstance(value, bool):
            return value
        folded = str(value).strip().casefold()
        if folded not in _TRUE | _FALSE:
            raise self._unfit(value, "true or false")
        return folded in _TRUE

    def _unfit(self, value: Value, kind: str) -> UnfitRequest:
        return UnfitRequest(f"filters.{self.name}", f"{str(value)[:60]!r} is not {kind}")

    def counted(self, rows: np.ndarray, wanted: Sequence[AttributeFilter]) -> FacetCounts:
        """What the products ``rows`` have of it; values that are filtered by are in the list even with none."""
        own = self.values[rows]
        if self.kind in ("number", "date"):
            own = own[~np.isnan(own)]
            ends = (self._shown(float(own.min())), self._shown(float(own.max()))) if len(own) else (None, None)
            return FacetCounts(self.name, self.kind, self.unit, len(own), (), *ends)
        own = own[own >= 0]
        numbers, counts = np.unique(own, return_counts=True)
        found = dict(zip(numbers.tolist(), counts.tolist()))
        asked = [value for each in wanted for value in each.values]
        if self.kind == "boolean":
            selected = {int(self._truth(value)) for value in asked}
            found = {number: found.get(number, 0) for number in (1, 0) if number in selected or number in found}
            values = [FacetValue(bool(number), count, number in selected) for number, count in found.items()]
        else:
            folded = [(number, str(value)) for value in asked
                      if (number := self.numbers.get(str(value).strip().casefold())) is not None]  # fmt: skip
            selected = {number for number, _ in folded}
            ordered = sorted(found, key=lambda number: (-found[number], number))[:MAX_FACET_VALUES]
            ordered += [number for number in sorted(selected) if number not in ordered]
            values = [FacetValue(self.label(each), found.get(each, 0), each in selected) for each in ordered]
        return FacetCounts(self.name, self.kind, self.unit, len(own), tuple(values))


class Attributes:
    """All attributes of an index, by name."""

    def __init__(self, columns: Sequence[AttributeColumn]) -> None:
        self.columns: Mapping[str, AttributeColumn] = {column.name: column for column in columns}

    @classmethod
    def load(cls, folder: Path, first: Sequence[AttributeColumn]) -> Attributes:
        """Those of a folder, behind ``first``. Raises OSError, ValueError, KeyError for a damaged one."""
        listed = json.loads((folder / LIST_FILE).read_text(encoding="utf-8"))
        columns = list(first)
        for number, each in enumerate(listed):
            values = np.load(folder / f"{number}.npy", mmap_mode="r", allow_pickle=False)
            labels = _labels(folder / f"{number}.arrow") if each["kind"] == "string" else ()
            columns.append(
                AttributeColumn(
                    each["name"], each["kind"], np.asarray(values), each["unit"], each["facet"], labels
                )  # fmt: skip
            )
        return cls(columns)

    def column(self, name: str, field: str) -> AttributeColumn:
        """Raises UnfitRequest that names the known attributes."""
        if name not in self.columns:
            known = ", ".join(self.columns)
            raise UnfitRequest(field, f"there is no attribute {name[:60]!r}; known: {known}")
        return self.columns[name]

    def passing(self, filters: Sequence[AttributeFilter]) -> list[np.ndarray]:
        """A mask bool [n] a filter. Raises UnfitRequest."""
        return [self.column(each.name, f"filters.{each.name}").passing(each) for each in filters]

    def sorted(self, name: str, descending: bool, rows: np.ndarray) -> np.ndarray:
        """Positions of ``rows`` by an attribute: those without a value last, equal ones as they stood."""
        column = self.column(name, "sort")
        if column.kind not in ("number", "date"):
            sortable = ", ".join(each.name for each in self.columns.values() if each.kind in ("number", "date"))
            raise UnfitRequest(
                "sort", f"{name} is a {column.kind}; numbers and dates can be sorted by: {sortable or '-'}"
            )
        values = column.values[rows]
        keys = -values if descending else values
        return np.argsort(keys, kind="stable")  # NaN is last in both directions

    def of_row(self, row: int, short: bool = False) -> dict[str, Value]:
        """What a product has, by name, without brand and colour; ``short``: only what lists of products show."""
        out = {}
        for name, column in self.columns.items():
            if name in ("brand", "color") or (short and not column.facet):
                continue
            value = column.value_of(row)
            if value is not None:
                out[name] = value
        return out


def sort_of(text: str) -> tuple[str, bool]:
    """``price:desc`` as name and whether the highest is first. Raises UnfitRequest."""
    name, _, direction = text.rpartition(":")
    if not name or direction not in ("asc", "desc"):
        raise UnfitRequest("sort", f"{text[:60]!r} is no order; write relevance, price:asc or price:desc")
    return name, direction == "desc"


def filters_of(texts: Sequence[str]) -> tuple[AttributeFilter, ...]:
    """``name:value`` each, several of one name are an or. Raises UnfitRequest."""
    values: dict[str, list[Value]] = {}
    for text in texts:
        name, separator, value = text.partition(":")
        if not separator or not name.strip() or not value.strip():
            raise UnfitRequest("filter", f"{text[:60]!r} is no filter; write name:value or name:10..20")
        values.setdefault(name.strip(), []).append(value)
    return tuple(AttributeFilter(name, tuple(each)) for name, each in values.items())


def iso_of(second: float) -> str:
    """A time as ISO 8601 in UTC; a whole day without a time."""
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=second)
    if second % 86400 == 0:
        return moment.date().isoformat()
    return moment.isoformat().replace("+00:00", "Z")


def _labels(file: Path) -> Any:
    import pyarrow as pa

    with pa.memory_map(str(file)) as source:
        table = pa.ipc.open_file(source).read_all()
    return table["value"].chunk(0) if table["value"].num_chunks else []
