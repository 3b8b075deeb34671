"""Products as shop systems export them, in our columns: Google Merchant feeds, Shopify's CSV, JSON lines.

A file is recognised by its content and header. Its products are written once to a parquet file of strings with our
names; a column of no counterpart keeps a name of its own. Errors name the file that was given and the row in it.
"""

from __future__ import annotations

import functools
import gzip
import io
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from sqidflow.core.errors import DataError
from sqidflow.data import formats
from sqidflow.data.attributes import attribute_name
from sqidflow.data.csv_files import AGAIN, first_line, is_gzip
from sqidflow.data.import_report import ImportReport
from sqidflow.data.sources import BATCH_ROWS, Source, check_file, open_source

IMAGE_LINK = "image_link"
"""The column of a feed that has the address of a product's picture."""
MAX_ENTRY_BYTES = 4 << 20
"""The longest item of a feed, or line of JSON; descriptions end far below."""
_XML_BLOCK_BYTES = 1 << 16
_GOOGLE = "http://base.google.com/ns/1.0"
_ITEMS = frozenset(("item", "entry"))

GOOGLE_COLUMNS = {
    "id": "product_id",
    "title": "product_title",
    "description": "product_description",
    "product_highlight": "product_bullet_point",
    "brand": "product_brand",
    "color": "product_color",
}
_GOOGLE_SIGNS = frozenset(("link", "image_link", "availability", "price", "description", "gtin", "condition", "brand"))
SHOPIFY_COLUMNS = {
    "handle": "product_id",
    "title": "product_title",
    "body_html": "product_description",
    "vendor": "product_brand",
    "image_src": IMAGE_LINK,
    "variant_price": "price",
    "variant_sku": "sku",
}
_SHOPIFY_TODAY = {
    "url_handle": "handle",
    "description": "body_html",
    "product_image_url": "image_src",
    "price": "variant_price",
    "sku": "variant_sku",
}
"""Names in Shopify's exports since 2025, and the older ones."""
_SHOPIFY_SIGNS = frozenset(("body_html", "vendor", "variant_sku", "variant_price"))
_COLOUR_OPTIONS = frozenset(("color", "colour", "farbe", "couleur", "colore", "kleur", "cor"))

Row = dict[str, str | None]


@dataclass(frozen=True)
class Feed:
    """A recognised file: its rows, each with its number in the file, and our names of its columns.

    Two are filled while rows are read. ``nested``: fields that have fields of their own, which no column can hold.
    ``several``: fields with several values, and the first row that has them; a column holds them as lines of one text.
    """

    name: str
    rows: Callable[[], Iterator[tuple[int, Row]]]
    columns: Mapping[str, str]
    nested: dict[str, None] = field(default_factory=dict)
    several: dict[str, int] = field(default_factory=dict)


class _JsonNumber(str):
    """A number as JSON spells it: a point stands before its decimals."""


def open_products(path: Path, scratch: Path, report: ImportReport) -> Source:
    """The products of a file in our columns; ``scratch`` is a folder for what has to be written for that.

    Raises:
        DataError: the file is cut or damaged, an entry is too long, or XML that is no feed.
    """
    feed = _recognised(path)
    if feed is None:
        return open_source(path)
    return stored(path, feed, scratch / "products.parquet", report)


def open_judgements(path: Path, scratch: Path, report: ImportReport) -> Source:
    """Judgements as JSON lines in our columns, anything else as it stands. Raises DataError."""
    check_file(path)
    if _kind(path) != "json":
        return open_source(path)
    feed = Feed("JSON lines", lambda: _json_rows(path, {}, {}), {})
    return stored(path, feed, scratch / "judgements.parquet", report)


