"""`evaluate --baselines`: zero-shot rows from the raw vectors of ``data/``, without a model or a feature store.

The product vectors are streamed once, batch by batch. Only the judgements and the vectors of the judged queries are
held in memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sqidflow.core.errors import DataError
from sqidflow.core.settings import Settings
from sqidflow.core.workdir import Workdir
from sqidflow.data import formats, readers
from sqidflow.data.digests import check_titles
from sqidflow.data.encoder_name import check_one_encoder
from sqidflow.data.prepare import judged_pairs, known_since
from sqidflow.evaluation.held_out import Evaluation, evaluate_baselines
from sqidflow.ranking import features
from sqidflow.ranking.languages import language_of

_PAIRS_AT_ONCE = 4096
_PRODUCT_AND_TITLE = (features.PRODUCT_ID, features.TITLE)
_NEVER = np.iinfo(np.int64).min


def baselines(workdir: Workdir, settings: Settings, *, swapped_gains: bool = False) -> Evaluation:
    """Evaluate the baselines on every query that passes the settings' filters.

    Raises:
        DataError: a raw file is missing or invalid, or a judged query or product has no vector.
    """
    judged = judged_pairs(
        workdir.data,
        locale=settings.data.locale,
        small_version=settings.data.small_version,
        large_version=settings.data.large_version,
        splits=settings.data.splits,
    )
    ratings = pc.index_in(judged[features.LABEL], pa.array(features.CLASSES)).cast(pa.int64())
    cosines, has_image = raw_cosines(judged, workdir.data)
    pairs = judged.append_column(features.RATING, ratings)
    pairs = pairs.append_column(features.HAS_IMAGE, pa.array(has_image.astype(np.int64)))
    language = language_of(settings.data.language, settings.data.locale)
    return evaluate_baselines(pairs, cosines, workdir.data, swapped_gains=swapped_gains, language=language)


def raw_cosines(judged: pa.Table, data_dir: Path) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Cosines of n judged pairs as training computes them, and whether each product has a picture.

    Args:
        judged: ``query_id``, ``product_id`` and ``event_timestamp``; vectors are looked up as of that time, null means
            the newest.

    Returns:
        ``cosine_text``, ``cosine_image`` (0 without a picture) and their blend ``cosine`` (the text cosine if there is
        no picture), float64 [n]; has-picture bool [n].

    Raises:
        DataError: a file is missing or invalid, a query or product has no vector, or vectors differ in length or
            encoder.
    """
    as_of = pc.fill_null(judged[formats.TIMESTAMP].cast(pa.int64()), np.iinfo(np.int64).max).to_numpy()
    check_one_encoder(data_dir)
    query_file, product_file = data_dir / formats.QUERY_FEATURES_FILE, data_dir / formats.PRODUCT_FEATURES_FILE
    if product_file.is_file() and features.TITLE in judged.schema.names:
        check_titles(product_file, zip(*(judged[name].to_pylist() for name in _PRODUCT_AND_TITLE), strict=True))
    since = pa.scalar(known_since(judged), formats.TIMESTAMP_TYPE)
    lookup = _Lookup(judged[features.QUERY_ID], as_of, since)
    slots, parts, stored = np.zeros(len(as_of), np.int64), [], 0
    for batch in readers.read_query_features(query_file):
        positions, rows = lookup.newer(batch, features.QUERY_ID)
        used, compact = np.unique(rows, return_inverse=True)
        slots[positions] = stored + compact
        parts.append(_units(batch[formats.TEXT_VECTOR].take(pa.array(used))))
        stored += len(used)
    lookup.check(query_file)
    queries = np.concatenate([part for part in parts if len(part)])

    text, image = np.zeros(len(as_of)), np.zeros(len(as_of))
    has_image = np.zeros(len(as_of), bool)
    lookup = _Lookup(judged[features.PRODUCT_ID], as_of, since)
    for batch in readers.read_product_features(product_file):
        for positions, rows in _chunks(*lookup.newer(batch, features.PRODUCT_ID)):
            query_units = queries[slots[positions]]
            text[positions] = _dots(query_units, batch[formats.TEXT_VECTOR].take(pa.array(rows)), product_file)
            pictures = batch[formats.IMAGE_VECTOR].take(pa.array(rows))
            present = pictures.is_valid().to_numpy(zero_copy_only=False)
            has_image[positions] = present
            image[positions] = 0.0
            if present.any():
                image[positions[present]] = _dots(query_units[present], pictures.drop_null(), product_file)
    lookup.check(product_file)
    blend = np.where(has_image, (text + image) / 2, text)
    return {"cosine_text": text, "cosine_image": image, "cosine": blend}, has_image


