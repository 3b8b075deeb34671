"""Pairs and vectors into joined rows: Arrow and NumPy only, without TFX, Feast or files."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sqidflow.ranking import features
from sqidflow.ranking.served import OwnVectors, ServedCatalogue

TEXTS = (features.LABEL, features.QUERY, features.TITLE, features.BRAND, features.COLOR)
TIMESTAMP_TYPE = pa.timestamp("us", tz="UTC")
TEXT_TYPE = pa.dictionary(pa.int32(), pa.string())
PAIRS_SCHEMA = pa.schema(
    [
        (features.QUERY_ID, pa.int64()),
        (features.PRODUCT_ID, TEXT_TYPE),
        *((name, TEXT_TYPE) for name in TEXTS),
        (features.EVENT_TIMESTAMP, TEXT_TYPE),
    ]
)
"""One judged pair a row, as CsvExampleGen read it; no nulls, an absent text is empty.

Texts are places in a dictionary of the distinct ones: a further pair of known products costs 36 bytes, not its words.
"""


COMPUTED = {
    features.LEXICAL: features.LEXICAL_NAMES,
    features.RELATIVE: features.RELATIVE_NAMES,
    features.RETRIEVAL: features.RETRIEVAL_NAMES,
}
"""Features of a list, and their columns."""


@dataclass(frozen=True)
class Distinct:
    """The distinct (id, timestamp) of a table of n pairs: m ``ids`` and ``timestamps``, and the row of each pair.

    ``position`` int64 [n]: pair i has ``ids[position[i]]``.
    """

    ids: pa.Array
    timestamps: pa.Array
    position: np.ndarray


def pairs_table(batches: Iterable[pa.RecordBatch], prepared: Callable[[], pa.Table]) -> pa.Table:
    """Decoded examples as a table of ``PAIRS_SCHEMA``, sorted by query and product.

    CsvExampleGen guesses each column's type from its values: a text column of numbers alone comes as numbers, one
    without any value does not come at all, and a missing value is an empty list. A number is not the text it was read
    from (``015``, ``15.50``, ``1E5``, thirteen digits as float32), so such a column is taken from where CsvExampleGen
    had it: by query and product, or, where the products' ids are lost, all pairs of the queries.

    Args:
        batches: as ``tfx_bsl`` decodes them, a list column a feature.
        prepared: gives the prepared pairs, ids, ``TEXTS`` and timestamp as columns; called where a text column came as
            numbers.

    Raises:
        ValueError: a pair without query id; with ids or texts read as numbers, pairs that are not the prepared ones.
    """
    parts = []
    lost: set[str] = set()
    for batch in batches:
        columns = {name: _first_values(batch, name) for name in PAIRS_SCHEMA.names}
        if columns[features.QUERY_ID].null_count:
            raise ValueError("a pair has no query_id")
        for name in (features.PRODUCT_ID, *TEXTS):
            if _is_number(columns[name].type):
                columns[name] = pa.nulls(batch.num_rows, TEXT_TYPE)
                lost.add(name)
        parts.append(pa.table([_as(columns[item.name], item.type) for item in PAIRS_SCHEMA], schema=PAIRS_SCHEMA))
    table = pa.concat_tables(parts).unify_dictionaries() if parts else PAIRS_SCHEMA.empty_table()
    if features.PRODUCT_ID in lost:
        table = _pairs_of_queries(table[features.QUERY_ID], prepared())
    elif lost:
        table = _restore_texts(table, prepared(), sorted(lost))
    product = _dictionary(table[features.PRODUCT_ID]).indices.to_numpy()
    order = np.lexsort((product, table[features.QUERY_ID].to_numpy()))
    return table.combine_chunks().take(pa.array(order)).combine_chunks()


def distinct(pairs: pa.Table, id_column: str) -> Distinct:
    """What to ask the feature store for: each (id, timestamp) of the pairs once, sorted by id.

    Raises:
        ValueError: a timestamp is not ISO 8601.
    """
    stamps = pc.cast(pc.cast(pairs[features.EVENT_TIMESTAMP], pa.string()), TIMESTAMP_TYPE).combine_chunks()
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


def list_batches(bounds: np.ndarray, rows_per_batch: int) -> Iterator[tuple[int, int]]:
    """Rows from, rows to of batches of whole lists, about ``rows_per_batch`` rows each; see ``query_bounds``."""
    start = 0
    while start < bounds[-1]:
        # The last list that ends within the batch, or the one at its start where that is longer than a batch.
        end = int(bounds[max(int(np.searchsorted(bounds, start + rows_per_batch, "right")) - 1, 0)])
        if end <= start:
            end = int(bounds[np.searchsorted(bounds, start, "right")])
        yield start, end
        start = end


def ratings(pairs: pa.Table) -> np.ndarray:
    """The class id of each pair's label; int64 [pairs].

    Raises:
        ValueError: a label that is not one of E, S, C, I; names it and its query.
    """
    labels = pairs[features.LABEL]
    ids = pc.index_in(pc.cast(labels, pa.string()), pa.array(features.CLASSES))
    if ids.null_count:
        row = int(np.flatnonzero(pc.is_null(ids).to_numpy())[0])
        raise ValueError(
            f"label {labels[row].as_py()!r} of query {pairs[features.QUERY_ID][row]} is none of {features.CLASSES}"
        )
    return ids.to_numpy().astype(np.int64)


def slice_columns(
    queries: Sequence[str], bounds: np.ndarray, rating: np.ndarray, has_image: np.ndarray
) -> dict[str, pa.Array]:
    """What results are sliced by, the same for all pairs of a query; strings [rows] each.

    Arguments: the query of each list, ``bounds`` int64 [lists + 1] of their rows, ``rating`` and ``has_image`` [rows].
    """
    sizes = np.diff(bounds)
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
    served: ServedCatalogue,
    vectors: Mapping[str, tuple[np.ndarray, np.ndarray]],
    scalars: Mapping[str, tuple[np.ndarray, np.ndarray]],
    rows_per_batch: int,
) -> Iterator[pa.RecordBatch]:
    """The pairs with all their features, in batches of whole lists; every column a list, as ``tf.Example`` wants it.

    Args:
        pairs: sorted, ``PAIRS_SCHEMA``.
        served: the catalogue that lists are retrieved from; has all products of the pairs.
        vectors: name -> (float32 [m, d], position int64 [pairs]): a vector of pair i is ``matrix[position[i]]``;
            those of ``features.VECTORS`` among them.
        scalars: name -> (int64 [m], position int64 [pairs]), ``has_image`` among them.
        rows_per_batch: pairs a batch, unless a list is longer; bounds the memory besides the arguments.
    """
    rating = ratings(pairs)
    bounds = query_bounds(pairs)
    for start, end in list_batches(bounds, rows_per_batch):
        part = slice(start, end)
        rows = pairs.slice(start, end - start)
        lists = bounds[(bounds >= start) & (bounds <= end)] - start
        gathered = {name: matrix[position[part]] for name, (matrix, position) in vectors.items()}
        numbers = {name: values[position[part]] for name, (values, position) in scalars.items()}
        has_image = numbers[features.HAS_IMAGE]
        queries = rows[features.QUERY].take(pa.array(lists[:-1])).to_pylist()
        computed = _as_served(served, queries, lists, rows, gathered, has_image)
        columns = {item.name: _one_each(_plain(rows[item.name].combine_chunks())) for item in PAIRS_SCHEMA}
        columns[features.RATING] = _one_each(pa.array(rating[part]))
        for name, values in slice_columns(queries, lists, rating[part], has_image).items():
            columns[name] = _one_each(values.cast(pa.binary()))
        columns |= {name: _one_each(pa.array(values)) for name, values in numbers.items()}
        gathered |= computed
        columns |= {name: _lists(matrix) for name, matrix in gathered.items()}
        yield pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns))


def _as_served(
    served: ServedCatalogue,
    queries: Sequence[str],
    bounds: np.ndarray,
    pairs: pa.Table,
    vectors: Mapping[str, np.ndarray],
    has_image: np.ndarray,
) -> dict[str, np.ndarray]:
    """The computed features of judged lists, each within what search would retrieve for its query."""
    rows = served.rows_of(pairs[features.PRODUCT_ID].cast(pa.string()).to_pylist())
    ranges = [slice(first, last) for first, last in pairwise(bounds.tolist())]
    own = [
        OwnVectors(rows[part], vectors[features.TEXT_VEC][part], vectors[features.IMAGE_VEC][part], has_image[part])
        for part in ranges
    ]
    lists = served.lists(queries, vectors[features.QUERY_VEC][bounds[:-1]], [rows[part] for part in ranges], own)
    out = {name: np.empty((len(rows), len(columns)), np.float32) for name, columns in COMPUTED.items()}
    for part, found in zip(ranges, lists):
        places = found.places_of(rows[part])
        for name, matrix in out.items():
            matrix[part] = found.features[name][places]
    return out


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


def _is_number(kind: pa.DataType) -> bool:
    return pa.types.is_integer(kind) or pa.types.is_floating(kind)


def _as(column: pa.Array, kind: pa.DataType) -> pa.Array:
    if not pa.types.is_dictionary(kind):
        return column.cast(kind)
    return pc.fill_null(column.cast(kind.value_type), "").dictionary_encode().cast(kind)


def _pairs_of_queries(query_ids: pa.ChunkedArray, prepared: pa.Table) -> pa.Table:
    """The prepared pairs of some queries; ``query_ids`` has each as often as it has pairs, since none is in two
    splits."""
    asked, counts = np.unique(query_ids.to_numpy(), return_counts=True)
    of_queries = prepared.filter(pc.is_in(prepared[features.QUERY_ID], pa.array(asked)))
    known, prepared_counts = np.unique(of_queries[features.QUERY_ID].to_numpy(), return_counts=True)
    if not (np.array_equal(asked, known) and np.array_equal(counts, prepared_counts)):
        odd = next(
            number
            for number, count in zip(asked.tolist(), counts.tolist(), strict=True)
            if count != dict(zip(known.tolist(), prepared_counts.tolist(), strict=True)).get(number, 0)
        )
        raise ValueError(f"the pairs of query {odd} are not the prepared ones")
    columns = [_as(of_queries[item.name].combine_chunks(), item.type) for item in PAIRS_SCHEMA]
    return pa.table(columns, schema=PAIRS_SCHEMA)


def _restore_texts(table: pa.Table, prepared: pa.Table, names: Sequence[str]) -> pa.Table:
    """The columns ``names`` as the prepared pairs have them."""
    at = pc.index_in(_pair_keys(table), _pair_keys(prepared))
    if at.null_count:
        row = int(np.flatnonzero(pc.is_null(at).to_numpy())[0])
        query, product = table[features.QUERY_ID][row], table[features.PRODUCT_ID][row]
        raise ValueError(f"query {query} and product {product.as_py()} are not among the prepared pairs")
    for name in names:
        texts = _as(prepared[name].take(at).combine_chunks(), TEXT_TYPE)
        table = table.set_column(table.schema.get_field_index(name), PAIRS_SCHEMA.field(name), texts)
    return table


def _pair_keys(pairs: pa.Table) -> pa.ChunkedArray:
    ids = (pairs[name].cast(pa.string()) for name in (features.QUERY_ID, features.PRODUCT_ID))
    return pc.binary_join_element_wise(*ids, " ")


def _dictionary(column: pa.ChunkedArray | pa.Array) -> pa.DictionaryArray:
    """Values as codes in the order of the values."""
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    if not pa.types.is_dictionary(column.type):
        column = column.dictionary_encode()
    order = pc.sort_indices(column.dictionary)
    place = np.empty(len(order), np.int32)
    place[order.to_numpy()] = np.arange(len(order), dtype=np.int32)
    return pa.DictionaryArray.from_arrays(pa.array(place[column.indices.to_numpy()]), column.dictionary.take(order))


def _plain(column: pa.Array) -> pa.Array:
    """As ``tf.Example`` has it: texts are bytes."""
    return column.cast(pa.string()).cast(pa.binary()) if pa.types.is_dictionary(column.type) else column


def _one_each(values: pa.Array) -> pa.Array:
    return pa.ListArray.from_arrays(pa.array(np.arange(len(values) + 1, dtype=np.int32)), values)


def _lists(matrix: np.ndarray) -> pa.Array:
    count, dim = matrix.shape
    offsets = np.arange(0, count * dim + 1, dim, dtype=np.int32) if dim else np.zeros(count + 1, np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(np.ascontiguousarray(matrix, np.float32).reshape(-1)))