def _recognised(path: Path) -> Feed | None:
    check_file(path)
    kind = _kind(path)
    nested: dict[str, None] = {}
    several: dict[str, int] = {}
    if kind == "xml":
        rows = functools.partial(_xml_rows, path, nested, several)
        return Feed("a Google Merchant feed in XML", rows, GOOGLE_COLUMNS, nested, several)
    if kind == "json":
        names = set(next(_json_rows(path, {}, {}), (0, {}))[1])
        google = "product_id" not in names and {"id", "title"} <= names
        columns = GOOGLE_COLUMNS if google else {}
        return Feed("JSON lines", lambda: _json_rows(path, nested, several), columns, nested, several)
    source = open_source(path)
    if source.layout is None or "product_id" in source.columns:
        return None
    names = {attribute_name(name) for name in source.columns}
    if (
        names & {"handle", "url_handle"}
        and "title" in names
        and {_SHOPIFY_TODAY.get(n, n) for n in names} & _SHOPIFY_SIGNS
    ):
        return Feed("a Shopify product export", lambda: _shopify_rows(source), SHOPIFY_COLUMNS)
    if {"id", "title"} <= names and names & _GOOGLE_SIGNS:
        return Feed("a Google Merchant feed", lambda: _table_rows(source), GOOGLE_COLUMNS)
    return None


def _kind(path: Path) -> str | None:
    """What the first characters say: xml, json, or None for what is neither."""
    try:
        with _opened(path) as file:
            head = file.read(512)
    except (EOFError, OSError) as error:
        raise DataError(f"is damaged: {first_line(error)}", file=path, hint=AGAIN) from error
    if head.startswith((b"\xff\xfe<\x00", b"\xfe\xff\x00<")):
        return "xml"
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if start.startswith(b"["):
        raise DataError("is one JSON array", file=path, hint="write JSON lines: one object a line")
    return "xml" if start.startswith(b"<") else "json" if start.startswith(b"{") else None


def _opened(path: Path) -> IO[bytes]:
    return gzip.GzipFile(path) if is_gzip(path) else path.open("rb")  # type: ignore[return-value]


def stored(path: Path, feed: Feed, target: Path, report: ImportReport) -> Source:
    """The rows of a feed as a source whose errors name the feed's own rows."""
    columns: dict[str, str] = {}
    numbers: list[int] = []
    texts: set[str] = set()
    for number, row in feed.rows():
        numbers.append(number)
        for name, value in row.items():
            columns.setdefault(name, feed.columns.get(name, name))
            if value is not None and not isinstance(value, _JsonNumber):
                texts.add(columns[name])
    if not numbers:
        raise DataError("has no rows", file=path, hint="name a file with data")
    mapped = dict.fromkeys(columns.values())
    schema = pa.schema([(name, pa.string()) for name in mapped])
    with pq.ParquetWriter(target, schema, compression="zstd") as writer:
        held: list[Row] = []

        def flush() -> None:
            arrays = [pa.array([row.get(name) for row in held], pa.string()) for name in mapped]
            writer.write_batch(pa.RecordBatch.from_arrays(arrays, schema=schema))
            held.clear()

        for _, row in feed.rows():
            held.append({columns[name]: value for name, value in row.items()})
            if len(held) == BATCH_ROWS:
                flush()
        if held:
            flush()
    renamed = [f"{name} as {ours}" for name, ours in columns.items() if name != ours]
    report.note(f"{path.name} is read as {feed.name}" + (f": {', '.join(renamed)}" if renamed else ""))
    plain = frozenset(mapped) - texts
    several = {columns[name]: row for name, row in feed.several.items()}
    return Source(
        path, tuple(mapped), stored=target, numbers=np.array(numbers), plain=plain, nested=tuple(feed.nested),
        several=several,
    )  # fmt: skip


# --- tables -----------------------------------------------------------------------------------------------------------


def _table_rows(source: Source) -> Iterator[tuple[int, Row]]:
    names = [attribute_name(name) for name in source.columns]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice:
        raise DataError("stands twice in the header", file=source.path, column=twice, hint="rename one of the two")
    number = 0
    for batch in source.batches(source.columns):
        for row in zip(*(column.to_pylist() for column in batch.columns), strict=True):
            number += 1
            yield number, dict(zip(names, row, strict=True))


