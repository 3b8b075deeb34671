"""Attributes: what a file of products says beyond its texts (price, category, rating, ...), kept with its type.

A kind is declared in the settings (``data.attributes``), given by the data that a file is merged into, or inferred from
all values of the column. A number is read by the declared decimal mark (``data.decimal``); without one only spellings
that have a single reading are taken. Nothing is guessed: what has two readings is a DataError.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, Literal, NoReturn

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from sqidflow.core.errors import DataError, SettingsError
from sqidflow.data.columns import MAX_TEXT_CHARACTERS, Place, first_true, strings

Kind = Literal["number", "date", "boolean", "string"]
KINDS: tuple[Kind, ...] = ("number", "date", "boolean", "string")
METADATA_KEY = b"sqidflow.attributes"
"""Key in the metadata of a file of products: kind and unit of each further column."""
RESERVED = frozenset(("brand", "color", "with_picture", "relevance", "attributes"))
"""Names that filters have already."""
MAX_ATTRIBUTES = 64
TYPES: Mapping[Kind, pa.DataType] = {
    "number": pa.float64(),
    "date": pa.timestamp("us", tz="UTC"),
    "boolean": pa.bool_(),
    "string": pa.string(),
}
_TEXTS_BY_NAME = frozenset(
    ("gtin", "mpn", "sku", "ean", "upc", "isbn", "barcode", "variant_barcode", "variant_sku", "item_group_id", "phone")
)
"""Digits that are names: no sum or range of them means anything."""
_TRUE = frozenset(("true", "yes", "y", "t", "1", "in stock", "in_stock", "instock", "available"))
_FALSE = frozenset(("false", "no", "n", "f", "0", "out of stock", "out_of_stock", "outofstock", "unavailable"))
_INFERRED_BOOLEANS = (frozenset(("true", "false")), frozenset(("yes", "no")))
_SIGNS = {
    "€": "EUR", "£": "GBP", "₹": "INR", "₩": "KRW", "₽": "RUB", "₺": "TRY", "₴": "UAH", "₪": "ILS", "฿": "THB",
    "₫": "VND", "zł": "PLN", "Kč": "CZK", "Ft": "HUF", "$": "$", "US$": "USD", "¥": "¥", "kr": "kr", "kr.": "kr",
    "Fr.": "CHF",
}  # fmt: skip
"""Signs of currencies, and the code of each that stands for one currency alone."""
_CODES = frozenset(
    (
        "AED", "ARS", "AUD", "BGN", "BRL", "CAD", "CHF", "CLP", "CNY", "COP", "CZK", "DKK", "EGP", "EUR", "GBP", "HKD",
        "HUF", "IDR", "ILS", "INR", "ISK", "JPY", "KRW", "KZT", "MAD", "MXN", "MYR", "NGN", "NOK", "NZD", "PEN", "PHP",
        "PKR", "PLN", "QAR", "RON", "RSD", "RUB", "SAR", "SEK", "SGD", "THB", "TRY", "TWD", "UAH", "USD", "VND", "ZAR",
    )
)  # fmt: skip
_UNIT = "|".join(sorted((re.escape(sign) for sign in (*_SIGNS, *_CODES)), key=len, reverse=True))
_SPACES = " \u00a0\u2009\u202f"
_NUMBER = re.compile(
    rf"^(?P<before>{_UNIT})?[{_SPACES}]*(?P<sign>[+\-−]?)[{_SPACES}]*"
    rf"(?P<digits>\d{{1,3}}(?:(?P<group>[.,'’{_SPACES}])\d{{3}})(?:(?P=group)\d{{3}})*(?:[.,]\d+)?|\d+(?:[.,]\d+)?)"
    rf"[{_SPACES}]*(?P<after>{_UNIT})?$"
)
_SCIENTIFIC = re.compile(r"^[+-]?\d+(?:\.\d+)?[eE][+-]?\d{1,3}$")
_GROUPED_OR_DECIMAL = re.compile(r"^[1-9]\d{0,2}[.,]\d{3}$")
_DATE = re.compile(r"^\d{4}-\d{2}-\d{2}(?:[T ]\d{2}:\d{2}(?::\d{2}(?:\.\d{1,6})?)?(?:Z|[+-]\d{2}:?\d{2})?)?$")
_LEADING_ZERO = re.compile(r"^0\d")
_EXACT_DIGITS = 15


@dataclass(frozen=True)
class Attribute:
    """``name`` as filters have it. ``unit``: the currency of a price, None without one."""

    name: str
    kind: Kind
    unit: str | None = None

    @property
    def described(self) -> str:
        return f"{self.name} ({self.kind}{f', {self.unit}' if self.unit else ''})"

    @property
    def field(self) -> pa.Field:
        return pa.field(self.name, TYPES[self.kind])


@dataclass(frozen=True)
class AttributeRules:
    """What the settings say: kinds by name, and the mark before decimals, None if unset."""

    declared: Mapping[str, Kind] = field(default_factory=dict)
    decimal: Literal[".", ","] | None = None


def attribute_name(column: str) -> str:
    """``Body (HTML)`` as ``body_html``, ``g:image link`` as ``image_link``."""
    return re.sub(r"\W+", "_", column.strip().lower().removeprefix("g:")).strip("_")


def attributes_of(file: Path) -> tuple[Attribute, ...]:
    """The attributes of a file of products of ours: in ``data/`` or prepared. Raises DataError for a damaged one."""
    try:
        metadata = pq.read_schema(file).metadata or {}
        return tuple(Attribute(**each) for each in json.loads(metadata.get(METADATA_KEY, b"[]")))
    except (pa.ArrowInvalid, ValueError, TypeError) as error:
        raise DataError("its attributes cannot be read", file=file, hint="import the products again") from error


def declared_otherwise(file: Path, declared: Mapping[str, Kind]) -> str | None:
    """One line where attributes of a file of products are not what ``data.attributes`` declares now, else None.

    A declaration is read when products are imported. Raises DataError for a damaged file.
    """
    kinds = {attribute.name: attribute.kind for attribute in attributes_of(file)}
    others = [
        f"{name} is {kinds[name]} in the data" if name in kinds else f"{name} is not in the data"
        for name, kind in declared.items()
        if kinds.get(name) != kind
    ]
    if not others:
        return None
    told = ", ".join(f"{name}: {declared[name]}" for name in declared if kinds.get(name) != declared[name])
    return (
        f"data.attributes declares {{{told}}}, but {', '.join(others)}: it is read at import; import the whole "
        "catalogue anew, or declare what the data has"
    )


def metadata_of(attributes: Sequence[Attribute]) -> dict[bytes, bytes]:
    """The metadata of a file of products with ``attributes``; empty without any."""
    return {METADATA_KEY: json.dumps([asdict(each) for each in attributes]).encode()} if attributes else {}


# --- numbers ----------------------------------------------------------------------------------------------------------


class _Unreadable(ValueError):
    """A value that is not of the kind: ``args`` are what is wrong and the hint."""


@dataclass(frozen=True)
class _Spelling:
    """A number as it is written: digits with their marks, and the currency beside it."""

    digits: str
    sign: str
    unit: str | None
    group: str | None

    @property
    def has_two_readings(self) -> bool:
        """``1.299`` is one and a bit, or more than a thousand."""
        return bool(_GROUPED_OR_DECIMAL.match(self.digits))

    @property
    def has_decimal_point(self) -> bool:
        """It can only be read with a point before its decimals."""
        return self.digits.count(".") == 1 and "," not in self.digits and not self.has_two_readings


def _spelling(text: str) -> _Spelling | None:
    match = _NUMBER.match(text)
    if match is None or (match["before"] and match["after"]):
        return None
    unit = match["before"] or match["after"]
    sign = "-" if match["sign"] in ("-", "−") else ""
    return _Spelling(match["digits"], sign, _SIGNS.get(unit, unit) if unit else None, match["group"])


def _number(text: str, decimal: str | None, point_seen: bool) -> tuple[float, str | None]:
    """A number and its unit; ``point_seen``: other values of the column can only be read with a decimal point."""
    if _SCIENTIFIC.match(text):
        return float(text), None
    spelling = _spelling(text)
    if spelling is None:
        raise _Unreadable(f"{text[:40]!r} is no number", "correct it, or declare the attribute as string")
    digits = spelling.digits
    if decimal is None:
        if spelling.has_two_readings and not (point_seen and "." in digits):
            bare = re.sub(r"[.,]", "", digits)
            raise _Unreadable(f"{text[:40]!r} may be {digits.replace(',', '.')} or {bare}", _DECIMAL_HINT)
        if "," in digits or digits.count(".") > 1:
            raise _Unreadable(f"{text[:40]!r} has no plain decimal point", _DECIMAL_HINT)
        decimal = "."
    other = "," if decimal == "." else "."
    whole, _, part = digits.partition(decimal)
    groups = re.split(rf"[{re.escape(other)}'’{_SPACES}]", whole)
    grouped = len(groups) > 1
    bad_groups = grouped and (len(groups[0]) > 3 or any(len(group) != 3 for group in groups[1:]))
    if decimal in part or other in part or bad_groups:
        raise _Unreadable(f"{text[:40]!r} is no number with {_CALLED[decimal]} before its decimals", _DECIMAL_HINT)
    return float(f"{spelling.sign}{''.join(groups)}.{part or '0'}"), spelling.unit


_CALLED = {".": "a point", ",": "a comma"}
_DECIMAL_HINT = 'say which mark stands before decimals: --set data.decimal="," or --set data.decimal="."'


def _moment(text: str) -> datetime:
    """A date or a time in ISO 8601; without a zone it is UTC."""
    if _DATE.match(text):
        try:
            moment = datetime.fromisoformat(text)
            return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
        except (ValueError, OverflowError):
            pass
    raise _Unreadable(f"{text[:40]!r} is no date", "write dates as 2024-12-31")


def _truth(text: str) -> bool:
    folded = text.casefold()
    if folded in _TRUE or folded in _FALSE:
        return folded in _TRUE
    raise _Unreadable(f"{text[:40]!r} is neither true nor false", "write true or false (yes/no, in stock/out of stock)")


# --- kinds ------------------------------------------------------------------------------------------------------------


@dataclass
class _Scan:
    """What all values of a column of texts allow; ``not_number`` is the first that is no number, with its row."""

    filled: int = 0
    not_number: tuple[str, int] | None = None
    not_date: bool = False
    truths: set[str] = field(default_factory=set)
    point_seen: bool = False

    def add(self, values: pa.Array, start: int) -> None:
        self.filled += len(values) - values.null_count
        for value in pc.unique(values).to_pylist():
            if value is None:
                continue
            text = value.strip()
            self.not_date = self.not_date or not _DATE.match(text)
            if len(self.truths) < 3:
                self.truths.add(text.casefold())
            spelling = _spelling(text)
            self.point_seen = self.point_seen or bool(spelling and spelling.has_decimal_point)
            if self.not_number is not None or _SCIENTIFIC.match(text):
                continue
            exact = spelling is not None and not _LEADING_ZERO.match(spelling.digits)
            if not exact or (spelling and len(re.sub(r"\D", "", spelling.digits)) > _EXACT_DIGITS):
                self.not_number = (text, start + pc.index(values, value).as_py() + 1)

    @property
    def kind(self) -> Kind:
        if any(self.truths <= pair for pair in _INFERRED_BOOLEANS):
            return "boolean"
        if not self.not_date:
            return "date"
        return "number" if self.not_number is None else "string"


def _kind_of_type(type_: pa.DataType) -> Kind | None:
    """The kind of a typed column, None for what has to be looked at or cannot be kept."""
    if pa.types.is_boolean(type_):
        return "boolean"
    if pa.types.is_integer(type_) or pa.types.is_floating(type_) or pa.types.is_decimal(type_):
        return "number"
    if pa.types.is_date(type_) or pa.types.is_timestamp(type_):
        return "date"
    return None


def _is_text(type_: pa.DataType) -> bool:
    if pa.types.is_dictionary(type_):
        type_ = type_.value_type
    return pa.types.is_string(type_) or pa.types.is_large_string(type_) or pa.types.is_null(type_)


@dataclass
class AttributeReader:
    """Reads the attributes of one file: first all of it is looked at, then each batch is converted.

    ``columns``: the file's name of each attribute. ``plain``: columns whose numbers the format itself defines, so that
    a point stands before decimals (JSON).
    """

    path: Path
    columns: dict[str, str]
    rules: AttributeRules
    known: Mapping[str, Attribute]
    plain: Collection[str] = ()
    attributes: tuple[Attribute, ...] = ()
    notes: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    _point_seen: dict[str, bool] = field(default_factory=dict)
    _units: dict[str, tuple[str | None, int]] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        path: Path,
        further: Iterable[str],
        rules: AttributeRules,
        known: Sequence[Attribute] = (),
        plain: Collection[str] = (),
    ) -> AttributeReader:
        """A reader of the columns ``further`` of a file that is merged into data with the attributes ``known``.

        Raises:
            DataError: two columns are of one name. SettingsError: a declared kind is not that of the data.
        """
        by_name = {attribute.name: attribute for attribute in known}
        for name, kind in rules.declared.items():
            if name in by_name and by_name[name].kind != kind:
                raise SettingsError(
                    f"{name} is declared as {kind} and is {by_name[name].kind} in the data",
                    where="data.attributes",
                    hint="declare it as it is, or import the whole catalogue anew, without --merge",
                )
        reader = cls(path, {}, rules, by_name, plain)
        for column in further:
            name = attribute_name(column)
            if not name or name in RESERVED or re.match(r"^(unnamed|_*index_level)_?\d+", name):
                reader.left_out.append(column)
            elif name in reader.columns:
                other = reader.columns[name]
                raise DataError(
                    f"is the attribute {name}, as is the column {other}", file=path, column=column,
                    hint="rename one of the two",
                )  # fmt: skip
            else:
                reader.columns[name] = column
        for name in [name for name in list(reader.columns)[MAX_ATTRIBUTES:] if name not in rules.declared]:
            reader.left_out.append(reader.columns.pop(name))
        for name in rules.declared:
            if name not in reader.columns and name not in by_name:
                near = difflib.get_close_matches(name, reader.columns, 1)
                meant = f" (did you mean {near[0]}?)" if near else ""
                reader.notes.append(f"{path.name} has no column for the declared attribute {name}{meant}")
        return reader

    def look(self, batches: Iterable[tuple[pa.RecordBatch, Place]]) -> None:
        """Decide the kind of every attribute; columns without a value, or of lists, are left out."""
        scans: dict[str, _Scan] = {}
        types: dict[str, pa.DataType] = {}
        for batch, place in batches:
            for name, column in list(self.columns.items()):
                array = batch[column]
                types[name] = array.type
                if _is_text(array.type):
                    texts = strings(_texts(array), place, column, limit=MAX_TEXT_CHARACTERS)
                    scans.setdefault(name, _Scan()).add(texts, place.start)
                elif _kind_of_type(array.type):
                    scans.setdefault(name, _Scan()).filled += len(array) - array.null_count
        kept = []
        for name, column in list(self.columns.items()):
            type_ = types.get(name)
            wanted = self.rules.declared.get(name) or (self.known[name].kind if name in self.known else None)
            if type_ is None or name not in scans or (not scans[name].filled and wanted is None):
                self.left_out.append(self.columns.pop(name))
                continue
            scan = scans[name]
            self._point_seen[name] = scan.point_seen or column in self.plain
            own = _kind_of_type(type_)
            if own and wanted and own != wanted and wanted != "string":
                origin = "in the data" if name in self.known else "declared"
                raise DataError(
                    f"holds values of the kind {own}, and is {wanted} {origin}", file=self.path, column=column,
                    hint=f"store it as {wanted}",
                )  # fmt: skip
            kind = wanted or own or ("string" if name in _TEXTS_BY_NAME else scan.kind)
            if kind == "string" and wanted is None and scan.not_number and "price" in name:
                value, row = scan.not_number
                self.notes.append(
                    f"{name} is kept as text, since row {row} has {value[:40]!r}: --set data.attributes='{{price: "
                    "number}' refuses such rows"
                )
            kept.append(Attribute(name, kind, self.known[name].unit if name in self.known else None))
        self.attributes = tuple(kept)

    def convert(self, batch: pa.RecordBatch, place: Place) -> list[pa.Array]:
        """The attributes of a batch, in their order. Raises DataError, which names the row, for what is of no such
        kind."""
        return [self._converted(batch[self.columns[each.name]], each, place) for each in self.attributes]

    def _converted(self, array: pa.Array, attribute: Attribute, place: Place) -> pa.Array:
        column, kind = self.columns[attribute.name], attribute.kind
        if not _is_text(array.type):
            return _typed(array, kind, place, column)
        texts = strings(_texts(array), place, column, limit=MAX_TEXT_CHARACTERS)
        if kind == "string":
            return texts
        read: Callable[[str], Any]
        if kind == "number":
            read = self._number_reader(attribute, texts, place)
        else:
            read = _moment if kind == "date" else _truth
        values: dict[str, Any] = {}
        for text in pc.unique(texts).to_pylist():
            if text is None:
                continue
            try:
                values[text] = read(text.strip())
            except _Unreadable as error:
                what, hint = error.args
                if attribute.name in self.known:
                    what = f"{what}, and {attribute.name} is a {kind} in the data"
                index = pc.index(texts, text).as_py()
                raise place.error(what, hint, index=index, column=column) from None
        return pa.array([values[text] if text is not None else None for text in texts.to_pylist()], TYPES[kind])

    def _number_reader(self, attribute: Attribute, texts: pa.Array, place: Place) -> Callable[[str], float]:
        decimal = "." if self.columns[attribute.name] in self.plain else self.rules.decimal
        point_seen = self._point_seen[attribute.name]

        def read(text: str) -> float:
            value, unit = _number(text, decimal, point_seen)
            if abs(value) == float("inf"):
                raise _Unreadable(f"{text[:40]!r} is too large", "correct it")
            first, row = self._units.setdefault(attribute.name, (unit, place.start + 1))
            before = attribute.unit if attribute.name in self.known else None
            if unit != first:
                raise _Unreadable(
                    f"{text[:40]!r} has {unit or 'no currency'} where values before it have {first or 'none'}",
                    "give the whole column one currency",
                )
            if unit and before and unit != before:
                raise _Unreadable(f"{text[:40]!r} is in {unit}, not in {before}", "convert it, or name another column")
            return value

        return read

    def finished(self) -> tuple[Attribute, ...]:
        """The attributes, with their units, after all batches were converted."""
        out = []
        for each in self.attributes:
            unit = self._units.get(each.name, (None, 0))[0] or each.unit
            out.append(Attribute(each.name, each.kind, unit))
        return tuple(out)


def _texts(array: pa.Array) -> pa.Array:
    return (
        array.dictionary_decode().cast(pa.string()) if pa.types.is_dictionary(array.type) else array.cast(pa.string())
    )


def _typed(array: pa.Array, kind: Kind, place: Place, column: str) -> pa.Array:
    if pa.types.is_floating(array.type):
        array = pc.if_else(pc.is_nan(array), pa.scalar(None, array.type), array)
        at = first_true(pc.is_inf(array))
        if at is not None:
            raise place.error("is infinite", "correct it", index=at, column=column)
    if kind == "string":
        if _kind_of_type(array.type) is None:
            _refuse_type(array, kind, place, column)
        return array.cast(pa.string())
    if pa.types.is_timestamp(array.type) and array.type.tz is None:
        array = pc.assume_timezone(array.cast(pa.timestamp("us")), "UTC")
    try:
        return array.cast(TYPES[kind], safe=False)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        _refuse_type(array, kind, place, column)


def _refuse_type(array: pa.Array, kind: Kind, place: Place, column: str) -> NoReturn:
    raise place.error(f"holds {array.type}, which is no {kind}", f"store it as {kind}", column=column)


def merged(old: Sequence[Attribute], new: Sequence[Attribute]) -> tuple[Attribute, ...]:
    """The attributes of both, those of ``old`` first; a unit that one of them lacks is that of the other."""
    by_name = {attribute.name: attribute for attribute in new}
    first = [
        Attribute(each.name, each.kind, each.unit or (by_name[each.name].unit if each.name in by_name else None))
        for each in old
    ]
    names = {attribute.name for attribute in old}
    return (*first, *(attribute for attribute in new if attribute.name not in names))


def shown(value: object) -> Any:
    """A value as JSON has it: dates in ISO 8601, whole days without a time."""
    if isinstance(value, datetime):
        moment = value.astimezone(UTC)
        whole = (moment.hour, moment.minute, moment.second, moment.microsecond) == (0, 0, 0, 0)
        return moment.date().isoformat() if whole else moment.isoformat().replace("+00:00", "Z")
    return value.isoformat() if isinstance(value, date) else value
