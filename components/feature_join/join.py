"""Pairs and vectors into joined rows: Arrow and NumPy only, without TFX, Feast or files."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from modules import features

TEXTS = (features.LABEL, features.QUERY, features.TITLE, features.BRAND, features.COLOR)
TIMESTAMP_TYPE = pa.timestamp("us", tz="UTC")
PAIRS_SCHEMA = pa.schema(
    [
        (features.QUERY_ID, pa.int64()),
        (features.PRODUCT_ID, pa.string()),
        *((name, pa.string()) for name in TEXTS),
        (features.EVENT_TIMESTAMP, pa.string()),
    ]
)
"""One judged pair a row, as CsvExampleGen read it; no nulls, an absent text is empty."""


@dataclass(frozen=True)
class Distinct:
    """The distinct (id, timestamp) of a table of n pairs: m ``ids`` and ``timestamps``, and the row of each pair.

    ``position`` int64 [n]: pair i has ``ids[position[i]]``.
    """

    ids: pa.Array
    timestamps: pa.Array
    position: np.ndarray


def pairs_table(batches: Iterable[pa.RecordBatch], known_products: Callable[[], Sequence[str]]) -> pa.Table:
    """Decoded examples as a table of ``PAIRS_SCHEMA``, sorted by query and product.

    CsvExampleGen guesses each column's type from its values: a text column of numbers alone comes as numbers, one
    without any value does not come at all, and a missing value is an empty list.

    Args:
        batches: as ``tfx_bsl`` decodes them, a list column a feature.
        known_products: gives all product ids; called where ids of digits were read as numbers, which have lost their
            leading zeros.

    Raises:
        ValueError: a pair without query id, or a numeric product id that is none or several of the known ones.
    """
    parts = []
    for batch in batches:
        columns = {name: _first_values(batch, name) for name in PAIRS_SCHEMA.names}
        if columns[features.QUERY_ID].null_count:
            raise ValueError("a pair has no query_id")
        product = columns[features.PRODUCT_ID]
        if not _is_text(product.type):
            columns[features.PRODUCT_ID] = _restore_ids(product, known_products())
        parts.append(pa.table([_as(columns[item.name], item.type) for item in PAIRS_SCHEMA], schema=PAIRS_SCHEMA))
    table = pa.concat_tables(parts) if parts else PAIRS_SCHEMA.empty_table()
    return table.sort_by([(features.QUERY_ID, "ascending"), (features.PRODUCT_ID, "ascending")]).combine_chunks()


def distinct(pairs: pa.Table, id_column: str) -> Distinct:
    """What to ask the feature store for: each (id, timestamp) of the pairs once, sorted by id.

    Raises:
        ValueError: a timestamp is not ISO 8601.
    """
    stamps = pc.cast(pairs[features.EVENT_TIMESTAMP], TIMESTAMP_TYPE).combine_chunks()
    # Codes instead of values: two integers a row identify the pair of id and timestamp.
    ids = _dictionary(pairs[id_column])
    times = _dictionary(stamps)
    id_codes = ids.indices.to_numpy().astype(np.int64)
    codes = id_codes * len(times.dictionary) + times.indices.to_numpy()
    unique, position = np.unique(codes, return_inverse=True)
    id_rows, time_rows = np.divmod(unique, max(len(times.dictionary), 1))
    return Distinct(ids.dictionary.take(pa.array(id_rows)), times.dictionary.take(pa.array(time_rows)), position)


def query_bounds(pairs: pa.Table) -> np.ndarray:
    """Where each query's rows begin in pairs sorted by query; int64 [queries + 1], the last is the number of pairs."""
    ids = pairs[features.QUERY_ID].to_numpy()
    if not len(ids):
        return np.zeros(1, np.int64)
    return np.concatenate([[0], np.flatnonzero(np.diff(ids)) + 1, [len(ids)]])


