"""Fills in missing vectors from texts and pictures."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sqidflow.core.errors import DataError
from sqidflow.data import formats, readers
from sqidflow.data.digests import picture_digest, text_digest
from sqidflow.data.encoder_name import encoder_in, refuse_mixture, refuse_two
from sqidflow.data.lookups import Places
from sqidflow.data.sample import is_sample
from sqidflow.data.spans import encode_spans
from sqidflow.data.staging import disk_errors, keep_others, kept_rows, staged_file, staged_folder, write_batches
from sqidflow.encoders.base import Encoder
from sqidflow.encoders.offline import OfflineEncoder

_ROWS_AT_ONCE = 4096
_MOST_MOVED = 8192
"""Changed rows of a file that are held, to be written behind the others."""
_SMALLEST_LOCALE = 0.1
_RECOGNISED_BY = 64
_SAME_COSINE = 0.999
"""Learned encoders give other last digits on other machines."""


@dataclass
class EncodeReport:
    """Vectors made and kept; ``notes`` say what a reader of the vectors should know."""

    encoder: str
    dim: int
    queries_encoded: int = 0
    queries_renewed: int = 0
    queries_kept: int = 0
    product_texts_encoded: int = 0
    product_texts_renewed: int = 0
    product_texts_kept: int = 0
    products_judged_in_several_locales: int = 0
    pictures_encoded: int = 0
    pictures_renewed: int = 0
    pictures_kept: int = 0
    products_without_picture: int = 0
    feedback_queries_encoded: int = 0
    notes: tuple[str, ...] = ()


def encode_missing(
    data_dir: Path,
    encoder: Encoder,
    *,
    images: bool = True,
    force: bool = False,
    locale: str | None = "us",
    locale_was_asked_for: bool = False,
) -> EncodeReport:
    """Makes vectors for the queries and products in ``data_dir`` which have none, or one of another text or picture.

    Without judgements there are no queries.

    Query vectors are of the query, product vectors of the title and, with ``images``, of the pictures in
    product_images.parquet (no picture: null). The digest of what a vector was made from stands beside it: where text or
    picture are others now, it is made anew. Other vectors stay, and a file in which nothing is missing is not touched;
    each file is replaced whole, and a killed call is finished by the next. With ``force`` both files are made anew and
    take their place in one step: killed at any moment, all vectors are the old ones or the new ones. A sample with
    vectors of another encoder than its own is none any more, and its README is dropped.

    Args:
        locale: a product has its title there, where it is judged there; else in the locale in which it is judged first.
            Unless ``locale_was_asked_for``, the locale with most judgements takes the place of one that has hardly any.

    Raises DataError: a bad file, a picture that cannot be decoded, vectors of another length than ``encoder.dim``,
    vectors that would be of two encoders.
    """
    data_dir = Path(data_dir)
    for leftover in data_dir.glob(".*.part"):
        leftover.unlink()
    report = EncodeReport(encoder.name, encoder.dim)
    texts = _Texts.read(data_dir, locale, locale_was_asked_for)
    report.products_judged_in_several_locales = texts.judged_in_several_locales
    if texts.judged_in_several_locales:
        where = f"{texts.locale}, or else in " if texts.locale else ""
        report.notes = (
            *report.notes,
            f"{texts.judged_in_several_locales:,} products are judged in several locales: their vectors are of the "
            f"title in {where}the one judged first; --set data.locale=LOCALE chooses another",
        )
    if force:
        with staged_folder(data_dir) as folder:
            if data_dir.is_dir():
                keep_others(data_dir, folder, (formats.QUERY_FEATURES_FILE, formats.PRODUCT_FEATURES_FILE))
            _encode(data_dir, folder, texts, encoder, images, report)
    else:
        with disk_errors(data_dir):
            _encode(data_dir, data_dir, texts, encoder, images, report)
    return report


def _encode(data_dir: Path, target: Path, texts: _Texts, encoder: Encoder, images: bool, report: EncodeReport) -> None:
    """Texts and pictures of ``data_dir`` into the vectors of ``target``."""
    queries = _Existing.open(target / formats.QUERY_FEATURES_FILE, readers.read_query_features, texts.queries, encoder)
    products = _Existing.open(
        target / formats.PRODUCT_FEATURES_FILE, readers.read_product_features, texts.titles, encoder
    )
    of_queries, of_products = (side.encoder if side.is_there else encoder.name for side in (queries, products))
    if queries.is_there or products.is_there:
        refuse_two(of_queries, of_products, target / formats.PRODUCT_FEATURES_FILE)
    if not formats.has_no_judgements(data_dir):
        _encode_queries(queries, texts.queries, encoder, report)
        # Vectors of feedback follow those of the judged queries: of two encoders their cosines mean nothing.
        if not queries.is_there or of_queries == encoder.name:
            report.feedback_queries_encoded = encode_spans(
                data_dir, target, encoder.name, encoder.encode_texts, force=False
            )
    _encode_products(data_dir, products, texts.titles, encoder, images, report)
    encoded = report.queries_encoded or report.product_texts_encoded or report.pictures_encoded
    renewed = report.queries_renewed or report.product_texts_renewed or report.pictures_renewed
    if (encoded or renewed) and encoder.name != OfflineEncoder.name and is_sample(target):
        (target / formats.README_FILE).unlink()
    kept = report.queries_kept + report.product_texts_kept
    if kept and of_queries != encoder.name:
        whose = f"by {of_queries}" if of_queries else "of unknown origin"
        report.notes = (*report.notes, f"the {kept:,} text vectors that were kept are {whose}, not by {encoder.name}")


# --- texts ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Texts:
    """What is to be encoded: tables of ``id``, ``text`` and ``digest``, each id once."""

    queries: pa.Table
    titles: pa.Table
    judged_in_several_locales: int
    locale: str | None

    @classmethod
    def read(cls, data_dir: Path, locale: str | None, forced: bool) -> _Texts:
        if formats.has_no_judgements(data_dir):
            judged = formats.EXAMPLES_SCHEMA.empty_table()
        else:
            judged = readers.load_examples(data_dir / formats.EXAMPLES_FILE).table
        _, first = np.unique(readers.codes(judged["query_id"]), return_index=True)
        queries = judged.select(["query_id", "query"]).take(pa.array(np.sort(first)))
        pairs = judged.select(["product_id", "product_locale"]).group_by(["product_id", "product_locale"])
        pairs = pairs.aggregate([]).combine_chunks()
        several = pairs.num_rows - len(pc.unique(pairs["product_id"]))
        if several:
            several = int((np.bincount(readers.codes(pairs["product_id"])) > 1).sum())
        catalogue = pa.Table.from_batches(
            batch.select(["product_id", "product_locale", "product_title"])
            for batch in readers.read_products(data_dir / formats.PRODUCTS_FILE)
        )
        main = locale if forced else _main_locale(judged, locale)
        rows = _title_rows(catalogue, judged, main)
        titles = catalogue.select(["product_id", "product_title"]).take(pa.array(rows))
        return cls(_with_digests(queries), _with_digests(titles), several, main)


def _with_digests(texts: pa.Table) -> pa.Table:
    texts = texts.rename_columns(["id", "text"]).combine_chunks()
    digests = pa.array([text_digest(text) for text in texts["text"].to_pylist()], pa.string())
    return texts.append_column("digest", digests)


def _main_locale(judged: pa.Table, locale: str | None) -> str | None:
    """``locale``, unless hardly a judgement is of it: then the one with most judgements."""
    counted = {item["values"]: item["counts"] for item in pc.value_counts(judged["product_locale"]).to_pylist()}
    if locale is None or counted.get(locale, 0) >= _SMALLEST_LOCALE * judged.num_rows:
        return locale
    return max(counted, key=lambda name: (counted[name], name))


def _title_rows(catalogue: pa.Table, judged: pa.Table, locale: str | None) -> np.ndarray:
    """The row of each product's title: in ``locale`` where it is judged there, else where it is judged first, else in
    ``locale``, else its first row; int64 in the order of the products' first rows."""
    ids = catalogue["product_id"].combine_chunks()
    code = readers.codes(catalogue["product_id"])
    if len(np.unique(code)) == len(code):
        return np.arange(len(code))
    keys = pc.binary_join_element_wise(catalogue["product_id"], catalogue["product_locale"], "\x1f")
    judged_keys = pc.binary_join_element_wise(judged["product_id"], judged["product_locale"], "\x1f")
    first_judged = pc.fill_null(pc.index_in(keys, pc.unique(judged_keys)), -1).to_numpy()
    in_locale = pc.equal(catalogue["product_locale"], locale or "").to_numpy()
    # smaller is better: judged in the locale, judged as early as possible, in the locale, anything
    rank = np.where(first_judged >= 0, first_judged + 1, np.where(in_locale, len(ids) + judged.num_rows, 2**62))
    rank = np.where((first_judged >= 0) & in_locale, 0, rank)
    order = np.lexsort((np.arange(len(code)), rank, code))
    best = order[np.flatnonzero(np.diff(code[order], prepend=-1))]
    _, appearance = np.unique(code, return_index=True)
    return best[np.argsort(appearance, kind="stable")]