class _Lookup:
    """Point-in-time look-up over streamed batches: the newest vector of each pair as of the pair's time."""

    def __init__(self, ids: pa.ChunkedArray, as_of: np.ndarray, since: pa.Scalar) -> None:
        encoded = ids.combine_chunks().dictionary_encode()
        codes = encoded.indices.to_numpy()
        self._ids, self._as_of = encoded.dictionary, as_of
        self._by_id = np.argsort(codes, kind="stable")
        self._counts = np.bincount(codes, minlength=len(self._ids))
        self._starts = np.cumsum(self._counts) - self._counts
        self._codes = codes
        self._best = np.full(len(as_of), _NEVER)
        self._since = since  # when vectors without a time are known

    def newer(self, batch: pa.RecordBatch, key: str) -> tuple[np.ndarray, np.ndarray]:
        """The pairs for which the batch has a newer vector: their positions, and the row of that vector."""
        code_of_row = pc.index_in(batch[key], self._ids)
        rows = np.flatnonzero(code_of_row.is_valid().to_numpy(zero_copy_only=False))
        codes = code_of_row.drop_null().to_numpy()
        stamps = pc.fill_null(batch[formats.TIMESTAMP], self._since)
        counts = self._counts[codes]
        within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        positions = self._by_id[np.repeat(self._starts[codes], counts) + within]
        rows = np.repeat(rows, counts)
        times = stamps.cast(pa.int64()).to_numpy()[rows]
        fits = (times <= self._as_of[positions]) & (times > self._best[positions])
        positions, rows, times = positions[fits], rows[fits], times[fits]
        order = np.lexsort((times, positions))
        last = np.append(np.diff(positions[order]) > 0, True)[: len(order)]
        positions, rows = positions[order][last], rows[order][last]
        self._best[positions] = times[order][last]
        return positions, rows

    def check(self, file: Path) -> None:
        """Raise DataError if a pair has no vector."""
        without = np.unique(self._codes[self._best == _NEVER])
        if len(without):
            raise DataError(
                f"{len(without)} judged ids have no vector as of their judgement, the first is {self._ids[without[0]]}",
                file=file,
                column=formats.TEXT_VECTOR,
                hint="run `sqidflow data encode`, or keep fewer judgements with --set data.splits=[test]",
            )


def _chunks(positions: np.ndarray, rows: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    for start in range(0, len(positions), _PAIRS_AT_ONCE):
        yield positions[start : start + _PAIRS_AT_ONCE], rows[start : start + _PAIRS_AT_ONCE]


def _units(vectors: pa.ListArray) -> np.ndarray:
    """Unit vectors float32 [n, d] from n lists. The readers reject zero vectors, so no norm is 0."""
    if not len(vectors):
        return np.zeros((0, 0), np.float32)
    matrix = vectors.flatten().to_numpy().reshape(len(vectors), -1)
    return matrix / np.linalg.norm(matrix, axis=1, keepdims=True)


def _dots(queries: np.ndarray, vectors: pa.ListArray, file: Path) -> np.ndarray:
    units = _units(vectors)
    if units.shape != queries.shape:
        raise DataError(
            f"the vectors have {units.shape[1]} values, those of the queries have {queries.shape[1]}",
            file=file,
            hint="encode everything with one encoder: run `sqidflow data encode --force`",
        )
    return np.einsum("ij,ij->i", queries, units, dtype=np.float64)
