"""`sqidflow bench layout`: the cost of a pair with a vector as many scalar columns, and as one vector feature.

Both layouts convert the same pairs from CSV to transformed examples with the same runner, statistics and normalisation.
Each measurement is a separate process whose clocks start after its imports. The pairs have no texts, because only
FeatureJoin computes lexical features, which would distort the comparison.

The result is the marginal cost of a pair, (t(2n) - t(n)) / n. It excludes fixed costs, such as building graphs of 768
features, whose weight would depend on the chosen size. The cost is processor time, because other programs hardly affect
it; the wall time is reported, too.
"""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from sqidflow.core import feature_files
from sqidflow.core.errors import PipelineError
from sqidflow.ranking import features

COLUMNS, VECTOR = "columns", "vector"
VECTOR_FACTOR = 20
"""The vector layout gets more pairs, because one more pair costs it so little that small sizes cannot be measured."""
PAIRS_PER_QUERY = 20
SEED = 768
QUERY_SERVICE = "bench_query_v1"
TIMESTAMP = datetime(2024, 1, 1, tzinfo=UTC)
LARGEST_DIFFERENCE = 1e-6


@dataclass(frozen=True)
class Task:
    """One measurement: a layout at a size. The unit vectors of the first ``compared`` pairs are kept for comparison."""

    layout: str
    pairs: int
    dim: int
    compared: int
    folder: str

    @property
    def work(self) -> Path:
        return Path(self.folder) / f"{self.layout}-{self.pairs}"

    @property
    def prepared(self) -> Path:
        return self.work / "prepared"

    @property
    def artifacts(self) -> Path:
        return self.work / "artifacts"


def query_vectors(queries: int, dim: int) -> np.ndarray:
    """float32 [queries, dim]; the first n rows do not depend on the number of queries."""
    return np.random.default_rng(SEED).standard_normal((queries, dim), np.float32)