# --- vectors that are there -------------------------------------------------------------------------------------------


def _schema(base: pa.Schema, timed: bool, digests: Sequence[str], encoder: str) -> pa.Schema:
    if timed:
        base = base.append(pa.field(formats.TIMESTAMP, formats.TIMESTAMP_TYPE))
    for name in digests:
        base = base.append(pa.field(name, pa.string()))
    return base.with_metadata({formats.ENCODER_KEY: encoder})


@dataclass(frozen=True)
class _Existing:
    """A vector file, there or not.

    ``encoder`` made its vectors (None: unknown), as the file says or, ``unnamed`` there, as the vectors do: those
    of the encoder at hand are recognised.
    """

    path: Path
    is_there: bool = False
    timed: bool = False
    encoder: str | None = None
    unnamed: bool = False

    @classmethod
    def open(
        cls, path: Path, read: Callable[..., Iterator[pa.RecordBatch]], texts: pa.Table, encoder: Encoder
    ) -> _Existing:
        if not path.exists():
            return cls(path)
        timed = formats.TIMESTAMP in readers.open_source(path).columns
        named = encoder_in(path)
        if named is None and _are_by(encoder, read(path, allow_missing=True), texts):
            return cls(path, True, timed, encoder.name, unnamed=True)
        return cls(path, True, timed, named)

    def schema(self, base: pa.Schema, digests: Sequence[str], encoder: str, kept: int) -> pa.Schema:
        """Schema of the new file. Raises DataError where it would have vectors of two encoders."""
        refuse_mixture(self.path, self.encoder, kept, encoder)
        return _schema(base, self.timed, digests, encoder)


