"""The catalogue as ``prepare`` writes it: a row a product, judged or not, with texts in the form that training reads.

``artifacts/prepared/products.parquet`` is what indexing reads; nothing after ``prepare`` reads the raw products.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from sqidflow.core.errors import DataError
from sqidflow.data import readers
from sqidflow.data.attributes import TYPES, Attribute, attributes_of, metadata_of
from sqidflow.data.lookups import Places
from sqidflow.ranking import features

LOCALE = "product_locale"
DESCRIPTION = "product_description"
BULLET_POINTS = "product_bullet_point"
JUDGED = "judged"
HAS_TEXT_VECTOR = "has_text_vector"
HAS_PICTURE_VECTOR = "has_picture_vector"
SCHEMA = pa.schema(
    [
        (features.PRODUCT_ID, pa.string()),
        (LOCALE, pa.string()),
        (features.TITLE, pa.string()),
        (features.BRAND, pa.string()),
        (features.COLOR, pa.string()),
        (DESCRIPTION, pa.string()),
        (BULLET_POINTS, pa.string()),
        (JUDGED, pa.bool_()),
        (HAS_TEXT_VECTOR, pa.bool_()),
        (HAS_PICTURE_VECTOR, pa.bool_()),
    ]
)
"""The columns that every catalogue has; between them are those of its attributes."""
ATTRIBUTE_PREFIX = "attr_"
_FLAGS = (JUDGED, HAS_TEXT_VECTOR, HAS_PICTURE_VECTOR)
_TEXTS_SCHEMA = pa.schema([field for field in SCHEMA if field.name not in _FLAGS])
_RANKED_TEXTS = (features.TITLE, features.BRAND, features.COLOR)
# Everything at which some reader ends a line, and every other blank: CsvExampleGen reads line by line.
_BLANKS = r"[\s\p{Z}\x00-\x20\x7f\x{0085}]+"


def text_form(column: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    """The one form of a text that rankers read: each run of blanks, line ends among them, is one space.

    Nulls become empty, and nothing stands before the first or after the last character that is no blank.
    """
    return pc.utf8_trim(pc.replace_substring_regex(pc.fill_null(column, ""), _BLANKS, " "), characters=" ")


@dataclass(frozen=True)
class ProductTexts:
    """What one pass over the raw products gives.

    ``judged``: title, brand and colour of every judged (product, locale), with its row in the file. ``ids``: the
    products of the catalogue, in the order of the file that was written. ``titles``: product_id and product_title of
    every row, of whatever locale.
    """

    judged: pa.Table
    ids: pa.Array
    titles: pa.Table


def write_texts(file: Path, target: Path | None, judged: pa.Table, locale: str | None) -> ProductTexts:
    """Stream the raw products: the catalogue's texts into ``target`` (None: nowhere), those of judgements to memory.

    A product that stands in several locales has the texts of ``locale``; where that is None, of the locale of its first
    judgement, or, without one, of its first row.

    Args:
        judged: the judgements in use, with ``product_id`` and ``product_locale``.

    Raises:
        DataError: a product stands twice in one locale, or no product is of ``locale``.
    """
    judged_in = first_locales(judged)
    judged_ids = pa.array(judged_in.keys(), pa.string())
    keys: list[pa.Table] = []
    titles: list[pa.Table] = []
    texts: list[pa.Table] = []
    written: list[pa.Array] = []
    seen: set[str] = set()
    other_locales: dict[str, None] = {}
    start = 0
    attributes = attributes_of(file) if target is not None and file.suffix == ".parquet" else ()
    names = [each.name for each in attributes]
    schema = _TEXTS_SCHEMA.with_metadata(metadata_of(attributes))
    for each in attributes:
        schema = schema.append(pa.field(ATTRIBUTE_PREFIX + each.name, TYPES[each.kind]))
    writer = pq.ParquetWriter(target, schema, compression="zstd") if target is not None else None
    try:
        for batch in readers.read_products(file, further=names):
            rows = pa.array(np.arange(start + 1, start + 1 + batch.num_rows))
            start += batch.num_rows
            for name in _RANKED_TEXTS:
                batch = batch.set_column(batch.schema.get_field_index(name), name, text_form(batch[name]))
            of_judged = pc.is_in(batch[features.PRODUCT_ID], judged_ids)
            part = pa.table(
                [*(batch[name] for name in (features.PRODUCT_ID, LOCALE, *_RANKED_TEXTS)), rows],
                names=[features.PRODUCT_ID, LOCALE, *_RANKED_TEXTS, "product_row"],
            )
            texts.append(part.filter(of_judged))
            titles.append(part.select([features.PRODUCT_ID, features.TITLE]))
            inside = pc.equal(batch[LOCALE], locale) if locale is not None else pa.array([True] * batch.num_rows)
            if locale is not None and len(other_locales) < 8:
                other_locales |= dict.fromkeys(pc.unique(batch[LOCALE]).to_pylist())
            checked = part.select([features.PRODUCT_ID, LOCALE, "product_row"])
            keys.append(checked.filter(pc.or_(inside, of_judged)))
            if writer is None:
                continue
            if locale is None:
                inside = pa.array(_of_its_locale(batch, judged_in, seen))
            chosen = batch.filter(inside)
            columns = [chosen[name] for name in _TEXTS_SCHEMA.names]
            columns += [_attribute(chosen[each.name], each) for each in attributes]
            writer.write_batch(pa.RecordBatch.from_arrays(columns, names=schema.names).cast(schema))
            written.append(chosen[features.PRODUCT_ID])
    finally:
        if writer is not None:
            writer.close()
    _check_repeats(pa.concat_tables(keys).combine_chunks(), file)
    ids = pa.chunked_array(written, pa.string()).combine_chunks()
    if writer is not None and not len(ids):
        there = ", ".join(sorted(other_locales))
        raise DataError(
            f"no product is left: locale keeps {locale}, the file has {there}",
            file=file,
            column=LOCALE,
            hint=f"add --set data.locale={min(other_locales)}, or set it in params.yaml; null keeps all",
        )
    return ProductTexts(pa.concat_tables(texts).combine_chunks(), ids, pa.concat_tables(titles))


def _attribute(column: pa.Array, attribute: Attribute) -> pa.Array:
    """An attribute's values as they are filtered by: texts in their one form, null where nothing is left."""
    if attribute.kind != "string":
        return column
    texts = text_form(column)
    return pc.if_else(pc.equal(texts, ""), pa.scalar(None, pa.string()), texts)