def _pairs(count: int) -> Iterator[list[str]]:
    stamp = TIMESTAMP.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    for pair in range(count):
        yield [str(pair // PAIRS_PER_QUERY), f"P{pair:07d}", features.CLASSES[pair % len(features.CLASSES)], stamp]


def write_inputs(task: Task) -> None:
    """Write the inputs of a layout: a wide CSV, or a narrow CSV and an applied feature store."""
    task.prepared.mkdir(parents=True)
    vectors = query_vectors(-(-task.pairs // PAIRS_PER_QUERY), task.dim)
    header = [features.QUERY_ID, features.PRODUCT_ID, features.LABEL, features.EVENT_TIMESTAMP]
    wide = task.layout == COLUMNS
    with (task.prepared / "pairs.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(header + ([f"f{i}" for i in range(task.dim)] if wide else []))
        for row in _pairs(task.pairs):
            # str() of a float32 is the shortest text that parses to the same float32.
            writer.writerow(row + [str(value) for value in vectors[int(row[0])]] if wide else row)
    if not wide:
        _write_store(task, vectors)


def _write_store(task: Task, vectors: np.ndarray) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq
    from feast import FeatureService

    from sqidflow.feature_store import names, store

    def lists(matrix: np.ndarray) -> pa.Array:
        offsets = np.arange(0, matrix.size + 1, matrix.shape[1], dtype=np.int32)
        return pa.ListArray.from_arrays(pa.array(offsets), pa.array(matrix.reshape(-1)))

    def stamps(count: int) -> pa.Array:
        return pa.array([TIMESTAMP] * count, pa.timestamp("us", tz="UTC"))

    folder = store.features_dir(task.artifacts)
    folder.mkdir(parents=True)
    queries = {
        features.QUERY_ID: np.arange(len(vectors)),
        features.QUERY_VEC: lists(vectors),
        features.EVENT_TIMESTAMP: stamps(len(vectors)),
    }
    # The feature service of this benchmark omits the products' vectors, so that both layouts have one vector.
    products = {
        features.PRODUCT_ID: [pair[1] for pair in _pairs(task.pairs)],
        features.TEXT_VEC: lists(np.ones((task.pairs, 1), np.float32)),
        features.IMAGE_VEC: lists(np.ones((task.pairs, 1), np.float32)),
        features.HAS_IMAGE: np.ones(task.pairs, np.int64),
        features.EVENT_TIMESTAMP: stamps(task.pairs),
    }
    pq.write_table(pa.table(queries), folder / feature_files.QUERIES)
    pq.write_table(pa.table(products), folder / feature_files.PRODUCTS)
    store.apply(task.artifacts)
    feast = store.open_store(task.artifacts)
    views = [
        feast.get_feature_view(names.QUERY_VIEW),
        feast.get_feature_view(names.PRODUCT_VIEW)[[features.HAS_IMAGE]],
    ]
    feast.apply([FeatureService(name=QUERY_SERVICE, features=views)])


def normalise_columns(inputs: dict[str, Any]) -> dict[str, Any]:
    """Transform's function for the column layout: stack f0..fN, then the project's own normalisation."""
    import tensorflow as tf

    count = sum(name[0] == "f" and name[1:].isdigit() for name in inputs)
    stacked = tf.concat([tf.reshape(inputs[f"f{i}"], [-1, 1]) for i in range(count)], axis=1)
    return _outputs(inputs, stacked)


def normalise_vector(inputs: dict[str, Any]) -> dict[str, Any]:
    """Transform's function for the vector layout."""
    return _outputs(inputs, inputs[features.QUERY_VEC])


def _outputs(inputs: dict[str, Any], vectors: Any) -> dict[str, Any]:
    import tensorflow as tf

    from modules.preprocessing import unit

    return {
        features.QUERY_VEC: unit(vectors),
        features.QUERY_ID: tf.reshape(inputs[features.QUERY_ID], [-1]),
        features.PRODUCT_ID: tf.reshape(inputs[features.PRODUCT_ID], [-1]),
    }


def _pipeline(task: Task) -> Any:
    from tfx import v1 as tfx
    from tfx.components import CsvExampleGen
    from tfx.orchestration.pipeline import Pipeline
    from tfx.proto import example_gen_pb2

    from components.feature_join import FeatureJoin, feature_config
    from pipeline.beam import beam_arguments
    from sqidflow.core.settings import BeamSettings

    split = example_gen_pb2.SplitConfig.Split(name="train", hash_buckets=1)
    example_gen = CsvExampleGen(
        input_base=str(task.prepared),
        output_config=example_gen_pb2.Output(split_config=example_gen_pb2.SplitConfig(splits=[split])),
    )
    components = [example_gen]
    if task.layout == VECTOR:
        config = feature_config(task.artifacts, service=QUERY_SERVICE)
        components.append(FeatureJoin(examples=example_gen.outputs["examples"], feature_config=json.dumps(config)))
    examples = components[-1].outputs["examples"]
    statistics_gen = tfx.components.StatisticsGen(examples=examples)
    schema_gen = tfx.components.SchemaGen(statistics=statistics_gen.outputs["statistics"], infer_feature_shape=True)
    function = normalise_columns if task.layout == COLUMNS else normalise_vector
    transform = tfx.components.Transform(
        examples=examples,
        schema=schema_gen.outputs["schema"],
        preprocessing_fn=f"sqidflow.benches.layout.{function.__name__}",
        disable_statistics=True,
    )
    return Pipeline(
        pipeline_name=f"bench-{task.layout}",
        pipeline_root=str(task.work / "pipeline"),
        components=[*components, statistics_gen, schema_gen, transform],
        enable_cache=False,
        metadata_connection_config=tfx.orchestration.metadata.sqlite_metadata_connection_config(
            str(task.work / "metadata.db")
        ),
        beam_pipeline_args=beam_arguments(BeamSettings()),
    )


def _read_back(task: Task) -> tuple[int, np.ndarray]:
    """The number of transformed examples, and float32 [compared, dim] of the first pairs by product id."""
    import tensorflow as tf

    files = [str(file) for file in (task.work / "pipeline").rglob("transformed_examples/*/Split-*/*")]
    wanted = {
        features.PRODUCT_ID: tf.io.FixedLenFeature([], tf.string),
        features.QUERY_VEC: tf.io.FixedLenFeature([task.dim], tf.float32),
    }
    ids: list[bytes] = []
    vectors = []
    last = f"P{task.compared:07d}".encode()
    for records in tf.data.TFRecordDataset(files, "GZIP").batch(1024):
        batch = tf.io.parse_example(records, wanted)
        found = batch[features.PRODUCT_ID].numpy()
        ids.extend(found)
        vectors.append(batch[features.QUERY_VEC].numpy()[found < last])
    kept = np.concatenate(vectors)
    order = np.argsort(np.array([name for name in ids if name < last]))
    return len(ids), kept[order]


def _processor_seconds() -> float:
    """Processor time of this process with all its threads and of its finished child processes."""
    used = os.times()
    return used.user + used.system + used.children_user + used.children_system


def measure(task: Task) -> None:
    """Run one measurement in this process; writes ``result.json`` and ``vectors.npy`` into the task's folder."""
    import resource

    import feast  # noqa: F401  imported before the clock starts, like the others
    import tensorflow as tf  # noqa: F401
    import tensorflow_data_validation  # noqa: F401
    from tfx.orchestration.local.local_dag_runner import LocalDagRunner

    pipeline = _pipeline(task)
    started, processor = time.monotonic(), _processor_seconds()
    LocalDagRunner().run(pipeline)
    seconds, cpu_seconds = time.monotonic() - started, _processor_seconds() - processor
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    count, vectors = _read_back(task)
    if count != task.pairs:
        raise ValueError(f"{task.pairs} pairs went in and {count} transformed examples came out")
    np.save(task.work / "vectors.npy", vectors)
    result = {"seconds": seconds, "cpu_seconds": cpu_seconds, "peak_rss_mb": peak_mb}
    (task.work / "result.json").write_text(json.dumps(result))


def _measured(task: Task) -> dict[str, float]:
    """Run a task in a separate process and return its result."""
    from sqidflow.core.quiet import QUIET_LIBRARIES
    from sqidflow.core.settings import CHECKOUT

    log = task.work / "log.txt"
    with log.open("w") as stream:
        done = subprocess.run(
            [sys.executable, "-m", "sqidflow.benches.layout", json.dumps(asdict(task))],
            cwd=CHECKOUT,
            env={**QUIET_LIBRARIES, **os.environ},
            stdout=stream,
            stderr=subprocess.STDOUT,
        )
    if done.returncode:
        lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()] or ["no message"]
        raise PipelineError(f"ended with {done.returncode}: {lines[-1][:400]}", where=f"bench layout, {task.work.name}")
    return json.loads((task.work / "result.json").read_text())


def bench(pairs: int, dim: int, say: Callable[[str], None]) -> dict[str, Any]:
    """Measure both layouts at two sizes each.

    Args:
        pairs: number of pairs of the column layout's smaller size; the larger size has twice as many. The vector layout
            has ``VECTOR_FACTOR`` times as many of both.
        dim: length of the vector.
        say: prints a line of progress.

    Returns:
        ``machine``; ``rows`` (``step``, ``pairs``, ``seconds``, ``cpu_seconds``, ``rows_per_second``,
        ``peak_rss_mb``); ``marginal_cpu_ms``, milliseconds of processor time per additional pair in each layout, and
        the ``ratio`` of the two; ``marginal_ms``, the same in wall time; ``largest_difference`` between the unit
        vectors of both layouts for the same pairs.

    Raises:
        PipelineError: a measurement failed, the layouts disagree, or the difference of two sizes was below the noise.
    """
    from sqidflow.benches import machine

    steps = {COLUMNS: f"{dim} columns", VECTOR: "one vector"}
    sizes = {COLUMNS: (pairs, 2 * pairs), VECTOR: (VECTOR_FACTOR * pairs, 2 * VECTOR_FACTOR * pairs)}
    say(
        f"CSV to transformed examples, {dim} numbers per pair, no texts; one process per measurement, without imports. "
        f"The vector layout gets {VECTOR_FACTOR} times the pairs, so that its two sizes differ by seconds, too."
    )
    rows: list[dict[str, Any]] = []
    marginal_ms: dict[str, float] = {}
    marginal_cpu_ms: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="sqidflow-bench-") as folder:
        kept: list[np.ndarray] = []
        for layout, (small, large) in sizes.items():
            seconds, cpu_seconds = [], []
            for count in (small, large):
                task = Task(layout, count, dim, compared=pairs, folder=folder)
                write_inputs(task)
                result = _measured(task)
                kept.append(np.load(task.work / "vectors.npy"))
                seconds.append(result["seconds"])
                cpu_seconds.append(result["cpu_seconds"])
                rate = count / result["seconds"]
                rows.append({"step": steps[layout], "pairs": count, "rows_per_second": rate, **result})
                say(
                    f"  {steps[layout]:<12} {count:>7,} pairs  {result['seconds']:6.1f} s, "
                    f"{result['cpu_seconds']:.1f} s of processor time"
                )
            marginal_ms[layout] = 1000 * (seconds[1] - seconds[0]) / (large - small)
            marginal_cpu_ms[layout] = 1000 * (cpu_seconds[1] - cpu_seconds[0]) / (large - small)
    difference = max(float(np.abs(other - kept[0]).max()) for other in kept)
    if difference > LARGEST_DIFFERENCE:
        raise PipelineError(f"the layouts' unit vectors differ by {difference:g}", where="bench layout")
    if min(marginal_cpu_ms.values()) <= 0:
        raise PipelineError(
            "the larger size took no longer than the smaller, probably because of other programs",
            where="bench layout",
            hint=f"close other programs, or use more pairs: `sqidflow bench layout --pairs {2 * pairs}`",
        )
    costs = ", ".join(f"{marginal_cpu_ms[layout]:.2f} ms as {steps[layout]}" for layout in steps)
    say(f"one more pair costs {costs} (processor time)")
    return {
        "machine": machine.describe(),
        "rows": rows,
        "marginal_cpu_ms": marginal_cpu_ms,
        "marginal_ms": marginal_ms,
        "ratio": marginal_cpu_ms[COLUMNS] / marginal_cpu_ms[VECTOR],
        "largest_difference": difference,
    }


if __name__ == "__main__":
    measure(Task(**json.loads(sys.argv[1])))
