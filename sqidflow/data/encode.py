"""Fills in missing vectors from texts and pictures."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sqidflow.core.errors import DataError
from sqidflow.data import formats, readers
from sqidflow.data.encoder_name import check_one_encoder, encoder_in
from sqidflow.data.sample import is_sample
from sqidflow.data.staging import disk_errors, keep_others, staged_file, staged_folder, write_batches
from sqidflow.encoders.base import Encoder
from sqidflow.encoders.offline import OfflineEncoder

_ROWS_AT_ONCE = 4096


@dataclass
class EncodeReport:
    """Vectors made and kept; ``notes`` say what a reader of the vectors should know."""

    encoder: str
    dim: int
    queries_encoded: int = 0
    queries_kept: int = 0
    product_texts_encoded: int = 0
    product_texts_kept: int = 0
    pictures_encoded: int = 0
    pictures_kept: int = 0
    products_without_picture: int = 0
    notes: tuple[str, ...] = ()


def encode_missing(data_dir: Path, encoder: Encoder, *, images: bool = True, force: bool = False) -> EncodeReport:
    """Makes vectors for the queries and products in ``data_dir`` which have none.

    Without judgements there are no queries.

    Query vectors are of the query, product vectors of the title and, with ``images``, of the pictures in
    product_images.parquet (no picture: null). Vectors that are there stay, and a file in which nothing is missing is
    not touched; each file is replaced whole, and a killed call is finished by the next. With ``force`` both files are
    made anew and take their place in one step: killed at any moment, all vectors are the old ones or the new ones.
    A sample with vectors of another encoder than its own is none any more, and its README is dropped.

    Raises DataError: a bad file, a picture that cannot be decoded, vectors of another length than ``encoder.dim``,
    query and product vectors that would be of two encoders.
    """
    data_dir = Path(data_dir)
    for leftover in data_dir.glob(".*.part"):
        leftover.unlink()
    report = EncodeReport(encoder.name, encoder.dim)
    if force:
        with staged_folder(data_dir) as folder:
            if data_dir.is_dir():
                keep_others(data_dir, folder, (formats.QUERY_FEATURES_FILE, formats.PRODUCT_FEATURES_FILE))
            _encode(data_dir, folder, encoder, images, report)
    else:
        check_one_encoder(data_dir, coming=encoder.name)
        with disk_errors(data_dir):
            _encode(data_dir, data_dir, encoder, images, report)
    return report


def _encode(data_dir: Path, target: Path, encoder: Encoder, images: bool, report: EncodeReport) -> None:
    """Texts and pictures of ``data_dir`` into the vectors of ``target``."""
    _encode_queries(data_dir, target, encoder, report)
    _encode_products(data_dir, target, encoder, images, report)
    made = report.queries_encoded or report.product_texts_encoded or report.pictures_encoded
    if made and encoder.name != OfflineEncoder.name and is_sample(target):
        (target / formats.README_FILE).unlink()


def _schema(base: pa.Schema, timed: bool, encoder: str | None) -> pa.Schema:
    if timed:
        base = base.append(pa.field(formats.TIMESTAMP, formats.TIMESTAMP_TYPE))
    return base.with_metadata({formats.ENCODER_KEY: encoder}) if encoder else base


@dataclass(frozen=True)
class _Existing:
    """A vector file that is there: None as ``path`` when there is none."""

    path: Path | None
    timed: bool = False
    encoder: str | None = None

    @classmethod
    def open(cls, path: Path) -> _Existing:
        if not path.exists():
            return cls(None)
        return cls(path, formats.TIMESTAMP in readers.open_source(path).columns, encoder_in(path))

    def schema(self, base: pa.Schema, encoder: str, kept: int, report: EncodeReport) -> pa.Schema:
        """Schema of the new file; says so where it mixes vectors of two encoders."""
        if kept and self.encoder != encoder:
            whose = f"made by {self.encoder}" if self.encoder else "of unknown origin"
            report.notes = (
                *report.notes,
                f"{self.path.name if self.path else ''} now mixes {kept:,} vectors {whose} with new ones of {encoder}: "
                "their cosines mean nothing; use --force for one encoder throughout",
            )
            return _schema(base, self.timed, None)
        return _schema(base, self.timed, encoder)


def _check_dim(batch: pa.RecordBatch, column: str, encoder: Encoder, path: Path) -> None:
    dim = pc.max(pc.list_value_length(batch[column])).as_py()
    if dim is not None and dim != encoder.dim:
        raise DataError(
            f"the vectors there have {dim} values, those of encoder {encoder.name} {encoder.dim}",
            file=path,
            column=column,
            hint=f"encode with --dim {dim}, or replace all vectors with --force",
        )


def _lists(vectors: np.ndarray, present: np.ndarray) -> pa.ListArray:
    """Vectors of the rows that have one, float32 ``[present rows, d]``, as lists; null elsewhere."""
    offsets = np.concatenate([[0], np.cumsum(present) * vectors.shape[1]]).astype(np.int32)
    mask = None if present.all() else pa.array(~present)
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(np.ascontiguousarray(vectors).reshape(-1)), mask=mask)


def _published(columns: Sequence[pa.Array], schema: pa.Schema) -> pa.RecordBatch:
    rows = len(columns[0])
    filled = [*columns, *(pa.nulls(rows, field.type) for field in list(schema)[len(columns) :])]
    return pa.RecordBatch.from_arrays([c.cast(f.type) for c, f in zip(filled, schema, strict=True)], schema=schema)


# --- queries ----------------------------------------------------------------------------------------------------------


def _encode_queries(data_dir: Path, target: Path, encoder: Encoder, report: EncodeReport) -> None:
    if formats.has_no_judgements(data_dir):
        return
    path = target / formats.QUERY_FEATURES_FILE
    table = readers.load_examples(data_dir / formats.EXAMPLES_FILE).table
    existing = _Existing.open(path)
    have = pa.array([], pa.int64())
    if existing.path:
        chunks = []
        for batch in readers.read_query_features(path, allow_missing=True):
            _check_dim(batch, formats.TEXT_VECTOR, encoder, path)
            chunks.append(batch["query_id"].filter(batch[formats.TEXT_VECTOR].is_valid()))
        have = pc.unique(pa.chunked_array(chunks))
    _, first = np.unique(readers.codes(table["query_id"]), return_index=True)
    queries = table.select(["query_id", "query"]).take(pa.array(np.sort(first)))
    queries = queries.filter(pc.invert(pc.is_in(queries["query_id"], have)))
    report.queries_kept, report.queries_encoded = len(have), queries.num_rows
    if not queries.num_rows:
        return
    schema = existing.schema(formats.QUERY_FEATURES_SCHEMA, encoder.name, len(have), report)

    def batches() -> Iterator[pa.RecordBatch]:
        if existing.path:
            for batch in readers.read_query_features(path, allow_missing=True):
                kept = batch.filter(batch[formats.TEXT_VECTOR].is_valid())
                yield _published([kept[name] for name in schema.names], schema)
        for batch in queries.to_batches(_ROWS_AT_ONCE):
            vectors = encoder.encode_texts(batch["query"].to_pylist())
            yield _published([batch["query_id"], _lists(vectors, np.ones(len(vectors), bool))], schema)

    with staged_file(path) as partial:
        write_batches(partial, schema, batches(), compression="none")


# --- products ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Pictures:
    """Vectors of new pictures: ``row`` gives the row of ``vectors`` for each product that has one."""

    ids: pa.Array
    vectors: np.ndarray

    def rows(self, product_ids: pa.Array) -> np.ndarray:
        """int64 [n]: row of each product's picture vector, -1 where it has none."""
        found = pc.index_in(product_ids, self.ids)
        return pc.fill_null(found, -1).to_numpy(zero_copy_only=False).astype(np.int64)