def _shopify_rows(source: Source) -> Iterator[tuple[int, Row]]:
    """A row a product, of its first row; rows behind it of the same handle are variants and pictures."""
    first: tuple[int, Row] | None = None
    colours: list[str] = []
    seen: dict[str, int] = {}
    option = 0

    def product() -> tuple[int, Row]:
        assert first is not None
        return first[0], {**first[1], "product_color": ", ".join(dict.fromkeys(colours)) or None}

    for number, row in _table_rows(source):
        row = {_SHOPIFY_TODAY.get(name, name): value for name, value in row.items()}
        handle, title = row["handle"] or "", (row["title"] or "").strip()
        if not handle.strip():
            raise DataError("has no value", file=source.path, row=number, column="Handle", hint="fill in the handle")
        if first is None or first[1]["handle"] != handle:
            if handle in seen:
                raise DataError(
                    f"the rows of {handle} do not stand together: others begin in row {seen[handle]}",
                    file=source.path,
                    row=number,
                    column="Handle",
                    hint="sort the file by its handles, or give each product its own",
                )
            if first is not None:
                yield product()
            seen[handle] = number
            first, colours, option = (number, row), [], _colour_option(row)
        elif title and row["title"] != first[1]["title"]:
            raise DataError(
                f"{handle} is {title[:40]!r} here and {(first[1]['title'] or '')[:40]!r} in row {first[0]}",
                file=source.path,
                row=number,
                column="Title",
                hint="give each product its own handle",
            )
        value = row.get(f"option{option}_value") if option else None
        colours += [value.strip()] if value and value.strip() else []
    if first is not None:
        yield product()


def _colour_option(row: Row) -> int:
    """The number of the option that is the colour, 0 where none is."""
    names = {number: (row.get(f"option{number}_name") or "").strip().lower() for number in (1, 2, 3)}
    return next((number for number, name in names.items() if name in _COLOUR_OPTIONS), 0)


# --- JSON -------------------------------------------------------------------------------------------------------------


def _json_rows(path: Path, nested: dict[str, None], several: dict[str, int]) -> Iterator[tuple[int, Row]]:
    number = 0
    with _opened(path) as file:
        try:
            while line := file.readline(MAX_ENTRY_BYTES + 1):
                line = line.removeprefix(b"\xef\xbb\xbf") if not number else line
                if len(line) > MAX_ENTRY_BYTES:
                    raise _too_long(path, number + 1)
                if not line.strip():
                    continue
                number += 1
                yield number, _json_row(path, number, line, nested, several)
        except (EOFError, OSError) as error:
            raise DataError(f"is damaged: {first_line(error)}", file=path, row=number + 1, hint=AGAIN) from error


def _json_row(path: Path, number: int, line: bytes, nested: dict[str, None], several: dict[str, int]) -> Row:
    try:
        # numbers keep their spelling: ids and prices are texts until somebody says what they are
        value = json.loads(line.decode(), parse_float=_JsonNumber, parse_int=_JsonNumber)
    except UnicodeDecodeError as error:
        raise DataError("is not UTF-8", file=path, row=number, hint="save it as UTF-8") from error
    except (ValueError, RecursionError) as error:
        hint = f"write one whole object a line; an incomplete last line: {AGAIN}"
        raise DataError(f"is no JSON: {first_line(error)}", file=path, row=number, hint=hint) from error
    if not isinstance(value, dict):
        raise DataError("is no JSON object", file=path, row=number, hint="write one object a line")
    nested.update({name: None for name, content in value.items() if isinstance(content, dict)})
    for name, content in value.items():
        if isinstance(content, list) and len(content) > 1:
            several.setdefault(name, number)
    return {name: _json_text(content) for name, content in value.items() if not isinstance(content, dict)}


def _json_text(value: Any) -> str | None:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return "\n".join(str(part) for part in value if isinstance(part, str)) or None
    return value if value is None or isinstance(value, _JsonNumber) else _whole_text(str(value))


def _whole_text(text: str) -> str:
    """Without halves of surrogate pairs, which JSON can write and UTF-8 cannot."""
    return text.encode("utf-8", "replace").decode()


