"""Judgements and products of an import: read, completed, numbered, and written in the published form."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sqidflow.core.errors import DataError
from sqidflow.data import formats, readers
from sqidflow.data.columns import Place, first_true
from sqidflow.data.import_report import ImportReport
from sqidflow.data.markup import without_markup
from sqidflow.data.query_numbers import (
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


def import_texts(folder: Path, examples: Path, products: Path, report: ImportReport) -> QueryIds:
    """Writes the judgements and products into ``folder``; ``products`` may be ``examples`` itself, a joined file."""
    joined = products.resolve() == examples.resolve()
    source = readers.open_source(examples)
    table = _judgements(source, report)
    table = _filled(table, "product_locale", "us", report)
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
    rows = np.flatnonzero(agreeing)
    table = queries.table.filter(pa.array(agreeing))
    keep = readers.first_judgements(table, examples, rows)
    report.repeated_judgements_dropped = int((~keep).sum())
    rows = rows[keep]
    table = _fill_columns(table.filter(pa.array(keep)), examples, report)
    report.judgements = table.num_rows
    report.queries = len(pc.unique(table["query_id"]))
    if joined and "product_title" not in source.columns:
        raise DataError(
            "there are no products: the judgements carry none",
            file=examples,
            column="product_title",
            hint="name the products file (--products)",
        )
    keys = import_products(folder, products, joined, report)
    _check_products(table, keys, rows, examples, products)
    made_up = queries.made_up or made_up_ids(examples)
    _write_judgements(folder, table, made_up)
    return QueryIds(ids_of_given(queries), made_up)


def _judgements(source: Source, report: ImportReport) -> pa.Table:
    batches = []
    start = 0
    for batch in readers.read_examples(source, lenient=True):
        batch, changed = without_markup(batch.select(_JUDGEMENT_COLUMNS), ("query",))
        report.texts_freed_of_html += changed
        empty = first_true(batch["query"].is_null())
        if empty is not None:
            raise Place(source.path, start).error(
                "holds nothing but HTML tags", "write the query as text", index=empty, column="query"
            )
        start += batch.num_rows
        batches.append(batch)
    if source.extent:
        report.judgement_rows, report.judgement_lines = source.extent.rows, source.extent.lines
    return pa.Table.from_batches(batches)


_JUDGEMENT_COLUMNS = [*formats.EXAMPLES_SCHEMA.names, formats.TIMESTAMP]


def _write_judgements(folder: Path, table: pa.Table, made_up: tuple[int, int] | None) -> None:
    names = [*formats.EXAMPLES_SCHEMA.names]
    schema = formats.EXAMPLES_SCHEMA
    if table[formats.TIMESTAMP].null_count < table.num_rows:
        names.append(formats.TIMESTAMP)
        schema = schema.append(pa.field(formats.TIMESTAMP, formats.TIMESTAMP_TYPE))
    table = table.select(names).cast(schema)
    if made_up:
        schema = schema.with_metadata({formats.NUMBERED_KEY: json.dumps(made_up)})
    write_batches(folder / formats.EXAMPLES_FILE, schema, table.to_batches(1 << 17))


def _check_products(table: pa.Table, keys: pa.ChunkedArray, rows: np.ndarray, examples: Path, products: Path) -> None:
    judged = _keys(table["product_id"], table["product_locale"])
    missing = pc.invert(pc.is_in(judged, keys))
    if not pc.any(missing).as_py():
        return
    at = int(missing.to_numpy(zero_copy_only=False).argmax())
    count = len(pc.unique(judged.filter(missing)))
    raise DataError(
        f"product {table['product_id'][at]} (locale {table['product_locale'][at]}) is not among the products of "
        f"{products.name}" + (f", like {count - 1:,} more" if count > 1 else ""),
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


def _fill_columns(table: pa.Table, file: Path, report: ImportReport) -> pa.Table:
    for name, value in {"small_version": 1, "large_version": 1, "split": "train"}.items():
        table = _filled(table, name, value, report)
    ids = table["example_id"]
    if ids.null_count:
        report.note(f"example_id is missing in {ids.null_count:,} rows: numbered")
        numbers = pc.fill_null(ids, 0).to_numpy().copy()
        gaps = ids.is_null().to_numpy()
        numbers[gaps] = numbers_after(numbers[~gaps], 0, int(gaps.sum()), file, "example_id")
        table = table.set_column(table.schema.get_field_index("example_id"), "example_id", pa.array(numbers))
    return table


# --- products ---------------------------------------------------------------------------------------------------------


def _keys(ids: pa.ChunkedArray, locales: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.binary_join_element_wise(ids, locales, _KEY_SEPARATOR)


def import_products(folder: Path, path: Path, joined: bool, report: ImportReport) -> pa.ChunkedArray:
    """Writes the products, the first row of each (id, locale); returns their keys.

    Two passes over the file, so that only ids are held.

    Raises:
        DataError: an id has two texts in one locale of a file of products. In a ``joined`` file of judgements, where a
            product stands once a judgement, the first row counts and rows unlike it are counted.
    """
    source = readers.open_source(path)
    chunks = [
        _keys(batch["product_id"], batch["product_locale"]) for batch in readers.read_products(source, lenient=True)
    ]
    if source.extent and not joined:
        report.product_rows, report.product_lines = source.extent.rows, source.extent.lines
    keys = pa.chunked_array(chunks)
    codes = readers.codes(keys)
    _, first = np.unique(codes, return_index=True)
    keep = np.zeros(len(codes), dtype=bool)
    keep[first] = True
    repeated = np.bincount(codes)[codes] > 1
    seen: dict[int, tuple[int, dict[str, str | None]]] = {}
    untitled = 0

    def batches() -> Iterator[pa.RecordBatch]:
        nonlocal untitled
        start = 0
        for batch in readers.read_products(source, lenient=True):
            batch, changed = without_markup(batch, _PRODUCT_TEXTS)
            report.texts_freed_of_html += changed
            batch = batch.set_column(1, batch.schema.field(1), pc.fill_null(batch["product_title"], ""))
            span = slice(start, start + batch.num_rows)
            for at in np.flatnonzero(repeated[span]):
                row = batch.slice(at, 1).to_pylist()[0]
                earlier, first_row = seen.setdefault(int(codes[start + at]), (start + int(at), row))
                if first_row != row:
                    if not joined:
                        _refuse_two_texts(first_row, earlier, row, start + int(at), path)
                    report.differing_products_dropped += 1
            kept = batch.filter(pa.array(keep[span]))
            untitled += pc.sum(pc.equal(kept["product_title"], "")).as_py() or 0
            yield kept
            start += batch.num_rows

    report.products = write_batches(folder / formats.PRODUCTS_FILE, formats.PRODUCTS_SCHEMA, batches())
    report.repeated_products_dropped = len(codes) - report.products
    if report.differing_products_dropped:
        report.note("products that stand more than once with different texts: the first row counts")
    if untitled:
        report.note(f"{untitled:,} products have no title")
    if report.texts_freed_of_html:
        report.note(
            f"HTML was taken out of {report.texts_freed_of_html:,} texts: entities decoded, tags turned into text"
        )
    return keys


def _refuse_two_texts(
    first: dict[str, str | None], first_row: int, second: dict[str, str | None], second_row: int, path: Path
) -> None:
    name = next(name for name in formats.PRODUCTS_SCHEMA.names if first[name] != second[name])
    here, there = (repr((row[name] or "")[:40]) for row in (second, first))
    raise DataError(
        f"product {second['product_id']} (locale {second['product_locale']}) has {here} here and {there} in row "
        f"{first_row + 1}",
        file=path,
        row=second_row + 1,
        column=name,
        hint="keep one of the two rows",
    )
