"""The prepared files as an index is built from them: products with texts and vectors, judgements, queries, pictures."""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sqidflow.core import feature_files
from sqidflow.data import catalogue as prepared
from sqidflow.data import formats
from sqidflow.data.prints import PRINT
from sqidflow.indexing.attributes import read_attributes
from sqidflow.indexing.build import Catalogue, Judgements
from sqidflow.ranking import features

if TYPE_CHECKING:
    import pyarrow as pa

_ROWS_AT_ONCE = 4096
_BUFFER_BYTES = 1 << 20


@dataclass(frozen=True)
class Prepared:
    """The prepared products that have a vector, whose vectors are read when they are asked for.

    ``without_vectors`` has all but them; ``place`` int64 [rows of ``file``], the product that each row has the newest
    vectors of, -1 for none; ``prints`` uint64 [n], see :mod:`sqidflow.data.prints`, None in a file without them.
    """

    file: Path
    without_vectors: Catalogue
    place: np.ndarray
    prints: np.ndarray | None

    def first_of_file(self, count: int) -> np.ndarray:
        """int64 [count]: the products with a title whose vectors come first in the file, in ascending order."""
        titles = self.without_vectors.titles
        titled = [row for row in self.place[self.place >= 0].tolist() if titles[row]]
        return np.sort(np.array(titled[:count], np.int64))

    def with_vectors(self, rows: np.ndarray | None = None) -> Catalogue:
        """The catalogue with the vectors of ``rows``, None for all of them; those of the others are zeros."""
        place, count = self.place, len(self.without_vectors.product_ids)
        if rows is not None:
            asked = np.zeros(count, bool)
            asked[rows] = True
            place = np.where((place >= 0) & asked[place], place, -1)
        dim = _dim_of(self.file)
        text, image = (
            _vectors_at(self.file, name, place, count, dim) for name in (features.TEXT_VEC, features.IMAGE_VEC)
        )
        return replace(self.without_vectors, text=text, image=image)


def read_catalogue(artifacts_dir: Path) -> Catalogue:
    """The products that have a vector, the newest of each, with their prepared texts; in the order of their ids.

    Order: by the ids' UTF-8 bytes, as the index looks ids up.
    """
    return open_catalogue(artifacts_dir).with_vectors()