def _are_by(encoder: Encoder, batches: Iterator[pa.RecordBatch], texts: pa.Table) -> bool:
    """Whether the first vectors of a file are those that ``encoder`` makes of their texts."""
    for batch in batches:
        position = pc.index_in(batch.column(0), texts["id"].combine_chunks())
        usable = pc.and_(position.is_valid(), batch[formats.TEXT_VECTOR].is_valid())
        batch, position = (
            batch.filter(usable).slice(0, _RECOGNISED_BY),
            position.filter(usable).slice(0, _RECOGNISED_BY),
        )
        if not batch.num_rows:
            continue
        there = np.stack([row.values.to_numpy() for row in batch[formats.TEXT_VECTOR]])
        if there.shape[1] != encoder.dim:
            return False
        fresh = encoder.encode_texts(texts["text"].take(position).to_pylist())
        cosines = (there * fresh).sum(axis=1) / (np.linalg.norm(there, axis=1) * np.linalg.norm(fresh, axis=1))
        return bool((cosines > _SAME_COSINE).all())
    return False


def _check_dim(batch: pa.RecordBatch, column: str, encoder: Encoder, path: Path) -> None:
    """``batch`` has the lengths of vectors."""
    dim = pc.max(batch[column]).as_py()
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


def _published(columns: Mapping[str, pa.Array], schema: pa.Schema) -> pa.RecordBatch:
    """A batch of ``schema``; what is not among ``columns`` is null."""
    rows = len(next(iter(columns.values())))
    filled = [
        columns[field.name].cast(field.type) if field.name in columns else pa.nulls(rows, field.type)
        for field in schema
    ]
    return pa.RecordBatch.from_arrays(filled, schema=schema)


# --- queries ----------------------------------------------------------------------------------------------------------