def lexical_matrix(pairs: pa.Table) -> np.ndarray:
    """``modules.features.lexical_features`` of every judged list; float32 [pairs, k]."""
    bounds = query_bounds(pairs)
    columns = [pairs[name].to_pylist() for name in (features.QUERY, features.TITLE, features.BRAND, features.COLOR)]
    queries, titles, brands, colors = columns
    out = np.zeros((pairs.num_rows, len(features.LEXICAL_NAMES)), np.float32)
    for start, end in pairwise(bounds.tolist()):
        out[start:end] = features.lexical_features(
            queries[start], titles[start:end], brands[start:end], colors[start:end]
        )
    return out


def relative_matrix(
    pairs: pa.Table,
    vectors: Mapping[str, tuple[np.ndarray, np.ndarray]],
    scalars: Mapping[str, tuple[np.ndarray, np.ndarray]],
    lexical: np.ndarray,
    rows_per_batch: int,
) -> np.ndarray:
    """``modules.features.relative_features`` of every judged list; float32 [pairs, r].

    Arguments as for ``joined_batches``; ``rows_per_batch`` bounds the memory here too.
    """
    pictured, position = scalars[features.HAS_IMAGE]
    has_image = pictured[position]
    cosine = np.empty((pairs.num_rows, len(features.COSINE_NAMES)), np.float32)
    for start in range(0, pairs.num_rows, rows_per_batch):
        part = slice(start, start + rows_per_batch)
        gathered = (matrix[position[part]] for matrix, position in (vectors[name] for name in features.VECTORS))
        cosine[part] = features.cosines(*gathered, has_image[part])
    return features.relative_features(cosine, has_image, lexical, query_bounds(pairs))


def ratings(pairs: pa.Table) -> np.ndarray:
    """The class id of each pair's label; int64 [pairs].

    Raises:
        ValueError: a label that is not one of E, S, C, I; names it and its query.
    """
    labels = pairs[features.LABEL]
    ids = pc.index_in(labels, pa.array(features.CLASSES))
    if ids.null_count:
        row = int(np.flatnonzero(pc.is_null(ids).to_numpy())[0])
        raise ValueError(
            f"label {labels[row].as_py()!r} of query {pairs[features.QUERY_ID][row]} is none of {features.CLASSES}"
        )
    return ids.to_numpy().astype(np.int64)


def slice_columns(pairs: pa.Table, rating: np.ndarray, has_image: np.ndarray) -> dict[str, pa.Array]:
    """What results are sliced by, the same for all pairs of a query; strings [pairs] each."""
    bounds = query_bounds(pairs)
    sizes = np.diff(bounds)
    queries = pairs[features.QUERY].take(pa.array(bounds[:-1])).to_pylist()
    ranges = [slice(start, end) for start, end in pairwise(bounds.tolist())]
    of_query = {
        features.PICTURES: [features.pictures_slice(has_image[rows]) for rows in ranges],
        features.QUERY_LENGTH: [features.query_length_slice(query) for query in queries],
        features.EXACT_SHARE: [features.exact_share_slice(rating[rows]) for rows in ranges],
    }
    return {
        name: pa.array(np.repeat(np.asarray(values, dtype=object), sizes), pa.string())
        for name, values in of_query.items()
    }


def joined_batches(
    pairs: pa.Table,
    vectors: Mapping[str, tuple[np.ndarray, np.ndarray]],
    scalars: Mapping[str, tuple[np.ndarray, np.ndarray]],
    lexical: np.ndarray,
    relative: np.ndarray,
    rows_per_batch: int,
) -> Iterator[pa.RecordBatch]:
    """The pairs with all their features, a batch at a time; every column a list, as ``tf.Example`` wants it.

    Args:
        pairs: sorted, ``PAIRS_SCHEMA``.
        vectors: name -> (float32 [m, d], position int64 [pairs]): a vector of pair i is ``matrix[position[i]]``.
        scalars: name -> (int64 [m], position int64 [pairs]).
        lexical, relative: float32 [pairs, k], from ``lexical_matrix`` and ``relative_matrix``.
        rows_per_batch: pairs a batch; bounds the memory besides the arguments.
    """
    rating = ratings(pairs)
    has_image, position = scalars[features.HAS_IMAGE]
    slices = slice_columns(pairs, rating, has_image[position])
    for start in range(0, pairs.num_rows, rows_per_batch):
        part = slice(start, min(start + rows_per_batch, pairs.num_rows))
        rows = pairs.slice(start, rows_per_batch)
        columns = {
            item.name: _one_each(rows[item.name].combine_chunks().cast(_example_type(item.type)))
            for item in PAIRS_SCHEMA
        }
        columns[features.RATING] = _one_each(pa.array(rating[part]))
        for name, values in slices.items():
            columns[name] = _one_each(values.slice(start, rows.num_rows).cast(_example_type(values.type)))
        for name, (values, position) in scalars.items():
            columns[name] = _one_each(pa.array(values[position[part]]))
        for name, (matrix, position) in vectors.items():
            columns[name] = _lists(matrix[position[part]])
        columns[features.LEXICAL] = _lists(lexical[part])
        columns[features.RELATIVE] = _lists(relative[part])
        yield pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns))


