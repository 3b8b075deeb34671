"""Transform's newest outputs in memory, for verbs that train outside the pipeline (tune, evaluate --ablations)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from modules import trainer
from modules.model import MODELS, SHALLOW, Dimensions, Hyperparameters
from pipeline.local_runner import latest_output, pipeline_name, run
from sqidflow.core.errors import PipelineError
from sqidflow.core.settings import Settings
from sqidflow.core.workdir import Workdir
from sqidflow.ranking import features

LAST_NODE = "Transform"


@dataclass(frozen=True)
class Transformed:
    """The train and eval splits after ``fixed``, the part of a ranker that learns only from products."""

    fixed: Any
    dimensions: Dimensions
    train: trainer.Pairs
    validation: trainer.Pairs
    inputs: tuple[str, ...]
    graph: Any
    held_out_dir: str

    def held_out(self) -> trainer.Pairs:
        """The held-out split, processed like the others. Use it only for a final evaluation."""
        import tensorflow as tf

        spec = self.graph.raw_feature_spec()
        layer = self.graph.transform_features_layer()

        def batches() -> Iterator[dict[str, np.ndarray]]:
            files = sorted(tf.io.gfile.glob(f"{self.held_out_dir}/*"))
            for records in tf.data.TFRecordDataset(files).batch(trainer.READ_ROWS):
                transformed = layer(tf.io.parse_example(records, spec))
                yield {name: value.numpy() for name, value in transformed.items()}

        parts: dict[str, list[np.ndarray]] = {}
        for batch in batches():
            batch[SHALLOW] = self.fixed.predict_on_batch({name: batch[name] for name in self.inputs})
            for name in (SHALLOW, features.RATING, features.QUERY_ID, features.PRODUCT_ID):
                parts.setdefault(name, []).append(batch[name])
        columns = {name: np.concatenate(values) for name, values in parts.items()}
        return trainer.Pairs(
            {SHALLOW: columns[SHALLOW]}, columns[features.RATING], columns[features.QUERY_ID],
            columns[features.PRODUCT_ID],
        )  # fmt: skip


def read_transformed(workdir: Workdir, settings: Settings, hyper: Hyperparameters) -> Transformed:
    """Run the pipeline up to Transform, mostly from the cache, and read its splits.

    Raises:
        PipelineError: the component has no outputs.
    """
    import tensorflow_transform as tft

    from sqidflow.data.prepare import load_report

    run(workdir, settings, to_node=LAST_NODE)
    name = pipeline_name(load_report(workdir.artifacts).dims, settings.split)
    graph, examples, joined = (
        latest_output(workdir.mlmd, name, node, kind)
        for node, kind in ((LAST_NODE, "TransformGraph"), (LAST_NODE, "Examples"), ("FeatureJoin", "Examples"))
    )
    if graph is None or examples is None or joined is None:
        raise PipelineError("the component has no outputs", where=LAST_NODE, hint="run `sqidflow run`")
    transform = tft.TFTransformOutput(graph.uri)
    inputs = MODELS[hyper.model].inputs
    dimensions = Dimensions(vector=transform.transformed_feature_spec()[features.QUERY_VEC].shape[0])
    train, validation = ([f"{examples.uri}/Split-{split}/*"] for split in ("train", "eval"))
    fixed = trainer.learn_fixed(trainer.read_batches(train, transform, inputs), dimensions, hyper)
    train_pairs, validation_pairs = (
        trainer.read_pairs(files, transform, inputs, fixed) for files in (train, validation)
    )
    return Transformed(fixed, dimensions, train_pairs, validation_pairs, inputs, transform, f"{joined.uri}/Split-test")