class _Known:
    """The texts that are to be encoded, looked up by the ids of one batch after the other."""

    def __init__(self, texts: pa.Table) -> None:
        self._places = Places(texts["id"])
        self._texts, self._digests = texts["text"].combine_chunks(), texts["digest"].combine_chunks()

    def places(self, ids: pa.Array) -> pa.Array:
        """int32 [n], null where an id has no text."""
        return self._places.of(ids)

    def texts(self, places: pa.Array) -> list[str]:
        return self._texts.take(places).to_pylist()

    def digests(self, places: pa.Array) -> pa.Array:
        return self._digests.take(places)

    def outdated(self, digests: pa.Array, ids: pa.Array) -> pa.Array:
        """bool [n]: a vector was made of another text than its id has now."""
        return pc.fill_null(pc.not_equal(digests, self.digests(self.places(ids))), False)


def _renewable(batch: pa.RecordBatch) -> pa.Array:
    """Rows whose vectors may be replaced: a time makes a row part of a history."""
    return batch[formats.TIMESTAMP].is_null()


def _encode_queries(existing: _Existing, queries: pa.Table, encoder: Encoder, report: EncodeReport) -> None:
    path = existing.path
    have = pa.array([], pa.int64())
    known = _Known(queries)
    if existing.is_there:
        chunks = []
        for batch in readers.read_vector_lengths(path, of_products=False):
            _check_dim(batch, formats.TEXT_VECTOR, encoder, path)
            chunks.append(batch["query_id"].filter(_good_query(batch, known)))
            report.queries_renewed += batch.num_rows - len(chunks[-1]) - batch[formats.TEXT_VECTOR].null_count
        have = pc.unique(pa.chunked_array(chunks))
    queries = queries.filter(pc.invert(pc.is_in(queries["id"], have)))
    report.queries_kept, report.queries_encoded = len(have), queries.num_rows - report.queries_renewed
    if not queries.num_rows and not existing.unnamed:
        return
    schema = existing.schema(formats.QUERY_FEATURES_SCHEMA, (formats.TEXT_DIGEST,), encoder.name, len(have))

    def batches() -> Iterator[pa.RecordBatch]:
        if existing.is_there:
            for batch in readers.read_query_features(path, allow_missing=True, digests=True):
                kept = batch.filter(_good_query(batch, known))
                yield _published({name: kept[name] for name in schema.names}, schema)
        for batch in queries.to_batches(_ROWS_AT_ONCE):
            vectors = encoder.encode_texts(batch["text"].to_pylist())
            columns = {
                "query_id": batch["id"],
                formats.TEXT_VECTOR: _lists(vectors, np.ones(len(vectors), bool)),
                formats.TEXT_DIGEST: batch["digest"],
            }
            yield _published(columns, schema)

    with staged_file(path) as partial:
        write_batches(partial, schema, batches(), compression="none")


def _good_query(batch: pa.RecordBatch, queries: _Known) -> pa.Array:
    """Rows with a vector of the text that the query has."""
    outdated = pc.and_(queries.outdated(batch[formats.TEXT_DIGEST], batch["query_id"]), _renewable(batch))
    return pc.and_(batch[formats.TEXT_VECTOR].is_valid(), pc.invert(outdated))


# --- products ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Pictures:
    """New vectors of pictures: row i of ``vectors`` is of ``ids[i]``, whose picture has ``digests[i]``."""

    ids: pa.Array
    digests: pa.Array
    vectors: np.ndarray

    def rows(self, product_ids: pa.Array) -> np.ndarray:
        """int64 [n]: row of each product's picture vector, -1 where it has none."""
        found = pc.index_in(product_ids, self.ids)
        return pc.fill_null(found, -1).to_numpy(zero_copy_only=False).astype(np.int64)


@dataclass(frozen=True)
class _Listed:
    """Ids of a product file: ``all`` of them, those ``with_text`` and ``with_picture``.

    ``old_texts`` rows have the vector of another text; ``made_from`` is the digest of the picture for each id that has
    one and may be renewed.
    """

    all: pa.Array
    with_text: pa.Array
    with_picture: pa.Array
    old_texts: int
    made_from: dict[str, str]