def _first_values(batch: pa.RecordBatch, name: str) -> pa.Array:
    """The first value of each row's list, null where the list is empty or the column is not there."""
    index = batch.schema.get_field_index(name)
    if index < 0 or pa.types.is_null(batch.column(index).type):
        return pa.nulls(batch.num_rows, PAIRS_SCHEMA.field(name).type)
    column = batch.column(index)
    lengths = pc.fill_null(pc.list_value_length(column), 0)
    rows = pc.cumulative_sum(pc.cast(pc.min_element_wise(lengths, 1), pa.int64()))
    filled = pc.greater(lengths, 0)
    firsts = pc.list_flatten(pc.list_slice(column.filter(filled), 0, 1)) if pc.any(filled).as_py() else None
    if firsts is None:
        return pa.nulls(batch.num_rows, column.type.value_type)
    return firsts.take(pc.if_else(filled, pc.subtract(rows, 1), pa.scalar(None, pa.int64())))


def _is_text(kind: pa.DataType) -> bool:
    return any(
        check(kind)
        for check in (pa.types.is_string, pa.types.is_large_string, pa.types.is_binary, pa.types.is_large_binary)
    )


def _as(column: pa.Array, kind: pa.DataType) -> pa.Array:
    if pa.types.is_float16(column.type) or pa.types.is_float32(column.type):
        column = column.cast(pa.float64())
    column = column.cast(kind)
    return pc.fill_null(column, "") if pa.types.is_string(kind) else column


def _restore_ids(numbers: pa.Array, known: Sequence[str]) -> pa.Array:
    """The texts that CsvExampleGen read as these numbers."""
    texts: dict[float, str | None] = {}
    for text in known:
        try:
            number = float(np.float32(text)) if pa.types.is_floating(numbers.type) else int(text)
        except ValueError:
            continue
        texts[number] = None if number in texts else text
    out = []
    for number in numbers.to_pylist():
        text = texts.get(number)
        if text is None:
            trouble = "stands for several products" if number in texts else "stands for no known product"
            raise ValueError(f"product_id {number}, read as a number, {trouble}; give the ids a letter")
        out.append(text)
    return pa.array(out, pa.string())


def _dictionary(column: pa.ChunkedArray | pa.Array) -> pa.DictionaryArray:
    """Values as codes in the order of the values."""
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    values = pc.unique(column)
    values = values.take(pc.sort_indices(values))
    return pa.DictionaryArray.from_arrays(pc.index_in(column, values), values)


def _example_type(kind: pa.DataType) -> pa.DataType:
    return pa.binary() if pa.types.is_string(kind) else kind


def _one_each(values: pa.Array) -> pa.Array:
    return pa.ListArray.from_arrays(pa.array(np.arange(len(values) + 1, dtype=np.int32)), values)


def _lists(matrix: np.ndarray) -> pa.Array:
    count, dim = matrix.shape
    offsets = np.arange(0, count * dim + 1, dim, dtype=np.int32) if dim else np.zeros(count + 1, np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(np.ascontiguousarray(matrix, np.float32).reshape(-1)))
