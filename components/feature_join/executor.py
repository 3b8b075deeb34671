"""FeatureJoin's work: read the pairs of a split, ask Feast once for each id, write joined examples."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
from tfx import types
from tfx.components.util import examples_utils
from tfx.dsl.components.base import base_executor
from tfx.proto import example_gen_pb2
from tfx.types import artifact_utils

from components.feature_join import join
from sqidflow.core import feature_files
from sqidflow.core.errors import FeatureStoreError, PipelineError
from sqidflow.feature_store import names, store
from sqidflow.indexing.served import read_served
from sqidflow.ranking import features
from sqidflow.ranking.retrieval import Fusion
from sqidflow.ranking.served import ServedCatalogue

_logger = logging.getLogger(__name__)

PAIRS_KEY = "pairs"
EXAMPLES_KEY = "examples"
FEATURE_CONFIG_KEY = "feature_config"

ROWS_PER_BATCH = 2048
ROWS_PER_SHARD = 32768
"""About 300 MB of records with three vectors of 768."""

_ID_COLUMNS = {names.QUERY_VIEW: features.QUERY_ID, names.PRODUCT_VIEW: features.PRODUCT_ID}


class Executor(base_executor.BaseExecutor):
    """Joins split by split; needs no Beam."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Write the joined examples of every split and say how many there are.

        Raises:
            FeatureStoreError: a query or a product has no vector at its pair's time, or the store is not there.
            PipelineError: a pair that cannot be read, or as many records out of a split as did not go in.
        """
        self._log_startup(input_dict, output_dict, exec_properties)
        config = json.loads(exec_properties[FEATURE_CONFIG_KEY])
        pairs = artifact_utils.get_single_instance(input_dict[PAIRS_KEY])
        joined = artifact_utils.get_single_instance(output_dict[EXAMPLES_KEY])
        joined.split_names = pairs.split_names
        joined.span, joined.version = pairs.span, pairs.version
        examples_utils.set_payload_format(joined, example_gen_pb2.PayloadFormat.FORMAT_TF_EXAMPLE)

        feast = store.open_store(Path(config["artifacts_dir"]))
        wanted = store.service_features(feast, config["service"])
        served = read_served(
            Path(config["artifacts_dir"]), Fusion.read(config["fusion"]), config["candidates"], config["language"]
        )
        for split in artifact_utils.decode_split_names(pairs.split_names):
            started = time.monotonic()
            source = artifact_utils.get_split_uri([pairs], split)
            target = artifact_utils.get_split_uri([joined], split)
            records = join_split(feast, wanted, split, source, target, served)
            joined.set_int_custom_property(f"records_{split}", records)
            _logger.info("%s: %d pairs joined in %.1f s", split, records, time.monotonic() - started)
        joined.set_string_custom_property("feature_service", config["service"])
        joined.set_string_custom_property("feature_sources", config.get("sources", ""))


def join_split(
    feast: Any,
    wanted: dict[str, tuple[str, ...]],
    split: str,
    source: str,
    target: str,
    served: ServedCatalogue,
) -> int:
    """Join one split's pairs and write ``data_tfrecord-*`` into ``target``, whole or not at all.

    Args:
        feast: the applied store.
        wanted: features of the service by view.
        split: its name, for messages.
        source, target: folders of TFRecord files.
        served: the catalogue that lists are retrieved from.

    Returns:
        How many records went in and out.
    """
    read = 0

    def counted() -> Iterator[pa.RecordBatch]:
        nonlocal read
        for batch in _decoded(source):
            read += batch.num_rows
            yield batch

    try:
        pairs = join.pairs_table(counted(), lambda: _prepared(feast))
        vectors, scalars = _gather(feast, wanted, pairs, split)
        batches = join.joined_batches(pairs, served, vectors, scalars, ROWS_PER_BATCH)
        written = _write(batches, pairs.num_rows, target)
    except ValueError as error:
        raise PipelineError(
            str(error),
            where=f"FeatureJoin, split {split!r}",
            hint="correct that row in the raw data and run `sqidflow features`",
        ) from error
    if read != written:
        raise PipelineError(
            f"{read} pairs went in and {written} records came out", where=f"FeatureJoin, split {split!r}"
        )
    return written


def _gather(
    feast: Any, wanted: dict[str, tuple[str, ...]], pairs: pa.Table, split: str
) -> tuple[dict[str, tuple[np.ndarray, np.ndarray]], dict[str, tuple[np.ndarray, np.ndarray]]]:
    vectors: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    scalars: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for view, fields in wanted.items():
        id_column = _ID_COLUMNS[view]
        asked = join.distinct(pairs, id_column)
        known = store.features_as_of(feast, view, fields, asked.ids, asked.timestamps)
        for name in fields:
            if name not in known.vectors:
                scalars[name] = (known.scalars[name], asked.position)
                continue
            # A product without a picture is one that has_image marks; any other gap is an error.
            may_be_missing = name == features.IMAGE_VEC
            missing = np.zeros(0, np.int64) if may_be_missing else np.flatnonzero(~known.present[name])
            if len(missing):
                first = int(missing[0])
                raise FeatureStoreError(
                    f"{id_column} {asked.ids[first].as_py()!r} has no {name} as of {asked.timestamps[first]} "
                    f"({len(missing)} such of {len(asked.ids)})",
                    where=f"FeatureJoin, split {split!r}",
                    hint=names.HINT,
                )
            vectors[name] = (known.vectors[name], asked.position)
    dim = next((matrix.shape[1] for matrix, _ in vectors.values() if matrix.shape[1]), 0)
    for name, (matrix, position) in vectors.items():
        if not matrix.shape[1]:
            # No product of the split has a picture: zeros as long as the other vectors, as for a single one.
            vectors[name] = (np.zeros((len(matrix), dim), np.float32), position)
    return vectors, scalars


def _products_source(feast: Any) -> Path:
    return Path(feast.get_feature_view(names.PRODUCT_VIEW).batch_source.path)


def _prepared(feast: Any) -> pa.Table:
    """The prepared pairs beside the feature sources; texts as they stand there, whatever they look like."""
    texts = (features.PRODUCT_ID, *join.TEXTS, features.EVENT_TIMESTAMP)
    types = {name: pa.string() for name in texts} | {features.QUERY_ID: pa.int64()}
    return pacsv.read_csv(
        _products_source(feast).parents[1] / feature_files.PAIRS,
        convert_options=pacsv.ConvertOptions(column_types=types, include_columns=list(types)),
    )


def _decoded(folder: str) -> Iterator[pa.RecordBatch]:
    import tensorflow as tf
    from tfx_bsl.coders.example_coder import ExamplesToRecordBatchDecoder

    decoder = ExamplesToRecordBatchDecoder()
    for compression in ("GZIP", ""):
        files = sorted(f for f in tf.io.gfile.glob(f"{folder}/*") if f.endswith(".gz") == bool(compression))
        if files:
            for records in tf.data.TFRecordDataset(files, compression).batch(ROWS_PER_BATCH).as_numpy_iterator():
                yield decoder.DecodeBatch(records.tolist())


def _write(batches: Iterator[pa.RecordBatch], rows: int, folder: str) -> int:
    """Shards beside the folder, which is renamed when all are there; returns the records written."""
    import tensorflow as tf
    from tfx_bsl.coders.example_coder import RecordBatchToExamplesEncoder

    beside = f"{folder.rstrip('/')}.part"
    if tf.io.gfile.exists(beside):
        tf.io.gfile.rmtree(beside)
    tf.io.gfile.makedirs(beside)
    encoder = RecordBatchToExamplesEncoder()
    shards = max(1, -(-rows // ROWS_PER_SHARD))
    written, shard = 0, -1
    writer: Any = None
    try:
        for batch in batches:
            for record in encoder.encode(batch):
                if written // ROWS_PER_SHARD > shard:
                    if writer is not None:
                        writer.close()
                    shard += 1
                    writer = tf.io.TFRecordWriter(f"{beside}/data_tfrecord-{shard:05d}-of-{shards:05d}")
                writer.write(record)
                written += 1
    finally:
        if writer is not None:
            writer.close()
    if tf.io.gfile.exists(folder):
        tf.io.gfile.rmtree(folder)
    tf.io.gfile.rename(beside, folder)
    return written