def _encode_products(data_dir: Path, target: Path, encoder: Encoder, images: bool, report: EncodeReport) -> None:
    path = target / formats.PRODUCT_FEATURES_FILE
    catalogue = pa.Table.from_batches(
        batch.select(["product_id", "product_title"])
        for batch in readers.read_products(data_dir / formats.PRODUCTS_FILE)
    )
    # an id may stand once per locale: the first title counts
    _, first = np.unique(readers.codes(catalogue["product_id"]), return_index=True)
    catalogue = catalogue.take(pa.array(np.sort(first))).combine_chunks()
    existing = _Existing.open(path)
    with_text, with_picture, listed = _existing_products(existing, encoder)
    report.product_texts_kept, report.pictures_kept = len(with_text), len(with_picture)
    with tempfile.TemporaryFile(dir=target) as spill:
        pictures = _encode_pictures(data_dir, encoder, images, catalogue, with_picture, spill)
        report.pictures_encoded = len(pictures.ids)
        ids = catalogue["product_id"]
        report.product_texts_encoded = len(ids) - int(pc.sum(pc.is_in(ids, with_text)).as_py() or 0)
        all_ids = pc.unique(pa.chunked_array([*ids.chunks, listed]))
        report.products_without_picture = len(all_ids) - report.pictures_kept - report.pictures_encoded
        if not report.product_texts_encoded and not report.pictures_encoded:
            return
        kept = max(report.product_texts_kept, report.pictures_kept)
        schema = existing.schema(formats.PRODUCT_FEATURES_SCHEMA, encoder.name, kept, report)

        def batches() -> Iterator[pa.RecordBatch]:
            if existing.path:
                for batch in readers.read_product_features(path, allow_missing=True):
                    yield _completed(batch, catalogue, pictures, encoder, schema)
            rest = catalogue.filter(pc.invert(pc.is_in(ids, listed)))
            for batch in rest.to_batches(_ROWS_AT_ONCE):
                texts = encoder.encode_texts(batch["product_title"].to_pylist())
                rows = pictures.rows(batch["product_id"])
                columns = [
                    batch["product_id"],
                    _lists(texts, np.ones(len(texts), bool)),
                    _picture_lists(pictures, rows),
                ]
                yield _published(columns, schema)

        with staged_file(path) as partial:
            write_batches(partial, schema, batches(), compression="none")


