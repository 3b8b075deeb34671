"""Readers of the published formats: Arrow batches in canonical types, each row checked as it passes.

Parquet or CSV (also ``.csv.gz``), told apart by content. Ids of queries become int64 (``"1453.0"`` too), those of
products are strings whatever they look like, vectors ``list<float32>``, timestamps microseconds in UTC. Memory is
bounded by one batch. Every fault is a DataError that names file, row (from 1), column and hint.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from sqidflow.core.errors import DataError
from sqidflow.data import formats
from sqidflow.data.columns import (
    MAX_DESCRIPTION_CHARACTERS,
    MAX_TEXT_CHARACTERS,
    Place,
    VectorColumn,
    first_true,
    integers,
    product_ids,
    strings,
    timestamps,
)
from sqidflow.data.csv_files import AGAIN, first_line
from sqidflow.data.judgements import check_query_texts, codes, first_judgements, first_repeat
from sqidflow.data.sources import BATCH_ROWS, Source, check_file, need_columns, nonempty, open_source
from sqidflow.data.staging import rows_without_list

__all__ = (
    "BATCH_ROWS",
    "Examples",
    "check_file",
    "check_query_texts",
    "codes",
    "first_judgements",
    "first_repeat",
    "has_picture_vectors",
    "has_text_vectors",
    "load_examples",
    "open_source",
    "read_examples",
    "read_image_urls",
    "read_images",
    "read_product_features",
    "read_products",
    "read_query_features",
    "read_vector_lengths",
)

_PICTURES_AT_ONCE = 256
_FLAT_TEXT = re.compile(r"^(?:text_)?f(\d+)$")
_FLAT_IMAGE = re.compile(r"^image_f(\d+)$")

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
_PAIR_TEXTS = frozenset(("query", "product_title", "product_brand", "product_color"))
"""Texts that CsvExampleGen reads."""
_EXAMPLES_READ = formats.EXAMPLES_SCHEMA.append(pa.field(formats.TIMESTAMP, formats.TIMESTAMP_TYPE)).append(
    pa.field(formats.QUERY_KIND, pa.string())
)


@dataclass(frozen=True)
class Examples:
    """Judgements that agree with each other: ``table`` has the columns of ``formats.EXAMPLES_SCHEMA``, a timestamp
    and a kind (null where none was given); ``rows`` were read, ``duplicates`` of them repeated a judgement and were
    dropped."""

    table: pa.Table
    rows: int
    duplicates: int


# --- judgements -------------------------------------------------------------------------------------------------------


def read_examples(path: Path | str | Source, *, lenient: bool = False) -> Iterator[pa.RecordBatch]:
    """Judgements in batches: the columns of ``formats.EXAMPLES_SCHEMA``, ``event_timestamp`` and ``query_kind`` (null:
    none given).

    ``lenient``, for import: only query, product_id and esci_label must be there, a query_id may be missing, and the
    product columns of a joined file are passed on as strings. Absent columns are null.

    Raises DataError: a missing column, an unknown label, a null id, a query_id that is no integer, and what
    :func:`open_source` raises. What lies across rows is checked by :func:`load_examples`.
    """
    source = open_source(path)
    need_columns(source, ("query", "product_id", "esci_label") if lenient else formats.EXAMPLES_SCHEMA.names)
    return nonempty(source.path, _example_batches(source, lenient))


def _example_batches(source: Source, lenient: bool) -> Iterator[pa.RecordBatch]:
    extra = [n for n in formats.PRODUCTS_SCHEMA.names if n not in _EXAMPLES_READ.names] if lenient else []
    names = [*_EXAMPLES_READ.names, *extra, *([formats.QUERY_LOCALE] if lenient else [])]
    schema = pa.schema([*_EXAMPLES_READ, *((name, pa.string()) for name in extra if name in source.columns)])
    start = 0
    for batch in source.batches([name for name in names if name in source.columns]):
        place = Place(source.path, start, source.numbers)
        columns = []
        for column in schema:
            name = column.name
            if name == "product_locale" and formats.QUERY_LOCALE in batch.schema.names:
                columns.append(_locales(batch, place))
            elif name not in source.columns:
                columns.append(pa.nulls(batch.num_rows, column.type))
            elif name == formats.TIMESTAMP:
                columns.append(timestamps(batch[name], place, name))
            elif column.type == pa.int64():
                columns.append(integers(batch[name], place, name, required=not lenient))
            elif name == "product_id":
                columns.append(product_ids(batch[name], place, name))
            else:
                needed = name in ("query", "esci_label") or (not lenient and name in formats.EXAMPLES_SCHEMA.names)
                limit = MAX_TEXT_CHARACTERS if name in _PAIR_TEXTS else None
                columns.append(strings(batch[name], place, name, required=needed, limit=limit))
        out = pa.RecordBatch.from_arrays(columns, schema=schema)
        _check_labels(out["esci_label"], place)
        yield out
        start += batch.num_rows


def _locales(batch: pa.RecordBatch, place: Place) -> pa.Array:
    """The locale of each judgement where the file has that of the query, with or without that of the product."""
    of_query = strings(batch[formats.QUERY_LOCALE], place, formats.QUERY_LOCALE)
    if "product_locale" not in batch.schema.names:
        return of_query
    of_product = strings(batch["product_locale"], place, "product_locale")
    at = first_true(pc.not_equal(of_query, of_product))
    if at is not None:
        what = f"a query of {of_query[at]} is judged with a product of {of_product[at]}"
        raise place.error(what, "judge queries with products of their own locale", index=at, column="product_locale")
    return pc.coalesce(of_product, of_query)


def _check_labels(labels: pa.Array, place: Place) -> None:
    at = first_true(pc.invert(pc.is_in(labels, pa.array(formats.LABELS))))
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


# --- products ---------------------------------------------------------------------------------------------------------


def read_products(
    path: Path | str | Source,
    *,
    lenient: bool = False,
    default_locale: str | None = "us",
    further: Sequence[str] = (),
) -> Iterator[pa.RecordBatch]:
    """Products in batches, the columns of ``formats.PRODUCTS_SCHEMA``; a missing title is an empty string.

    ``lenient``, for import: only product_id and product_title must be there; absent columns are null, a missing locale
    is ``default_locale``. Columns ``further`` of the file are behind those, as they are. Raises DataError: a missing
    column, a null id, text that is not UTF-8. That an id stands once is for the caller to check
    (``sqidflow.data.check``).
    """
    source = open_source(path)
    need_columns(source, ("product_id", "product_title") if lenient else formats.PRODUCTS_SCHEMA.names)
    return nonempty(source.path, _product_batches(source, lenient, default_locale, further))


def _product_batches(
    source: Source, lenient: bool, default_locale: str | None, further: Sequence[str]
) -> Iterator[pa.RecordBatch]:
    start = 0
    for batch in source.batches(
        [*(name for name in formats.PRODUCTS_SCHEMA.names if name in source.columns), *further]
    ):
        place = Place(source.path, start, source.numbers)
        columns = []
        for name in formats.PRODUCTS_SCHEMA.names:
            if name not in source.columns:
                column = pa.nulls(batch.num_rows, pa.string())
            elif name == "product_id":
                column = product_ids(batch[name], place, name)
            else:
                needed = name == "product_locale" and not lenient
                limit = MAX_TEXT_CHARACTERS if name in _PAIR_TEXTS else MAX_DESCRIPTION_CHARACTERS
                column = strings(batch[name], place, name, required=needed, limit=limit)
            if name == "product_title":
                column = pc.fill_null(column, "")
            elif name == "product_locale" and default_locale is not None:
                column = pc.fill_null(column, default_locale)
            columns.append(column)
        schema = formats.PRODUCTS_SCHEMA
        for name in further:
            columns.append(batch[name])
            schema = schema.append(pa.field(name, batch[name].type))
        yield pa.RecordBatch.from_arrays(columns, schema=schema)
        start += batch.num_rows


# --- vectors ----------------------------------------------------------------------------------------------------------


def read_query_features(
    path: Path | str | Source, *, allow_missing: bool = False, digests: bool = False, texts: bool = False
) -> Iterator[pa.RecordBatch]:
    """Query vectors in batches: query_id int64, clip_text_features list<float32>, event_timestamp (null: none given).

    Reads lists (``clip_text_features``) and the flat forms ``f0..fN`` and ``text_f0..N``, parquet or CSV.

    Args:
        allow_missing: a row may be without a vector.
        digests: also text_digest, what the vector was made from (null: unknown).
        texts: also query and query_locale (null: not in the file); query_id may then be missing.

    Raises DataError: a missing column, vectors of two lengths, NaN or infinite values, an all-zero vector, a null or
    non-integer id, and, unless ``allow_missing``, a row without a vector.
    """
    source = open_source(path)
    if not (texts and "query" in source.columns):
        need_columns(source, ("query_id",))
    more = [pa.field(formats.TEXT_DIGEST, pa.string())] if digests else []
    more += [pa.field("query", pa.string()), pa.field(formats.QUERY_LOCALE, pa.string())] if texts else []
    return nonempty(source.path, _feature_batches(source, _QUERY_SCHEMA, (formats.TEXT_VECTOR,), allow_missing, more))


def read_product_features(
    path: Path | str | Source, *, allow_missing: bool = False, digests: bool = False, pictures_alone: bool = False
) -> Iterator[pa.RecordBatch]:
    """Product vectors in batches: product_id, clip_text_features, clip_image_features (null: no picture),
    event_timestamp (null: none given).

    Forms and errors as of :func:`read_query_features`; ``allow_missing`` is about the text vector, ``digests`` brings
    text_digest and image_digest too. ``pictures_alone``: a file with picture vectors may have no text vectors.
    """
    source = open_source(path)
    need_columns(source, ("product_id",))
    needed = () if pictures_alone and has_picture_vectors(source) else (formats.TEXT_VECTOR,)
    more = [pa.field(name, pa.string()) for name in (formats.TEXT_DIGEST, formats.IMAGE_DIGEST)] if digests else []
    return nonempty(source.path, _feature_batches(source, _PRODUCT_SCHEMA, needed, allow_missing or not needed, more))


def read_vector_lengths(path: Path, *, of_products: bool) -> Iterator[pa.RecordBatch]:
    """What :func:`read_product_features` or :func:`read_query_features` give with digests, a row may be without a
    vector; in place of each vector is its length, int64 (null: none).

    Of parquet lists the lengths are those that the footer says, where it does: ids and digests are all that is read,
    and what the vectors hold is not checked.

    Raises DataError: as those do, but for what only the vectors show.
    """
    source = open_source(path)
    schema = _PRODUCT_SCHEMA if of_products else _QUERY_SCHEMA
    names = (formats.TEXT_DIGEST, formats.IMAGE_DIGEST) if of_products else (formats.TEXT_DIGEST,)
    more = [pa.field(name, pa.string()) for name in names]
    flat = formats.TEXT_VECTOR not in source.columns and has_text_vectors(source)
    if source.layout or flat or (formats.IMAGE_VECTOR not in source.columns and has_picture_vectors(source)):
        batches: Iterator[pa.RecordBatch] = map(_with_lengths, _feature_batches(source, schema, (), True, more))
    else:
        need_columns(source, (schema.names[0],))
        batches = _lengths_of_groups(source, schema, more)
    return nonempty(source.path, batches)


def _with_lengths(batch: pa.RecordBatch) -> pa.RecordBatch:
    for at, column in enumerate(batch.schema):
        if pa.types.is_list(column.type):
            lengths = pc.list_value_length(batch.column(at)).cast(pa.int64())
            batch = batch.set_column(at, column.name, lengths)
    return batch


def _lengths_of_groups(source: Source, schema: pa.Schema, more: Sequence[pa.Field]) -> Iterator[pa.RecordBatch]:
    key, vectors = schema.names[0], schema.names[1:-1]
    whole = pa.schema([(item.name, pa.int64() if item.name in vectors else item.type) for item in [*schema, *more]])
    columns_read = [name for name in whole.names if name in source.columns and name not in vectors]
    start = 0
    try:
        with pq.ParquetFile(source.path, pre_buffer=False) as file:
            for group in range(file.metadata.num_row_groups):
                table = file.read_row_group(group, columns=columns_read)
                place = Place(source.path, start)
                columns = []
                for name in whole.names:
                    if name not in source.columns:
                        columns.append(pa.nulls(table.num_rows, whole.field(name).type))
                    elif name in vectors:
                        columns.append(_lengths(file, group, name))
                    else:
                        column = pa.concat_arrays(table[name].chunks)
                        if name == formats.TIMESTAMP:
                            columns.append(timestamps(column, place, name))
                        elif name != key:
                            columns.append(strings(column, place, name))
                        else:
                            columns.append((integers if key == "query_id" else product_ids)(column, place, key))
                start += table.num_rows
                yield pa.RecordBatch.from_arrays(columns, schema=whole)
    except (pa.ArrowInvalid, EOFError, OSError) as error:
        raise DataError(f"is damaged: {first_line(error)}", file=source.path, hint=AGAIN) from error


def _lengths(file: pq.ParquetFile, group: int, name: str) -> pa.Array:
    """int64 [rows]: the length of each vector of a row group, null where there is none."""
    about = file.metadata.row_group(group)
    leaves = [about.column(at) for at in range(about.num_columns)]
    leaf = next(leaf for leaf in leaves if leaf.path_in_schema.split(".")[0] == name)
    rows, nulls = about.num_rows, None
    if leaf.statistics is not None and leaf.statistics.has_null_count:
        nulls = leaf.statistics.null_count
    else:
        nulls = rows_without_list(file, group, name, leaf.num_values)
    # A row without a vector is one null among the numbers.
    if nulls == leaf.num_values == rows:
        return pa.nulls(rows, pa.int64())
    if nulls == 0 and leaf.num_values > rows and leaf.num_values % rows == 0:
        return pa.array(np.full(rows, leaf.num_values // rows))
    column = file.read_row_group(group, columns=[name]).column(0)
    if pa.types.is_null(column.type):
        return pa.nulls(rows, pa.int64())
    lengths = pa.concat_arrays(pc.list_value_length(column).chunks).cast(pa.int64())
    return pc.if_else(pc.equal(lengths, 0), pa.scalar(None, pa.int64()), lengths)


def has_text_vectors(source: Source) -> bool:
    return formats.TEXT_VECTOR in source.columns or any(_FLAT_TEXT.match(name) for name in source.columns)


def has_picture_vectors(source: Source) -> bool:
    return formats.IMAGE_VECTOR in source.columns or any(_FLAT_IMAGE.match(name) for name in source.columns)


def _flat_columns(source: Source, pattern: re.Pattern[str]) -> list[str]:
    """Columns of a flat vector in the order of their numbers. Raises DataError where a number is missing."""
    numbered = {int(match[1]): name for name in source.columns if (match := pattern.match(name))}
    for expected in range(len(numbered)):
        if expected not in numbered:
            like = re.sub(r"\d+$", str(expected), next(iter(numbered.values())))
            raise DataError("the column is missing", file=source.path, column=like, hint="vectors need every f0 .. fN")
    return [numbered[number] for number in sorted(numbered)]


def _feature_batches(
    source: Source, schema: pa.Schema, needed: Sequence[str], allow_missing: bool, more: Sequence[pa.Field]
) -> Iterator[pa.RecordBatch]:
    """Batches of ``schema`` and the columns ``more``, which are null where the file does not have them."""
    key = schema.names[0]
    readers: dict[str, tuple[VectorColumn, list[str]]] = {}
    patterns = {formats.TEXT_VECTOR: _FLAT_TEXT, formats.IMAGE_VECTOR: _FLAT_IMAGE}
    for name in schema.names[1:-1]:
        flat = [] if name in source.columns else _flat_columns(source, patterns[name])
        if name in needed and not flat:
            # picture vectors are not text vectors by another name
            need_columns(source, (name,), never=(formats.IMAGE_VECTOR,))
        if name in source.columns and source.layout:
            hint = "use parquet, or columns f0..fN"
            raise DataError("lists of numbers do not go into CSV", file=source.path, column=name, hint=hint)
        readers[name] = (VectorColumn(name, required=name == formats.TEXT_VECTOR and not allow_missing), flat)
    flat_names = list(itertools.chain.from_iterable(flat for _, flat in readers.values()))
    further = _further_columns(source, more)
    asked = dict.fromkeys([key, *readers, formats.TIMESTAMP, *further.values()])
    columns_read = [name for name in asked if name in source.columns] + flat_names
    whole = pa.schema([*schema, *more])
    start = 0
    for batch in source.batches(columns_read, types=dict.fromkeys(flat_names, pa.float32())):
        place = Place(source.path, start, source.numbers)
        rows = batch.num_rows
        if key not in source.columns:
            columns = [pa.nulls(rows, pa.int64())]
        elif key == "query_id":
            columns = [integers(batch[key], place, key, required="query" not in further)]
        else:
            columns = [product_ids(batch[key], place, key)]
        for name, (reader, flat) in readers.items():
            if flat:
                columns.append(_from_flat(reader, batch, flat, place))
            elif name in source.columns:
                columns.append(reader.lists(batch[name], place))
            else:
                columns.append(pa.nulls(rows, formats.VECTOR_TYPE))
        if formats.TIMESTAMP in source.columns:
            columns.append(timestamps(batch[formats.TIMESTAMP], place, formats.TIMESTAMP))
        else:
            columns.append(pa.nulls(rows, formats.TIMESTAMP_TYPE))
        for item in more:
            if item.name in further:
                named = further[item.name]
                columns.append(strings(batch[named], place, named, required=named == "query"))
            else:
                columns.append(pa.nulls(rows, pa.string()))
        yield pa.RecordBatch.from_arrays([c.cast(f.type) for c, f in zip(columns, whole, strict=True)], schema=whole)
        start += rows


def _further_columns(source: Source, more: Sequence[pa.Field]) -> dict[str, str]:
    """The column of the file for each of ``more`` that it has; a query's locale may be called the product's."""
    named = {item.name: item.name for item in more if item.name in source.columns}
    if any(item.name == formats.QUERY_LOCALE for item in more) and "product_locale" in source.columns:
        named.setdefault(formats.QUERY_LOCALE, "product_locale")
    return named


def _from_flat(reader: VectorColumn, batch: pa.RecordBatch, flat: Sequence[str], place: Place) -> pa.ListArray:
    matrix = np.empty((batch.num_rows, len(flat)), dtype=np.float32)
    for at, name in enumerate(flat):
        column = batch[name]
        if not (pa.types.is_floating(column.type) or pa.types.is_integer(column.type) or pa.types.is_null(column.type)):
            raise place.error(f"holds {column.type}, not numbers", "store floats", column=name)
        matrix[:, at] = column.cast(pa.float32(), safe=False).to_numpy(zero_copy_only=False)
    present = np.asarray(~np.isnan(matrix).all(axis=1))
    return reader.rows(matrix[present], present, place, flat)


# --- pictures ---------------------------------------------------------------------------------------------------------


def read_image_urls(path: Path | str | Source) -> Iterator[pa.RecordBatch]:
    """Addresses of pictures in batches: product_id, image_url (null: none). Raises DataError."""
    source = open_source(path)
    need_columns(source, formats.IMAGE_URLS_SCHEMA.names)

    def batches() -> Iterator[pa.RecordBatch]:
        start = 0
        for batch in source.batches(formats.IMAGE_URLS_SCHEMA.names):
            place = Place(source.path, start, source.numbers)
            columns = [
                product_ids(batch["product_id"], place, "product_id"),
                strings(batch["image_url"], place, "image_url"),
            ]
            broken = first_true(pc.match_substring_regex(columns[1], r"[\r\n]"))
            if broken is not None:
                hint = "check the quotes of this row"
                raise place.error("the address holds a line break", hint, index=broken, column="image_url")
            yield pa.RecordBatch.from_arrays(columns, schema=formats.IMAGE_URLS_SCHEMA)
            start += batch.num_rows

    return nonempty(source.path, batches())


def read_images(path: Path | str) -> Iterator[pa.RecordBatch]:
    """Pictures in small batches: product_id, image (PNG or JPEG bytes). Raises DataError for other bytes."""
    source = open_source(path)
    need_columns(source, formats.IMAGES_SCHEMA.names)
    if source.layout:
        raise DataError("pictures do not go into CSV", file=source.path, hint="use parquet with product_id, image")

    def batches() -> Iterator[pa.RecordBatch]:
        start = 0
        for batch in source.batches(formats.IMAGES_SCHEMA.names, rows=_PICTURES_AT_ONCE):
            place = Place(source.path, start, source.numbers)
            ids = product_ids(batch["product_id"], place, "product_id")
            if not (pa.types.is_binary(batch["image"].type) or pa.types.is_large_binary(batch["image"].type)):
                raise place.error(f"holds {batch['image'].type}, not bytes", "store PNG or JPEG files", column="image")
            images = batch["image"].cast(pa.binary())
            heads = pc.binary_slice(images, 0, 3)
            known = pc.is_in(heads, pa.array([b"\x89PN", b"\xff\xd8\xff"], pa.binary()))
            at = first_true(pc.or_(pc.invert(known), images.is_null()))
            if at is not None:
                raise place.error("is no PNG or JPEG picture", "convert it or remove the row", index=at, column="image")
            yield pa.RecordBatch.from_arrays([ids, images], schema=formats.IMAGES_SCHEMA)
            start += batch.num_rows

    return nonempty(source.path, batches())