def _encode_products(
    data_dir: Path, existing: _Existing, titles: pa.Table, encoder: Encoder, images: bool, report: EncodeReport
) -> None:
    path = existing.path
    known = _Known(titles)
    listed = _listed(existing, known, encoder)
    report.product_texts_renewed = listed.old_texts
    report.product_texts_kept = len(listed.with_text)
    with tempfile.TemporaryFile(dir=path.parent) as spill:
        pictures = _encode_pictures(data_dir, encoder, images, titles, listed, spill)
        report.pictures_renewed = len(pc.unique(pictures.ids.filter(pc.is_in(pictures.ids, listed.with_picture))))
        report.pictures_encoded = len(pictures.ids) - report.pictures_renewed
        report.pictures_kept = len(listed.with_picture) - report.pictures_renewed
        ids = titles["id"]
        new_texts = len(ids) - int(pc.sum(pc.is_in(ids, listed.with_text)).as_py() or 0)
        report.product_texts_encoded = new_texts - listed.old_texts
        all_ids = pc.unique(pa.chunked_array([*ids.chunks, listed.all]))
        report.products_without_picture = len(all_ids) - len(listed.with_picture) - report.pictures_encoded
        if not new_texts and not len(pictures.ids) and not existing.unnamed:
            return
        digests = (formats.TEXT_DIGEST, formats.IMAGE_DIGEST)
        kept = max(report.product_texts_kept, report.pictures_kept)
        schema = existing.schema(formats.PRODUCT_FEATURES_SCHEMA, digests, encoder.name, kept)

        def batches() -> Iterator[pa.RecordBatch | pa.Table]:
            if existing.is_there:
                last: list[pa.RecordBatch] = []
                for batch in readers.read_product_features(path, allow_missing=True, digests=True, pictures_alone=True):
                    batch, changed = _completed(batch, known, pictures, encoder, schema)
                    # What reads the changed rows later reads a few row groups, not one of each of these batches.
                    if changed is not None and sum(part.num_rows for part in last) < _MOST_MOVED:
                        last.append(batch.filter(pa.array(changed)))
                        yield kept_rows(batch, ~changed)
                    else:
                        yield batch
                yield from _joined(last)
            rest = titles.filter(pc.invert(pc.is_in(ids, listed.all)))
            for batch in rest.to_batches(_ROWS_AT_ONCE):
                texts = encoder.encode_texts(batch["text"].to_pylist())
                rows = pictures.rows(batch["id"])
                columns = {
                    "product_id": batch["id"],
                    formats.TEXT_VECTOR: _lists(texts, np.ones(len(texts), bool)),
                    formats.IMAGE_VECTOR: _picture_lists(pictures, rows),
                    formats.TEXT_DIGEST: batch["digest"],
                    formats.IMAGE_DIGEST: _picture_digests(pictures, rows),
                }
                yield _published(columns, schema)

        with staged_file(path) as partial:
            write_batches(partial, schema, batches(), compression="none")


def _listed(existing: _Existing, titles: _Known, encoder: Encoder) -> _Listed:
    empty = pa.array([], pa.string())
    if not existing.is_there:
        return _Listed(empty, empty, empty, 0, {})
    texts, pictures, everything = [], [], []
    old_texts = 0
    made_from: dict[str, str] = {}
    for batch in readers.read_vector_lengths(existing.path, of_products=True):
        for column in (formats.TEXT_VECTOR, formats.IMAGE_VECTOR):
            _check_dim(batch, column, encoder, existing.path)
        ids = batch["product_id"]
        good = _good_text(batch, titles)
        texts.append(ids.filter(good))
        old_texts += batch.num_rows - len(texts[-1]) - batch[formats.TEXT_VECTOR].null_count
        pictures.append(ids.filter(batch[formats.IMAGE_VECTOR].is_valid()))
        everything.append(ids)
        known = pc.and_(batch[formats.IMAGE_DIGEST].is_valid(), _renewable(batch))
        if pc.any(known).as_py():
            known_ids = ids.filter(known).to_pylist()
            made_from.update(zip(known_ids, batch[formats.IMAGE_DIGEST].filter(known).to_pylist(), strict=True))
    all_ids, with_text, with_picture = (pc.unique(pa.chunked_array(chunks)) for chunks in (everything, texts, pictures))
    return _Listed(all_ids, with_text, with_picture, old_texts, made_from)


def _good_text(batch: pa.RecordBatch, titles: _Known) -> pa.Array:
    """Rows with a vector of the title that the product has."""
    outdated = pc.and_(titles.outdated(batch[formats.TEXT_DIGEST], batch["product_id"]), _renewable(batch))
    return pc.and_(batch[formats.TEXT_VECTOR].is_valid(), pc.invert(outdated))