def open_catalogue(artifacts_dir: Path) -> Prepared:
    """As :func:`read_catalogue`, the vectors later."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    file = artifacts_dir / feature_files.FOLDER / feature_files.PRODUCTS
    prints = [PRINT] if PRINT in pq.read_schema(file).names else []
    newest = pq.read_table(file, columns=[features.PRODUCT_ID, features.EVENT_TIMESTAMP, features.HAS_IMAGE, *prints])
    newest = newest.append_column("at", pa.array(np.arange(len(newest))))
    newest = newest.sort_by([(features.PRODUCT_ID, "ascending"), (features.EVENT_TIMESTAMP, "descending")])
    ids = newest[features.PRODUCT_ID].combine_chunks()
    first = np.ones(len(ids), bool)
    first[1:] = pc.not_equal(ids[1:], ids[:-1]).to_numpy(zero_copy_only=False)
    place = np.full(len(newest), -1, np.int64)
    place[newest["at"].to_numpy()[first]] = np.arange(int(first.sum()))
    ids = ids.filter(pa.array(first))

    names = (features.TITLE, features.BRAND, features.COLOR, prepared.DESCRIPTION, prepared.BULLET_POINTS)
    texts = pq.read_table(artifacts_dir / feature_files.CATALOGUE, columns=[features.PRODUCT_ID, *names])
    order = pc.index_in(ids, texts[features.PRODUCT_ID].combine_chunks())
    texts = texts.take(order)
    titles, brands, colors, descriptions, bullet_points = (texts[name].to_pylist() for name in names)
    none = np.zeros((len(ids), 0), np.float32)
    catalogue = Catalogue(
        ids.to_pylist(),
        titles,
        brands,
        colors,
        descriptions,
        bullet_points,
        text=none,
        image=none,
        has_image=newest[features.HAS_IMAGE].to_numpy()[first] > 0,
        attributes=read_attributes(artifacts_dir / feature_files.CATALOGUE, order),
    )
    return Prepared(file, catalogue, place, newest[PRINT].to_numpy()[first] if prints else None)


def _dim_of(file: Path) -> int:
    """The length of the text vectors of a feature source."""
    import pyarrow.parquet as pq

    with pq.ParquetFile(file, pre_buffer=False, buffer_size=_BUFFER_BYTES) as source:
        first = next(source.iter_batches(1, columns=[features.TEXT_VEC])).column(0)
    return len(first.flatten())


def _zeros(count: int, dim: int) -> np.ndarray:
    """float32 [count, dim] zeros that take memory where something is written, in the system's small pages: NumPy asks
    for those of two MB, and a few rows here and there would take all of it."""
    if not count * dim:
        return np.zeros((count, dim), np.float32)
    private = mmap.mmap(-1, 4 * count * dim, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    return np.frombuffer(private, np.float32).reshape(count, dim)


def _vectors_at(file: Path, column: str, place: np.ndarray, count: int, dim: int) -> np.ndarray:
    """float32 [count, d]: the vectors of a column, zeros where there is none, read a batch at a time into their places.
    Row groups without one that has a place are not read.

    Args:
        place: int64 [rows of the file], where each row's vector goes, -1 for nowhere. dim: d.
    """
    import pyarrow.parquet as pq

    few = np.count_nonzero(place >= 0) < count
    out = _zeros(count, dim) if few else np.zeros((count, dim), np.float32)
    with pq.ParquetFile(file, pre_buffer=False, buffer_size=_BUFFER_BYTES) as source:
        sizes = [source.metadata.row_group(at).num_rows for at in range(source.metadata.num_row_groups)]
        parts = np.split(place, np.cumsum(sizes)[:-1])
        groups = [at for at, part in enumerate(parts) if (part >= 0).any()]
        if not groups:
            return out
        place, start = np.concatenate([parts[at] for at in groups]), 0
        for batch in source.iter_batches(_ROWS_AT_ONCE, row_groups=groups, columns=[column]):
            at = place[start : start + batch.num_rows]
            start += batch.num_rows
            present = (at >= 0) & batch.column(0).is_valid().to_numpy(zero_copy_only=False)
            if not present.any():
                continue
            vectors = vectors_of(batch.column(0), None)
            if present.all():
                out[at] = vectors
            else:
                out[at[present]] = vectors[present]
    return out


def vectors_of(column: pa.ChunkedArray, dim: int | None) -> np.ndarray:
    """float32 [n, d], zeros for nulls; ``dim`` is d where there is no vector at all."""
    import pyarrow as pa

    column = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    present = column.is_valid().to_numpy(zero_copy_only=False)
    values: np.ndarray = column.drop_null().flatten().to_numpy(zero_copy_only=False).astype(np.float32, copy=False)
    if not present.any():
        return np.zeros((len(column), dim or 0), np.float32)
    values = values.reshape(int(present.sum()), -1)
    if present.all():
        return values
    out = np.zeros((len(column), values.shape[1]), np.float32)
    out[present] = values
    return out


def read_pairs(pairs_file: Path) -> pa.Table:
    """The judged pairs: query_id, product_id, label, query."""
    import pyarrow.csv as pacsv

    names = [features.QUERY_ID, features.PRODUCT_ID, features.LABEL, features.QUERY]
    types = dict.fromkeys(names[1:], "string") | {features.QUERY_ID: "int64"}
    options = pacsv.ConvertOptions(column_types=types, include_columns=names)
    return pacsv.read_csv(
        pairs_file, convert_options=options, parse_options=pacsv.ParseOptions(newlines_in_values=True)
    )


def judgements_of(pairs: pa.Table, catalogue: Catalogue) -> Judgements:
    rows = {product: row for row, product in enumerate(catalogue.product_ids)}
    return Judgements(
        np.array([rows[product] for product in pairs[features.PRODUCT_ID].to_pylist()], np.int64),
        pairs[features.QUERY_ID].to_numpy(),
        pairs[features.QUERY].to_pylist(),
        pairs[features.LABEL].to_pylist(),
    )


def read_queries(artifacts_dir: Path, dim: int) -> tuple[list[int], np.ndarray]:
    """Ids and vectors float32 [n, d] of the judged queries."""
    import pyarrow.parquet as pq

    table = pq.read_table(artifacts_dir / feature_files.FOLDER / feature_files.QUERIES)
    return table[features.QUERY_ID].to_pylist(), vectors_of(table[features.QUERY_VEC], dim)


def read_pictures(data_dir: Path, rows: dict[str, int]) -> Iterator[tuple[int, bytes]]:
    """(row, bytes of the file) of the products that have a picture, in ascending order of rows."""
    import pyarrow.dataset as ds

    file = data_dir / formats.IMAGES_FILE
    if not file.is_file():
        return
    ids = ds.dataset(file).to_table(columns=["product_id"])["product_id"].to_pylist()
    order = sorted((rows[product], at) for at, product in enumerate(ids) if product in rows)
    for start in range(0, len(order), 512):
        part = order[start : start + 512]
        images = ds.dataset(file).take([at for _, at in part], columns=["image"])["image"].to_pylist()
        before = -1
        for (row, _), image in zip(part, images):
            if image and row != before:
                yield row, image
            before = row


def is_synthetic(data_dir: Path) -> bool:
    """Whether the products are the invented sample's."""
    import pyarrow.parquet as pq

    return b"sqidflow" in (pq.read_schema(data_dir / formats.PRODUCTS_FILE).metadata or {})
