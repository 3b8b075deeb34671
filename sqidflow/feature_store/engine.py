"""Feast's local compute engine, materializing in memory that does not grow with the catalogue.

Feast's own engine holds a whole view at once, three times over (Arrow, pandas, protobuf). This one reads the parquet
source twice: the keys and timestamps alone, to find the latest row of each id, then the rows in batches.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from feast import FeatureView, ValueType
from feast.infra.common.materialization_job import (
    MaterializationJobStatus,
    MaterializationTask,
)
from feast.infra.compute_engines.local.compute import (
    LocalComputeEngine,
    LocalComputeEngineConfig,
)
from feast.infra.compute_engines.local.job import LocalMaterializationJob
from feast.infra.offline_stores.file_source import FileSource
from feast.infra.registry.base_registry import BaseRegistry
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import FloatList, Value
from feast.type_map import python_values_to_proto_values

from sqidflow.data.prints import PRINT, prints_of

_logger = logging.getLogger(__name__)

_PACKED_FLOATS_TAG = b"\x0a"
"""Protobuf's tag of field 1 with a length: ``FloatList.val``, whose packed form is the vector's little-endian bytes."""


class StreamingComputeEngineConfig(LocalComputeEngineConfig):
    """``rows_per_batch``: rows converted and written at a time."""

    type: str = "sqidflow.feature_store.engine.StreamingComputeEngine"
    rows_per_batch: int = 2048


class StreamingComputeEngine(LocalComputeEngine):
    """Materializes views over one parquet file in batches; leaves any other view to Feast's own engine."""

    def __init__(self, rows_per_batch: int = 2048, **kwargs) -> None:
        super().__init__(**kwargs)
        self._rows_per_batch = rows_per_batch
        self.only: dict[str, np.ndarray] = {}
        """View -> bool [rows of its file]: the rows that are to be written; the others are in the online store."""

    def _materialize_one(self, registry: BaseRegistry, task: MaterializationTask, **kwargs) -> LocalMaterializationJob:
        view = task.feature_view
        if type(view) is not FeatureView or not _is_parquet_file(view.batch_source):
            return super()._materialize_one(registry, task, **kwargs)
        job_id = f"{view.name}-{task.start_time}-{task.end_time}"
        rows = self._write_online(task)
        _logger.info("%s: %d rows written to the online store", view.name, rows)
        return LocalMaterializationJob(job_id=job_id, status=MaterializationJobStatus.SUCCEEDED)

    def _write_online(self, task: MaterializationTask) -> int:
        view = task.feature_view
        # Feast starts a first materialization of a view without time to live a year ago and would leave out
        # every older vector, though without time to live all of them are valid.
        start = task.start_time if view.materialization_intervals or view.ttl else None
        kept = latest_rows(view, start, task.end_time)
        if view.name in self.only:
            kept &= self.only[view.name]
        written = 0
        bar = task.tqdm_builder(int(kept.sum())) if task.tqdm_builder else None
        for batch in _read(view, kept, self._rows_per_batch):
            self.online_store.online_write_batch(self.repo_config, view, list(_to_protos(batch, view)), None)
            written += batch.num_rows
            if bar is not None:
                bar.update(batch.num_rows)
        if bar is not None:
            bar.close()
        return written


def _is_parquet_file(source: object) -> bool:
    return (
        isinstance(source, FileSource)
        and not source.field_mapping
        and source.path.endswith(".parquet")
        and os.path.isfile(source.path)
    )


def latest_rows(view: FeatureView, start: datetime | None, end: datetime) -> np.ndarray:
    """Which rows of a view's parquet file are the latest of their id between ``start`` and ``end``, both included.

    Returns:
        bool [rows of the file]. Of two rows with the same id and timestamp, the later one in the file.
    """
    keys = [column.name for column in view.entity_columns]
    timestamp = view.batch_source.timestamp_field
    table = pq.read_table(view.batch_source.path, columns=[*keys, timestamp])
    stamps = pc.cast(table[timestamp], pa.timestamp("us", tz="UTC"))
    inside = pc.less_equal(stamps, pa.scalar(end, stamps.type))
    if start is not None:
        inside = pc.and_(inside, pc.greater_equal(stamps, pa.scalar(start, stamps.type)))
    rows = pa.array(np.arange(table.num_rows, dtype=np.int64))
    table = pa.table([*(table[key] for key in keys), stamps, rows], names=[*keys, "stamp", "row"]).filter(inside)
    table = table.sort_by([*((key, "ascending") for key in keys), ("stamp", "descending"), ("row", "descending")])
    first = np.ones(table.num_rows, bool)
    if table.num_rows > 1:
        same = np.ones(table.num_rows - 1, bool)
        for key in keys:
            column = table[key].combine_chunks()
            same &= pc.equal(column[1:], column[:-1]).to_numpy(zero_copy_only=False)
        first[1:] = ~same
    kept = np.zeros(len(rows), bool)
    kept[table["row"].to_numpy()[first]] = True
    return kept


@dataclass(frozen=True)
class Held:
    """What m kept rows of a view's parquet file hold: ``ids`` string [m], ``stamps`` int64 [m] in microseconds, and
    ``prints`` uint64 [m], see :mod:`sqidflow.data.prints`."""

    ids: pa.Array
    stamps: np.ndarray
    prints: np.ndarray