# --- XML --------------------------------------------------------------------------------------------------------------


class _BoundedReader(io.RawIOBase):
    """A file that refuses to go on when more than MAX_ENTRY_BYTES were read since ``entry_began``."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self._since = file, 0

    def entry_began(self) -> None:
        self._since = 0

    def read(self, size: int = -1) -> bytes:
        block = self._file.read(min(size, _XML_BLOCK_BYTES) if size > 0 else _XML_BLOCK_BYTES)
        self._since += len(block)
        if self._since > MAX_ENTRY_BYTES + 2 * _XML_BLOCK_BYTES:
            raise OverflowError
        return block


def _xml_rows(path: Path, nested: dict[str, None], several: dict[str, int]) -> Iterator[tuple[int, Row]]:
    from xml.etree.ElementTree import ParseError

    from defusedxml.common import DefusedXmlException
    from defusedxml.ElementTree import iterparse

    number, depth, inside = 0, 0, None
    with _opened(path) as file:
        bounded = _BoundedReader(file)
        try:
            parents = []
            for event, element in iterparse(bounded, events=("start", "end")):
                name = _local(element.tag)
                if event == "start":
                    depth += 1
                    parents.append(element)
                    if depth == 1 and name not in ("rss", "feed", "RDF"):
                        raise DataError(
                            f"its outermost element is <{name}>, not <rss> or <feed>",
                            file=path,
                            hint="give a Google Merchant feed in RSS 2.0 or Atom, or CSV",
                        )
                    if inside is None and name in _ITEMS:
                        inside = depth
                        bounded.entry_began()
                    continue
                if inside == depth:
                    number += 1
                    yield number, _xml_row(number, element, nested, several)
                    inside = None
                    bounded.entry_began()
                parents.pop()
                depth -= 1
                if inside is None and parents:
                    parents[-1].remove(element)  # so that memory is that of one item
        except OverflowError as error:
            raise _too_long(path, number + 1) from error
        except DefusedXmlException as error:
            raise DataError(
                "declares entities, which may be made to grow without end",
                file=path,
                hint="write the feed without <!ENTITY ...>",
            ) from error
        except ParseError as error:
            what = f"is cut or damaged after {number:,} items: {first_line(error)}"
            raise DataError(what, file=path, row=number + 1, hint=AGAIN) from error
        except (EOFError, OSError, LookupError, ValueError) as error:
            raise DataError(f"is damaged: {first_line(error)}", file=path, row=number + 1, hint=AGAIN) from error


def _local(tag: str) -> str:
    return tag.rpartition("}")[2]


def _xml_row(number: int, item: Any, nested: dict[str, None], several: dict[str, int]) -> Row:
    """The direct children of an item by name; those of Google's name space count before others of the name."""
    values: dict[str, list[str]] = {}
    of_google: set[str] = set()
    for child in item:
        if len(child):
            nested[_local(child.tag).lower()] = None
            continue  # shipping, tax and the like have fields of their own
        name, google = _local(child.tag).lower(), child.tag.startswith(f"{{{_GOOGLE}}}")
        if google and name not in of_google:
            of_google.add(name)
            values[name] = []
        if google or name not in of_google:
            values.setdefault(name, []).append((child.text or "").strip())
    for name, texts in values.items():
        if sum(map(bool, texts)) > 1:
            several.setdefault(name, number)
    return {name: "\n".join(filter(None, texts)) or None for name, texts in values.items()}


def _too_long(path: Path, row: int) -> DataError:
    return DataError(
        f"is longer than {MAX_ENTRY_BYTES / 1e6:,.0f} MB", file=path, row=row, hint="shorten its description"
    )


def further_columns(source: Source) -> list[str]:
    """Columns of a file of products that are none of ours."""
    ours = {*formats.PRODUCTS_SCHEMA.names, *formats.EXAMPLES_SCHEMA.names, formats.TIMESTAMP, formats.QUERY_LOCALE}
    ours.add(formats.QUERY_KIND)
    return [name for name in source.columns if name not in ours and name != IMAGE_LINK]