def _encode_pictures(
    data_dir: Path, encoder: Encoder, images: bool, titles: pa.Table, listed: _Listed, spill: IO[bytes]
) -> _Pictures:
    """Encodes the pictures of products that lack their vector or have that of another picture; vectors go to ``spill``,
    a file on disk."""
    path = data_dir / formats.IMAGES_FILE
    empty = pa.array([], pa.string())
    none = _Pictures(empty, empty, np.zeros((0, encoder.dim), np.float32))
    if not images or not path.exists():
        return none
    found, digests = [], []
    start = 0
    for batch in readers.read_images(path):
        known = pc.is_in(batch["product_id"], titles["id"])
        lacking = pc.invert(pc.is_in(batch["product_id"], listed.with_picture))
        maybe = pc.and_(known, pc.or_(lacking, pc.is_in(batch["product_id"], pa.array(listed.made_from, pa.string()))))
        rows = np.flatnonzero(maybe.to_numpy(zero_copy_only=False))
        pictures = [(row, batch["product_id"][row].as_py(), batch["image"][row].as_py()) for row in rows.tolist()]
        fresh = [(row, product, image, picture_digest(image)) for row, product, image in pictures]
        fresh = [item for item in fresh if listed.made_from.get(item[1]) != item[3]]
        if fresh:
            at = start + np.array([item[0] for item in fresh])
            vectors = _vectors_of(encoder, [item[2] for item in fresh], path, at)
            spill.write(np.ascontiguousarray(vectors).tobytes())
            found.append(pa.array([item[1] for item in fresh], pa.string()))
            digests.append(pa.array([item[3] for item in fresh], pa.string()))
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
    vectors = np.memmap(spill, dtype=np.float32, mode="r", shape=(len(ids), encoder.dim))
    return _Pictures(ids, pa.chunked_array(digests).combine_chunks(), vectors)


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


def _picture_digests(pictures: _Pictures, rows: np.ndarray) -> pa.Array:
    return pictures.digests.take(pa.array(rows, mask=rows < 0))


def _completed(
    batch: pa.RecordBatch, titles: _Known, pictures: _Pictures, encoder: Encoder, schema: pa.Schema
) -> tuple[pa.RecordBatch, np.ndarray | None]:
    """Rows of the existing file with what was missing or outdated in them made, and which these are, bool [n], None
    for none; a row without any text is dropped."""
    position = titles.places(batch["product_id"])
    usable = pc.or_(batch[formats.TEXT_VECTOR].is_valid(), position.is_valid())
    if not pc.all(usable).as_py():
        batch, position = batch.filter(usable), position.filter(usable)
    columns = {name: batch[name] for name in schema.names}
    changed = np.zeros(batch.num_rows, bool)

    gaps = pc.invert(_good_text(batch, titles))
    if pc.any(gaps).as_py():
        fresh = encoder.encode_texts(titles.texts(position.filter(gaps)))
        replaced = _lists(fresh, gaps.to_numpy(zero_copy_only=False))
        columns[formats.TEXT_VECTOR] = pc.if_else(gaps, replaced, batch[formats.TEXT_VECTOR])
        columns[formats.TEXT_DIGEST] = pc.if_else(gaps, titles.digests(position), batch[formats.TEXT_DIGEST])
        changed |= gaps.to_numpy(zero_copy_only=False)

    rows = pictures.rows(batch["product_id"])
    stays = pc.and_(
        batch[formats.IMAGE_VECTOR].is_valid(),
        pc.or_(batch[formats.IMAGE_DIGEST].is_null(), pc.invert(_renewable(batch))),
    )
    rows[stays.to_numpy(zero_copy_only=False)] = -1
    if (rows >= 0).any():
        new = pa.array(rows >= 0)
        columns[formats.IMAGE_VECTOR] = pc.if_else(new, _picture_lists(pictures, rows), batch[formats.IMAGE_VECTOR])
        columns[formats.IMAGE_DIGEST] = pc.if_else(new, _picture_digests(pictures, rows), batch[formats.IMAGE_DIGEST])
        changed |= rows >= 0
    return _published(columns, schema), changed if changed.any() else None


def _joined(batches: Sequence[pa.RecordBatch]) -> list[pa.RecordBatch]:
    """Small batches as a few larger ones."""
    if not batches:
        return []
    return pa.Table.from_batches(batches).combine_chunks().to_batches(_ROWS_AT_ONCE)