def first_locales(judged: pa.Table) -> dict[str, str]:
    """The locale of each product's first judgement."""
    first: dict[str, str] = {}
    for product, locale in zip(judged[features.PRODUCT_ID].to_pylist(), judged[LOCALE].to_pylist()):
        first.setdefault(product, locale)
    return first


def judged_in_several_locales(judged: pa.Table) -> int:
    """How many products have judgements in more than one locale."""
    pairs = judged.select([features.PRODUCT_ID, LOCALE]).group_by([features.PRODUCT_ID, LOCALE]).aggregate([])
    return pairs.num_rows - len(pc.unique(pairs[features.PRODUCT_ID]))


def _of_its_locale(batch: pa.RecordBatch, judged_in: Mapping[str, str], seen: set[str]) -> list[bool]:
    """Which rows have a product's texts, where rows of all locales may."""
    chosen = []
    for product, locale in zip(batch[features.PRODUCT_ID].to_pylist(), batch[LOCALE].to_pylist()):
        wanted = judged_in.get(product)
        is_it = product not in seen if wanted is None else locale == wanted
        if is_it:
            seen.add(product)
        chosen.append(is_it)
    return chosen


def _check_repeats(keys: pa.Table, file: Path) -> None:
    """Raises DataError where a product stands twice in one locale: which of the texts is meant cannot be known."""
    if not keys.num_rows:
        return
    repeat = readers.first_repeat([keys[features.PRODUCT_ID], keys[LOCALE]])
    if repeat is not None:
        second, first = (keys["product_row"][at].as_py() for at in repeat)
        raise DataError(
            f"product {keys[features.PRODUCT_ID][repeat[0]]} stands in row {first} too",
            file=file,
            row=second,
            column=features.PRODUCT_ID,
            hint="keep one of the two rows",
        )


def add_flags(texts: Path, target: Path, judged: pa.Array, with_text: pa.Array, with_picture: pa.Array) -> None:
    """Write the catalogue: the texts with what is known of each product. Arguments two to four are product ids."""

    schema = pq.read_schema(texts)
    for name in _FLAGS:
        schema = schema.append(SCHEMA.field(name))
    places = [Places(known) for known in (judged, with_text, with_picture)]

    def batches() -> Iterator[pa.RecordBatch]:
        with pq.ParquetFile(texts) as file:
            for batch in file.iter_batches(readers.BATCH_ROWS):
                ids = batch[features.PRODUCT_ID]
                flags = [known.has(ids) for known in places]
                yield pa.RecordBatch.from_arrays([*batch.columns, *flags], schema=schema)

    with pq.ParquetWriter(target, schema, compression="zstd") as writer:
        for batch in batches():
            writer.write_batch(batch)