def _existing_products(existing: _Existing, encoder: Encoder) -> tuple[pa.Array, pa.Array, pa.Array]:
    """Ids with a text vector, with a picture vector, and all ids of the file."""
    empty = pa.array([], pa.string())
    if not existing.path:
        return empty, empty, empty
    texts, pictures, listed = [], [], []
    for batch in readers.read_product_features(existing.path, allow_missing=True):
        for column, found in ((formats.TEXT_VECTOR, texts), (formats.IMAGE_VECTOR, pictures)):
            _check_dim(batch, column, encoder, existing.path)
            found.append(batch["product_id"].filter(batch[column].is_valid()))
        listed.append(batch["product_id"])
    return tuple(pc.unique(pa.chunked_array(found)) for found in (texts, pictures, listed))


def _encode_pictures(
    data_dir: Path, encoder: Encoder, images: bool, catalogue: pa.Table, have: pa.Array, spill: object
) -> _Pictures:
    """Encodes the pictures of products that lack a picture vector; vectors go to ``spill``, a file on disk."""
    path = data_dir / formats.IMAGES_FILE
    none = _Pictures(pa.array([], pa.string()), np.zeros((0, encoder.dim), np.float32))
    if not images or not path.exists():
        return none
    found = []
    start = 0
    for batch in readers.read_images(path):
        known = pc.and_not(pc.is_in(batch["product_id"], catalogue["product_id"]), pc.is_in(batch["product_id"], have))
        wanted = batch.filter(known)
        if wanted.num_rows:
            rows = start + np.flatnonzero(known.to_numpy(zero_copy_only=False))
            spill.write(np.ascontiguousarray(_vectors_of(encoder, wanted["image"].to_pylist(), path, rows)).tobytes())
            found.append(wanted["product_id"])
        start += batch.num_rows
    if not found:
        return none
    spill.flush()
    ids = pa.chunked_array(found).combine_chunks()
    repeat = readers.first_repeat([pa.chunked_array([ids])])
    if repeat:
        raise DataError(
            f"product {ids[repeat[0]]} has two pictures", file=path, column="product_id", hint="keep one picture of it"
        )
    return _Pictures(ids, np.memmap(spill, dtype=np.float32, mode="r", shape=(len(ids), encoder.dim)))


def _vectors_of(encoder: Encoder, images: list[bytes], path: Path, rows: np.ndarray) -> np.ndarray:
    try:
        return encoder.encode_images(images)
    except ValueError as error:
        for row, image in zip(rows, images, strict=True):
            try:
                encoder.encode_images([image])
            except ValueError as single:
                what = str(single).removeprefix("picture 0: ")
                raise DataError(
                    f"the picture cannot be used: {what}",
                    file=path,
                    row=int(row) + 1,
                    column="image",
                    hint="replace it or remove the row",
                ) from error
        raise


def _picture_lists(pictures: _Pictures, rows: np.ndarray) -> pa.ListArray:
    present = rows >= 0
    return _lists(np.asarray(pictures.vectors[rows[present]]), present)


def _completed(
    batch: pa.RecordBatch, catalogue: pa.Table, pictures: _Pictures, encoder: Encoder, schema: pa.Schema
) -> pa.RecordBatch:
    """Rows of the existing file with what was missing in them filled in; a row without any text is dropped."""
    position = pc.index_in(batch["product_id"], catalogue["product_id"].combine_chunks())
    usable = pc.or_(batch[formats.TEXT_VECTOR].is_valid(), position.is_valid())
    batch, position = batch.filter(usable), position.filter(usable)
    texts = batch[formats.TEXT_VECTOR]
    if texts.null_count:
        gaps = texts.is_null()
        titles = catalogue["product_title"].take(position.filter(gaps)).to_pylist()
        made = _lists(encoder.encode_texts(titles), gaps.to_numpy(zero_copy_only=False))
        texts = pc.coalesce(texts, made)
    rows = pictures.rows(batch["product_id"])
    shown = batch[formats.IMAGE_VECTOR]
    rows[shown.is_valid().to_numpy(zero_copy_only=False)] = -1
    if (rows >= 0).any():
        shown = pc.coalesce(shown, _picture_lists(pictures, rows))
    columns = {"product_id": batch["product_id"], formats.TEXT_VECTOR: texts, formats.IMAGE_VECTOR: shown}
    if formats.TIMESTAMP in schema.names:
        columns[formats.TIMESTAMP] = batch[formats.TIMESTAMP]
    return _published([columns[name] for name in schema.names], schema)
