"""Vectors of an import: put beside or in the place of those that are there."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sqidflow.core.errors import DataError
from sqidflow.data import formats, readers
from sqidflow.data.digests import text_digest
from sqidflow.data.encoder_name import check_import, encoder_in
from sqidflow.data.import_report import ImportReport
from sqidflow.data.import_texts import QueryIds
from sqidflow.data.query_numbers import by_text
from sqidflow.data.sources import Source
from sqidflow.data.staging import kept_rows, write_batches
from sqidflow.ranking.query_text import query_key

_NEVER = np.iinfo(np.int64).min
"""The time of vectors without one: before every other."""
_ROWS_AT_ONCE = 4096


@dataclass(frozen=True)
class Kind:
    """Where query and product vectors differ. ``vectors`` maps each vector column to that of its digest."""

    key: str
    file: str
    schema: pa.Schema
    count: str
    vectors: dict[str, str]
    plural: str


QUERIES = Kind(
    "query_id",
    formats.QUERY_FEATURES_FILE,
    formats.QUERY_FEATURES_SCHEMA,
    "query_vectors",
    {formats.TEXT_VECTOR: formats.TEXT_DIGEST},
    "query vectors",
)
PRODUCTS = Kind(
    "product_id",
    formats.PRODUCT_FEATURES_FILE,
    formats.PRODUCT_FEATURES_SCHEMA,
    "product_vectors",
    {formats.TEXT_VECTOR: formats.TEXT_DIGEST, formats.IMAGE_VECTOR: formats.IMAGE_DIGEST},
    "product vectors",
)


def read_kept(kind: Kind, path: Path) -> Iterator[pa.RecordBatch]:
    """Vectors of a file of ``data/``, with their digests; a row may be without a text vector."""
    read = readers.read_query_features if kind is QUERIES else readers.read_product_features
    return read(path, allow_missing=True, digests=True)


@dataclass(frozen=True)
class Incoming:
    """Vectors to be imported, read as often as wanted; ``rows`` int64 are their rows in the file, from 0.

    ``absent`` are the vector columns that the file does not have. ``times`` int64 are microseconds, before every other
    where there is none.
    """

    batches: Callable[[], Iterator[pa.RecordBatch]]
    ids: pa.Array
    times: np.ndarray
    rows: np.ndarray
    absent: tuple[str, ...]


def product_vectors(source: Source) -> Incoming:
    has = {formats.TEXT_VECTOR: readers.has_text_vectors, formats.IMAGE_VECTOR: readers.has_picture_vectors}
    absent = tuple(name for name, is_there in has.items() if not is_there(source))

    def batches() -> Iterator[pa.RecordBatch]:
        return readers.read_product_features(source, digests=True, pictures_alone=True)

    return _with_keys(batches, "product_id", absent)


def query_vectors(source: Source, ids: QueryIds | None, examples: Path, report: ImportReport) -> Incoming:
    """Query vectors under the ids that the judgements have now: matched by text where the file has it, else by id.

    Raises:
        DataError: ids that an import made up would be taken for ids that somebody else gave.
    """
    judged = pa.Table.from_batches(readers.read_examples(examples)) if examples.is_file() else None
    named = list(readers.read_query_features(source, digests=True, texts=True))
    table = pa.Table.from_batches(named)
    by_their_text = "query" in source.columns and judged is not None
    match = _ids_by_text(table, judged) if by_their_text else _ids_by_id(table, ids, judged, source.path)
    new_ids, rows = match
    report.query_vectors_of_no_query += table.num_rows - len(np.unique(rows))
    table = table.select([*formats.QUERY_FEATURES_SCHEMA.names, formats.TIMESTAMP, formats.TEXT_DIGEST])
    table = table.take(pa.array(rows)).set_column(0, "query_id", pa.array(new_ids, pa.int64()))
    incoming = _with_keys(lambda: iter(table.to_batches(_ROWS_AT_ONCE)), "query_id", ())
    return Incoming(incoming.batches, incoming.ids, incoming.times, rows, ())


def _ids_by_id(
    table: pa.Table, ids: QueryIds | None, judged: pa.Table | None, path: Path
) -> tuple[np.ndarray, np.ndarray]:
    if table["query_id"].null_count:
        raise DataError("has no value", file=path, column="query_id", hint="give each vector its query_id")
    given = table["query_id"].to_numpy()
    if ids is not None and ids.made_up is not None and judged is not None:
        _refuse_made_up(table, given, ids.made_up, judged, path)
    of_given = ids.of_given if ids else {}
    own = {int(number) for number in given}
    new_ids, rows = [], []
    for row, number in enumerate(given.tolist()):
        for new in of_given.get(number, [number]):
            if new == number or new not in own:  # a merged id has the vector of the id that stays, where there is one
                new_ids.append(new)
                rows.append(row)
    return np.array(new_ids, np.int64), np.array(rows, np.int64)


def _refuse_made_up(table: pa.Table, given: np.ndarray, made_up: tuple[int, int], judged: pa.Table, path: Path) -> None:
    """Whoever numbered the vectors did not know the ids that the import made up, unless they were made of its texts."""
    queries = {number: text for number, text, _ in by_text(judged)}
    everyone = all(made_up[0] <= number <= made_up[1] for number in queries)
    digests = table[formats.TEXT_DIGEST].to_pylist()
    strange = np.array(
        [
            (everyone or made_up[0] <= number <= made_up[1])
            and (digest is None or number not in queries or digest != text_digest(queries[number]))
            for number, digest in zip(given.tolist(), digests, strict=True)
        ]
    )
    if strange.any():
        row = int(strange.argmax())
        raise DataError(
            f"the judgements have query_ids that the import made up ({made_up[0]} to {made_up[1]}): they are not the "
            f"ids of these vectors, the first of them {given[row]}",
            file=path,
            row=row + 1,
            column="query_id",
            hint="give the vectors a column query with their text, or the judgements the vectors' query_id",
        )


def _ids_by_text(table: pa.Table, judged: pa.Table) -> tuple[np.ndarray, np.ndarray]:
    of_text: dict[str, dict[str, int]] = {}
    taken = set()
    for number, text, locale in by_text(judged):
        of_text.setdefault(query_key(text), {})[locale] = number
        taken.add(number)
    new_ids, rows = [], []
    asked = table.select(["query_id", "query", formats.QUERY_LOCALE]).to_pylist()
    for row, entry in enumerate(asked):
        of_locale = of_text.get(query_key(entry["query"]), {})
        locale = entry[formats.QUERY_LOCALE]
        numbers = list(of_locale.values()) if locale is None else [of_locale[locale]] if locale in of_locale else []
        if not numbers and entry["query_id"] is not None and entry["query_id"] not in taken:
            numbers = [entry["query_id"]]  # of no judged query: kept under its own id
        new_ids += numbers
        rows += [row] * len(numbers)
    return np.array(new_ids, np.int64), np.array(rows, np.int64)


def _with_keys(batches: Callable[[], Iterator[pa.RecordBatch]], key: str, absent: tuple[str, ...]) -> Incoming:
    ids, times = [], []
    for batch in batches():
        ids.append(batch[key])
        times.append(_micros(batch[formats.TIMESTAMP]))
    kind = QUERIES if key == "query_id" else PRODUCTS
    all_ids = pa.chunked_array(ids, pa.int64() if kind is QUERIES else pa.string()).combine_chunks()
    all_times = np.concatenate(times) if times else np.zeros(0, np.int64)
    return Incoming(batches, all_ids, all_times, np.arange(len(all_ids)), absent)


def _micros(times: pa.Array) -> np.ndarray:
    return pc.fill_null(times.cast(pa.int64()), _NEVER).to_numpy(zero_copy_only=False)


def import_vectors(
    folder: Path,
    old: Path | None,
    source: Source,
    kind: Kind,
    incoming: Incoming,
    encoder: str | None,
    report: ImportReport,
) -> None:
    """Writes the vectors and those that stay. A row replaces that of its id and time; other times of an id are its
    history and stay; a vector column that the file does not have is kept from the newest row that is not newer.

    Raises:
        DataError: two rows of one id and time, vectors of another length or encoder than those that stay, vectors
            without a time for an id whose vectors all have one.
    """
    path = source.path
    _refuse_repeats(incoming, kind, path)
    before = old / kind.file if old is not None and (old / kind.file).exists() else None
    columns = set(source.columns) | (set(readers.open_source(before).columns) if before else set())
    extra = [formats.TIMESTAMP] if formats.TIMESTAMP in columns else []
    extra += [digest for digest in kind.vectors.values() if digest in columns]
    types = {formats.TIMESTAMP: formats.TIMESTAMP_TYPE}
    schema = pa.schema([*kind.schema, *(pa.field(name, types.get(name, pa.string())) for name in extra)])
    dims: dict[str, int] = {}
    kept = completed = 0

    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        carried = _Carried(incoming, kind, before, Path(scratch)) if before and incoming.absent else None

        def everything() -> Iterator[pa.RecordBatch]:
            nonlocal kept, completed
            start = 0
            for batch in incoming.batches():
                if carried:
                    batch = carried.complete(batch, start)
                start += batch.num_rows
                _remember_dims(batch, dims)
                yield batch
            if before is None:
                return
            place = _Places(incoming)
            for batch in read_kept(kind, before):
                stays = ~place.replaced(batch[kind.key], _micros(batch[formats.TIMESTAMP]))
                batch = batch.filter(pa.array(stays))
                if batch.num_rows:
                    _same_dims(batch, dims, path, before)
                    kept += batch.num_rows
                    yield batch

        if before is not None:
            _refuse_untimed(incoming, kind, before, path)
        named = {formats.ENCODER_KEY: encoder} if encoder else None
        written = write_batches(
            folder / kind.file,
            schema.with_metadata(named),
            (_as_published(batch, schema) for batch in everything()),
            compression="none",
        )
        if carried:
            report.product_vectors_completed = carried.count
    if kept and before is not None:
        check_import(path, encoder, {f"{kept:,} {kind.plural} that stay": encoder_in(before)})
    setattr(report, f"{kind.count}_kept", kept)
    setattr(report, kind.count, written - kept)


def _refuse_repeats(incoming: Incoming, kind: Kind, path: Path) -> None:
    repeat = readers.first_repeat([pa.chunked_array([incoming.ids]), pa.chunked_array([pa.array(incoming.times)])])
    if repeat:
        second, first = (int(incoming.rows[at]) for at in repeat)
        raise DataError(
            f"{incoming.ids[repeat[0]]} has a vector here and in row {first + 1}, of the same time",
            file=path,
            row=second + 1,
            column=kind.key,
            hint="keep one of the two",
        )


def _refuse_untimed(incoming: Incoming, kind: Kind, before: Path, path: Path) -> None:
    untimed = pc.unique(incoming.ids.filter(pa.array(incoming.times == _NEVER)))
    if not len(untimed) or formats.TIMESTAMP not in readers.open_source(before).columns:
        return
    timed, bare = [], []
    for batch in read_kept(kind, before):
        without = batch[formats.TIMESTAMP].is_null()
        bare.append(batch[kind.key].filter(without))
        timed.append(batch[kind.key].filter(pc.invert(without)))
    timed_alone = pc.and_(
        pc.is_in(untimed, pc.unique(pa.chunked_array(timed))),
        pc.invert(pc.is_in(untimed, pc.unique(pa.chunked_array(bare)))),
    )
    clash = untimed.filter(timed_alone)
    if len(clash):
        raise DataError(
            f"{clash[0]} has vectors with times in {before.name} and would get one without, which counts as older than "
            f"those ({len(clash):,} such)",
            file=path,
            column=formats.TIMESTAMP,
            hint=f"give the new vectors an {formats.TIMESTAMP}",
        )


class _Places:
    """Which (id, time) the incoming vectors have."""

    def __init__(self, incoming: Incoming) -> None:
        self._ids = pc.unique(incoming.ids)
        codes = pc.index_in(incoming.ids, self._ids).to_numpy(zero_copy_only=False).astype(np.int64)
        self._times, time_codes = np.unique(incoming.times, return_inverse=True)
        self._keys = np.unique(codes * len(self._times) + time_codes)

    def replaced(self, ids: pa.Array, times: np.ndarray) -> np.ndarray:
        """bool [n]: an incoming row has this id and time."""
        if not len(self._times):
            return np.zeros(len(ids), bool)
        codes = pc.fill_null(pc.index_in(ids, self._ids), -1).to_numpy(zero_copy_only=False).astype(np.int64)
        at = np.minimum(np.searchsorted(self._times, times), len(self._times) - 1)
        return (codes >= 0) & (self._times[at] == times) & np.isin(codes * len(self._times) + at, self._keys)


class _Carried:
    """Vectors of the columns that the incoming file lacks, from the file before: of each row's id the newest one that
    is not newer than the row. They lie in files of ``scratch``."""

    def __init__(self, incoming: Incoming, kind: Kind, before: Path, scratch: Path) -> None:
        self._digests = {name: np.full(len(incoming.ids), None, object) for name in incoming.absent}
        self._vectors: dict[str, np.ndarray] = {}
        self._kind = kind
        best = {name: np.full(len(incoming.ids), _NEVER) for name in incoming.absent}
        self._present = {name: np.zeros(len(incoming.ids), bool) for name in incoming.absent}
        order = np.argsort(codes := readers.codes(pa.chunked_array([incoming.ids])), kind="stable")
        unique = incoming.ids.take(pa.array(order[np.flatnonzero(np.diff(codes[order], prepend=-1))]))
        bounds = np.append(np.flatnonzero(np.diff(codes[order], prepend=-1)), len(order))
        for batch in read_kept(kind, before):
            found = pc.fill_null(pc.index_in(batch[kind.key], unique), -1).to_numpy(zero_copy_only=False)
            times = _micros(batch[formats.TIMESTAMP])
            for name in incoming.absent:
                valid = batch[name].is_valid().to_numpy(zero_copy_only=False)
                for row in np.flatnonzero((found >= 0) & valid):
                    asked = order[bounds[found[row]] : bounds[found[row] + 1]]
                    fits = (incoming.times[asked] >= times[row]) & (
                        ~self._present[name][asked] | (best[name][asked] <= times[row])
                    )
                    if fits.any():
                        vector = batch[name][int(row)].values.to_numpy()
                        store = self._store(name, len(incoming.ids), len(vector), scratch)
                        store[asked[fits]] = vector
                        best[name][asked[fits]], self._present[name][asked[fits]] = times[row], True
                        self._digests[name][asked[fits]] = batch[kind.vectors[name]][int(row)].as_py()
        self.count = sum(int(present.sum()) for present in self._present.values())

    def _store(self, name: str, rows: int, dim: int, scratch: Path) -> np.ndarray:
        if name not in self._vectors:
            self._vectors[name] = np.memmap(scratch / name, np.float32, "w+", shape=(rows, dim))
        return self._vectors[name]

    def complete(self, batch: pa.RecordBatch, start: int) -> pa.RecordBatch:
        """The batch of incoming rows from ``start`` on, with what was carried over."""
        part = slice(start, start + batch.num_rows)
        for name, present in self._present.items():
            if not present[part].any():
                continue
            rows = self._vectors[name][part][present[part]]
            offsets = np.concatenate([[0], np.cumsum(present[part]) * rows.shape[1]]).astype(np.int32)
            lists = pa.ListArray.from_arrays(
                pa.array(offsets), pa.array(np.ascontiguousarray(rows).reshape(-1)), mask=pa.array(~present[part])
            )
            digests = pa.array(self._digests[name][part].tolist(), pa.string())
            for column, values in ((name, lists), (self._kind.vectors[name], digests)):
                at = batch.schema.get_field_index(column)
                batch = batch.set_column(at, batch.schema.field(column), values.cast(batch.schema.field(column).type))
        return batch


def rewritten(
    kind: Kind,
    source: Path,
    target: Path,
    change: Callable[[pa.RecordBatch], pa.RecordBatch],
    stays: Callable[[pa.RecordBatch], pa.Array] | None = None,
) -> None:
    """Writes the vectors of ``source``, each batch changed, to ``target``, which may be the same file or a link to
    it. No file is left where no vector is.

    Args:
        change: gives as many rows back as it gets, where ``stays`` tells which of them are written, bool [n].
    """
    columns = readers.open_source(source).columns
    schema = kind.schema
    for name in (formats.TIMESTAMP, *kind.vectors.values()):
        if name in columns:
            schema = schema.append(pa.field(name, formats.TIMESTAMP_TYPE if name == formats.TIMESTAMP else pa.string()))
    encoder = encoder_in(source)
    part = target.with_name(f".{target.name}.part")

    def written(batch: pa.RecordBatch) -> pa.RecordBatch | pa.Table:
        changed = _as_published(change(batch), schema)
        return changed if stays is None else kept_rows(changed, stays(batch).to_numpy(zero_copy_only=False))

    rows = write_batches(
        part,
        schema.with_metadata({formats.ENCODER_KEY: encoder} if encoder else None),
        map(written, read_kept(kind, source)),
        compression="none",
    )
    part.replace(target)
    if not rows:
        target.unlink()


def _as_published(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([batch[field.name].cast(field.type) for field in schema], schema=schema)


def _remember_dims(batch: pa.RecordBatch, dims: dict[str, int]) -> None:
    for name in (formats.TEXT_VECTOR, formats.IMAGE_VECTOR):
        if name in batch.schema.names and name not in dims:
            dim = pc.max(pc.list_value_length(batch[name])).as_py()
            if dim:
                dims[name] = dim


def _same_dims(batch: pa.RecordBatch, dims: dict[str, int], path: Path, before: Path) -> None:
    old: dict[str, int] = {}
    _remember_dims(batch, old)
    for name, dim in old.items():
        if name in dims and dims[name] != dim:
            raise DataError(
                f"vectors of {dims[name]} values, those kept of {before.name} have {dim}",
                file=path,
                column=name,
                hint="bring vectors of one encoder for all ids, or choose another --workdir",
            )