def held(view: FeatureView, kept: np.ndarray, rows_per_batch: int = 2048) -> Held:
    """What the kept rows hold. The prints are those of the file; where it has none, its vectors are read for them.

    Args:
        kept: bool [rows of the file].
    """
    (key,), stamp = [column.name for column in view.entity_columns], view.batch_source.timestamp_field
    path, inside = view.batch_source.path, pa.array(kept)
    has_prints = PRINT in pq.read_schema(path).names
    table = pq.read_table(path, columns=[key, stamp, *([PRINT] if has_prints else [])]).filter(inside)
    if has_prints:
        prints = table[PRINT].to_numpy()
    else:
        of_batches = [
            prints_of([batch.column(field.name) for field in view.features])
            for batch in _read(view, kept, rows_per_batch)
        ]
        prints = np.concatenate([np.zeros(0, np.uint64), *of_batches])
    stamps = pc.cast(table[stamp], pa.timestamp("us", tz="UTC")).cast(pa.int64()).to_numpy()
    return Held(table[key].cast(pa.string()).combine_chunks(), stamps, prints)


def serialized_keys(view: FeatureView, ids: pa.Array) -> list[bytes]:
    """The keys of a view's ids, which are strings as :class:`Held` has them, as the online store of a file has them."""
    (column,) = view.entity_columns
    kind = pa.int64() if column.dtype.to_value_type() == ValueType.INT64 else pa.string()
    return [
        EntityKey(join_keys=[column.name], entity_values=[value]).SerializeToString(deterministic=True)
        for value in _values(ids.cast(kind), column.dtype.to_value_type())
    ]


def _read(view: FeatureView, kept: np.ndarray, rows_per_batch: int) -> Iterator[pa.RecordBatch]:
    """The kept rows; row groups without one are not read."""
    columns = [
        *(column.name for column in view.entity_columns),
        *(field.name for field in view.features),
        view.batch_source.timestamp_field,
    ]
    with pq.ParquetFile(view.batch_source.path, pre_buffer=False) as file:
        sizes = [file.metadata.row_group(at).num_rows for at in range(file.metadata.num_row_groups)]
        parts = np.split(kept, np.cumsum(sizes)[:-1]) if sizes else []
        groups = [at for at, part in enumerate(parts) if part.any()]
        if not groups:
            return
        wanted, position = np.concatenate([parts[at] for at in groups]), 0
        for batch in file.iter_batches(rows_per_batch, row_groups=groups, columns=columns):
            inside = wanted[position : position + batch.num_rows]
            position += batch.num_rows
            if inside.all():
                yield batch
            elif inside.any():
                yield batch.filter(pa.array(inside))


def entity_keys(view: FeatureView) -> Iterator[EntityKey]:
    """The key of every row of a view's parquet file, in the file's order."""
    keys = [column.name for column in view.entity_columns]
    with pq.ParquetFile(view.batch_source.path, pre_buffer=False) as file:
        for batch in file.iter_batches(columns=keys):
            ids = [_values(batch.column(c.name), c.dtype.to_value_type()) for c in view.entity_columns]
            for row in zip(*ids):
                yield EntityKey(join_keys=keys, entity_values=row)


def _to_protos(
    batch: pa.RecordBatch, view: FeatureView
) -> Iterator[tuple[EntityKey, dict[str, Value], datetime, None]]:
    names = [field.name for field in view.features]
    columns = [_values(batch.column(field.name), field.dtype.to_value_type()) for field in view.features]
    keys = [column.name for column in view.entity_columns]
    ids = [_values(batch.column(c.name), c.dtype.to_value_type()) for c in view.entity_columns]
    stamps = pc.cast(batch.column(view.batch_source.timestamp_field), pa.timestamp("us", tz="UTC")).to_pylist()
    for row, stamp in enumerate(stamps):
        key = EntityKey(join_keys=keys, entity_values=[values[row] for values in ids])
        yield key, {name: values[row] for name, values in zip(names, columns)}, stamp, None


def _values(column: pa.Array, value_type) -> list[Value]:
    if pa.types.is_list(column.type) and pa.types.is_float32(column.type.value_type):
        return _float_lists(column)
    return python_values_to_proto_values(column.to_numpy(zero_copy_only=False), value_type)


def _float_lists(column: pa.ListArray) -> list[Value]:
    """A list of float32 vectors as Feast's values, without a Python float in between; null becomes an unset value."""
    raw = np.ascontiguousarray(column.values.to_numpy(zero_copy_only=False), "<f4").data.cast("B")
    offsets = (column.offsets.to_numpy().astype(np.int64) * 4).tolist()
    out = []
    for valid, start, end in zip(column.is_valid().to_pylist(), offsets, offsets[1:]):
        value = Value()
        if valid:
            packed = b"".join((_PACKED_FLOATS_TAG, _varint(end - start), raw[start:end]))
            value.float_list_val.CopyFrom(FloatList.FromString(packed))
        out.append(value)
    return out


def _varint(number: int) -> bytes:
    """Protobuf's variable-length integer."""
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)
