"""Judgements and products of an import: read, completed, numbered, and written in the published form."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from sqidflow.core.errors import DataError
from sqidflow.data import feeds, formats, readers
from sqidflow.data.attributes import Attribute, AttributeReader, AttributeRules, attribute_name, metadata_of, shown
from sqidflow.data.columns import Place, first_true
from sqidflow.data.import_report import ImportReport
from sqidflow.data.judgement_files import Grading, open_judgements
from sqidflow.data.markup import without_markup
from sqidflow.data.query_numbers import (
    NumberedQueries,
    drop_conflicts_of_merged_ids,
    ids_of_given,
    made_up_ids,
    number_queries,
    numbers_after,
)
from sqidflow.data.sources import Source
from sqidflow.data.staging import write_batches

_KEY_SEPARATOR = "\x1f"
_PRODUCT_TEXTS = (
    "product_title",
    "product_description",
    "product_bullet_point",
    "product_brand",
    "product_color",
)


@dataclass(frozen=True)
class QueryIds:
    """Whose ids the queries have: ``of_given`` maps each id of the judgements file to those that stand now; ``made_up``
    are the first and last that the import made up, None where it made up none."""

    of_given: dict[int, list[int]]
    made_up: tuple[int, int] | None


@dataclass(frozen=True)
class Judged:
    """The judgements of one file, each (query, product, locale) once; ``rows`` int64 are their rows, from 0."""

    table: pa.Table
    rows: np.ndarray
    queries: NumberedQueries
    source: Source


def read_judgements(
    folder: Path, examples: Path, report: ImportReport, grading: Grading, locales: Locales | None = None
) -> Judged:
    """The judgements of a file, numbered and without repeats; columns that the file lacks are null, but for the locale.

    ``folder`` may be written to meanwhile.

    Raises:
        DataError: what the readers and :func:`number_queries` raise, and a pair with two labels.
    """
    with TemporaryDirectory(dir=folder) as scratch:
        source = open_judgements(examples, Path(scratch), report, grading)
        table = _judgements(source, report)
    if locales is None:
        table = _filled(table, "product_locale", "us", report)
    else:
        ids, named = table["product_id"].combine_chunks(), table["product_locale"].combine_chunks()
        filled = locales.fill(ids, named, Place(examples, 0, source.numbers))
        table = table.set_column(table.schema.get_field_index("product_locale"), "product_locale", filled)
    queries = number_queries(table, examples)
    report.queries_numbered, report.query_ids_merged = queries.numbered, queries.merged_ids
    report.query_spellings_merged = queries.merged_spellings
    for note in queries.notes:
        report.note(note)
    agreeing, contradicting = drop_conflicts_of_merged_ids(queries)
    if contradicting is not None:
        report.contradicting_judgements_dropped = int((~agreeing).sum())
        report.note(
            f"{report.contradicting_judgements_dropped:,} judgements of merged query_ids contradict an earlier one "
            f"(first in row {contradicting + 1}): the earlier one counts"
        )
    in_file = np.arange(table.num_rows) if source.numbers is None else source.numbers - 1
    rows = in_file[agreeing]
    table = queries.table.filter(pa.array(agreeing))
    keep = readers.first_judgements(table, examples, rows)
    report.repeated_judgements_dropped = int((~keep).sum())
    return Judged(table.filter(pa.array(keep)), rows[keep], queries, source)


def import_texts(
    folder: Path,
    examples: Path,
    products: Path,
    report: ImportReport,
    grading: Grading,
    rules: AttributeRules | None = None,
) -> QueryIds:
    """Writes the judgements and products into ``folder``; ``products`` may be ``examples`` itself, a joined file."""
    joined = products.resolve() == examples.resolve()
    judged = read_judgements(folder, examples, report, grading)
    table = fill_columns(judged.table, examples, report)
    report.judgements = table.num_rows
    report.queries = len(pc.unique(table["query_id"]))
    if joined and "product_title" not in judged.source.columns:
        raise DataError(
            "there are no products: the judgements carry none",
            file=examples,
            column="product_title",
            hint="name the products file (--products)",
        )
    imported = import_products(folder, products, joined, report, rules=rules)
    check_products(table, imported.keys, judged.rows, examples, products.name)
    made_up = judged.queries.made_up or made_up_ids(examples)
    write_judgements(folder, table, made_up)
    return QueryIds(ids_of_given(judged.queries), made_up)


def _judgements(source: Source, report: ImportReport) -> pa.Table:
    batches = []
    start = 0
    for batch in readers.read_examples(source, lenient=True):
        batch, changed = without_markup(batch.select(_JUDGEMENT_COLUMNS), ("query",))
        report.texts_freed_of_html += changed
        empty = first_true(batch["query"].is_null())
        if empty is not None:
            raise Place(source.path, start, source.numbers).error(
                "holds nothing but HTML tags", "write the query as text", index=empty, column="query"
            )
        start += batch.num_rows
        batches.append(batch)
    if source.extent:
        report.judgement_rows, report.judgement_lines = source.extent.rows, source.extent.lines
    return pa.Table.from_batches(batches)


_FURTHER = {formats.TIMESTAMP: formats.TIMESTAMP_TYPE, formats.QUERY_KIND: pa.string()}
"""Columns that judgements may have, kept where a judgement has one."""
_JUDGEMENT_COLUMNS = [*formats.EXAMPLES_SCHEMA.names, *_FURTHER]


def write_judgements(folder: Path, table: pa.Table, made_up: tuple[int, int] | None) -> None:
    names = [*formats.EXAMPLES_SCHEMA.names]
    schema = formats.EXAMPLES_SCHEMA
    for name, kind in _FURTHER.items():
        if table[name].null_count < table.num_rows:
            names.append(name)
            schema = schema.append(pa.field(name, kind))
    table = table.select(names).cast(schema)
    if made_up:
        schema = schema.with_metadata({formats.NUMBERED_KEY: json.dumps(made_up)})
    write_batches(folder / formats.EXAMPLES_FILE, schema, table.to_batches(1 << 17))


def check_products(table: pa.Table, keys: pa.ChunkedArray, rows: np.ndarray, examples: Path, where: str) -> None:
    """Raises DataError where a judged product is not among ``keys``, the products of the file ``where``."""
    judged = product_keys(table["product_id"], table["product_locale"])
    missing = pc.invert(pc.is_in(judged, keys))
    if not pc.any(missing).as_py():
        return
    at = int(missing.to_numpy(zero_copy_only=False).argmax())
    count = len(pc.unique(judged.filter(missing)))
    raise DataError(
        f"product {table['product_id'][at]} (locale {table['product_locale'][at]}) is not among the products of "
        f"{where}" + (f", like {count - 1:,} more" if count > 1 else ""),
        file=examples,
        row=int(rows[at]) + 1,
        column="product_id",
        hint="add the product or remove its judgements",
    )


def _filled(table: pa.Table, name: str, value: object, report: ImportReport) -> pa.Table:
    missing = table[name].null_count
    if not missing:
        return table
    report.note(f"{name} is missing in {missing:,} rows: taken as {value}")
    return table.set_column(table.schema.get_field_index(name), name, pc.fill_null(table[name], value))


def fill_columns(table: pa.Table, file: Path, report: ImportReport, taken: np.ndarray | None = None) -> pa.Table:
    """The judgements with what the file lacks; new example_ids are above those of the file and ``taken``, int64."""
    for name, value in {"small_version": 1, "large_version": 1, "split": "train"}.items():
        table = _filled(table, name, value, report)
    ids = table["example_id"]
    if ids.null_count:
        report.note(f"example_id is missing in {ids.null_count:,} rows: numbered")
        numbers = pc.fill_null(ids, 0).to_numpy().copy()
        gaps = ids.is_null().to_numpy()
        known = numbers[~gaps] if taken is None else np.concatenate([numbers[~gaps], taken])
        numbers[gaps] = numbers_after(known, 0, int(gaps.sum()), file, "example_id")
        table = table.set_column(table.schema.get_field_index("example_id"), "example_id", pa.array(numbers))
    return table


# --- products ---------------------------------------------------------------------------------------------------------


def product_keys(ids: pa.ChunkedArray, locales: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.binary_join_element_wise(ids, locales, _KEY_SEPARATOR)


@dataclass(frozen=True)
class ImportedProducts:
    """Keys of the products that were written, and the columns that their file has."""

    keys: pa.ChunkedArray
    columns: tuple[str, ...]
    attributes: tuple[Attribute, ...] = ()


class Locales(Protocol):
    """Locales of products where a file does not name them."""

    def fill(self, ids: pa.Array, locales: pa.Array, place: Place) -> pa.Array:
        """``locales`` without nulls; ``place`` is where they stand."""
        ...


def import_products(
    folder: Path,
    path: Path,
    joined: bool,
    report: ImportReport,
    locales: Locales | None = None,
    rules: AttributeRules | None = None,
    known: Sequence[Attribute] = (),
) -> ImportedProducts:
    """Writes the products, the first row of each (id, locale), and the addresses of pictures that a feed has.

    Two passes over the file, so that only ids are held. A locale that the file does not name is "us", or what
    ``locales`` says. Further columns are kept as attributes by ``rules``, of the kinds of ``known``, the attributes of
    the data that the file is merged into; of a ``joined`` file those alone that ``rules`` declares or that are known.

    Raises:
        DataError: an id has two texts in one locale of a file of products. In a ``joined`` file of judgements, where a
            product stands once a judgement, the first row counts and rows unlike it are counted. A value of an
            attribute is not of its kind, or has two readings.
    """
    rules = rules or AttributeRules()
    with TemporaryDirectory(dir=folder) as scratch:
        source = feeds.open_products(path, Path(scratch), report)
        further = feeds.further_columns(source)
        chosen = further
        if joined:
            names = {*rules.declared, *(attribute.name for attribute in known)}
            chosen = [name for name in further if attribute_name(name) in names]
        reader = AttributeReader.of(path, chosen, rules, known, source.plain)
        return _import_products(folder, source, joined, report, locales, reader)


def _import_products(
    folder: Path,
    source: Source,
    joined: bool,
    report: ImportReport,
    locales: Locales | None,
    attributes: AttributeReader,
) -> ImportedProducts:
    path = source.path

    def rows_read() -> Iterator[tuple[pa.RecordBatch, Place]]:
        start = 0
        further = list(attributes.columns.values())
        for batch in readers.read_products(
            source, lenient=True, default_locale=None if locales else "us", further=further
        ):
            place = Place(path, start, source.numbers)
            if locales is not None:
                filled = locales.fill(batch["product_id"], batch["product_locale"], place)
                at = batch.schema.get_field_index("product_locale")
                batch = batch.set_column(at, batch.schema.field(at), filled)
            yield batch, place
            start += batch.num_rows

    chunks: list[pa.Array] = []

    def keys_noted() -> Iterator[tuple[pa.RecordBatch, Place]]:
        for batch, place in rows_read():
            chunks.append(product_keys(batch["product_id"], batch["product_locale"]))
            yield batch, place

    attributes.look(keys_noted())
    if source.extent and not joined:
        report.product_rows, report.product_lines = source.extent.rows, source.extent.lines
    keys = pa.chunked_array(chunks)
    codes = readers.codes(keys)
    _, first = np.unique(codes, return_index=True)
    keep = np.zeros(len(codes), dtype=bool)
    keep[first] = True
    repeated = np.bincount(codes)[codes] > 1
    seen: dict[int, tuple[int, dict[str, Any]]] = {}
    untitled = 0
    schema = formats.PRODUCTS_SCHEMA
    for attribute in attributes.attributes:
        schema = schema.append(attribute.field)
    texts = (*_PRODUCT_TEXTS, *(each.name for each in attributes.attributes if each.kind == "string"))

    def batches() -> Iterator[pa.RecordBatch]:
        nonlocal untitled
        for raw, place in rows_read():
            start = place.start
            own = [raw[name] for name in formats.PRODUCTS_SCHEMA.names]
            batch = pa.RecordBatch.from_arrays([*own, *attributes.convert(raw, place)], schema=schema)
            batch, changed = without_markup(batch, texts)
            report.texts_freed_of_html += changed
            batch = batch.set_column(1, batch.schema.field(1), pc.fill_null(batch["product_title"], ""))
            span = slice(start, start + batch.num_rows)
            for at in np.flatnonzero(repeated[span]):
                row = batch.slice(at, 1).to_pylist()[0]
                earlier, first_row = seen.setdefault(int(codes[start + at]), (source.number(start + int(at)), row))
                if first_row != row:
                    if not joined:
                        _refuse_two_texts(first_row, earlier, row, source.number(start + int(at)), path)
                    report.differing_products_dropped += 1
            kept = batch.filter(pa.array(keep[span]))
            untitled += pc.sum(pc.equal(kept["product_title"], "")).as_py() or 0
            yield kept

    report.products = _write_products(folder / formats.PRODUCTS_FILE, schema, batches(), attributes)
    found = attributes.finished()
    if feeds.IMAGE_LINK in source.columns and not joined:
        _write_image_urls(folder / formats.IMAGE_URLS_FILE, source, report)
    report.attributes = tuple(each.described for each in found)
    if found:
        report.note(f"columns of {path.name} kept as attributes: {', '.join(report.attributes)}")
    for note in attributes.notes:
        report.note(note)
    for each in found:
        row = source.several.get(attributes.columns[each.name])
        if row is not None:
            report.note(
                f"{each.name} has several values in row {row} of {path.name}: an attribute has one, so they are kept "
                "as one text, which filters and facets take whole"
            )
    used = set(attributes.columns.values())
    unused = [name for name in feeds.further_columns(source) if name not in used]
    report.columns_not_mapped = (*unused, *source.nested)
    if report.columns_not_mapped:
        report.note(f"columns of {path.name} that are not used: {', '.join(report.columns_not_mapped)}")
    report.repeated_products_dropped = len(codes) - report.products
    if report.differing_products_dropped:
        report.note("products that stand more than once with different texts: the first row counts")
    if untitled:
        report.note(f"{untitled:,} products have no title")
    if report.texts_freed_of_html:
        report.note(
            f"HTML was taken out of {report.texts_freed_of_html:,} texts: entities decoded, tags turned into text"
        )
    return ImportedProducts(keys, source.columns, found)


def _write_products(
    target: Path, schema: pa.Schema, batches: Iterator[pa.RecordBatch], attributes: AttributeReader
) -> int:
    """Writes the products with what is known of their attributes at the end, and returns how many."""
    rows = 0
    with pq.ParquetWriter(target, schema, compression="zstd", store_schema=False) as writer:
        for batch in batches:
            if batch.num_rows:
                writer.write_batch(batch)
                rows += batch.num_rows
        writer.add_key_value_metadata(metadata_of(attributes.finished()))
    return rows


def _refuse_two_texts(
    first: Mapping[str, Any], first_row: int, second: Mapping[str, Any], second_row: int, path: Path
) -> None:
    name = next(name for name in first if first[name] != second[name])
    here, there = (_quoted(row[name]) for row in (second, first))
    raise DataError(
        f"product {second['product_id']} (locale {second['product_locale']}) has {here} here and {there} in row "
        f"{first_row}",
        file=path,
        row=second_row,
        column=name,
        hint="keep one of the two rows",
    )


def _quoted(value: object) -> str:
    if value is None or isinstance(value, str):
        return repr((value or "")[:40])
    return str(shown(value))


def _write_image_urls(target: Path, source: Source, report: ImportReport) -> None:
    """The first address of each product that a feed has."""
    first: dict[str, str] = {}
    for batch in source.batches(["product_id", feeds.IMAGE_LINK]):
        for product, address in zip(*(column.to_pylist() for column in batch.columns), strict=True):
            if product is not None and (address or "").strip():
                first.setdefault(product, address.split("\n")[0].strip())
    if not first:
        return
    with pacsv.CSVWriter(target, formats.IMAGE_URLS_SCHEMA) as writer:
        writer.write_table(pa.table([list(first), list(first.values())], schema=formats.IMAGE_URLS_SCHEMA))
    report.image_urls = len(first)
