"""ExampleValidator that also compares each split with the training split."""

from __future__ import annotations

from typing import Any

import tensorflow_data_validation as tfdv
from tensorflow_metadata.proto.v0 import anomalies_pb2, schema_pb2
from tfx import components, types
from tfx.components.example_validator import executor as stock
from tfx.components.example_validator import labels
from tfx.components.statistics_gen import stats_artifact_utils
from tfx.components.util import value_utils
from tfx.dsl.components.base import executor_spec
from tfx.types import artifact_utils, standard_component_specs
from tfx.utils import writer_utils

from components.example_validator import label_drift
from sqidflow.ranking import features

TRAIN_SPLIT = "train"


class Executor(stock.Executor):
    """Hands TFDV the training split's statistics, so that the schema's drift comparators have something to compare.

    The stock executor validates every split alone: values out of range fire, a split whose distribution differs from
    the one the model learns from does not. The labels' threshold is at least what chance alone does to a split of so
    few queries (:mod:`components.example_validator.label_drift`).
    """

    _training: Any = None

    def Do(self, input_dict: dict, output_dict: dict, exec_properties: dict) -> Any:
        statistics = artifact_utils.get_single_instance(input_dict[standard_component_specs.STATISTICS_KEY])
        if TRAIN_SPLIT in artifact_utils.decode_split_names(statistics.split_names):
            self._training = stats_artifact_utils.load_statistics(statistics, TRAIN_SPLIT).proto()
        return super().Do(input_dict, output_dict, exec_properties)

    def _Validate(self, inputs: dict, outputs: dict) -> anomalies_pb2.Anomalies:
        statistics = value_utils.GetSoleValue(inputs, standard_component_specs.STATISTICS_KEY)
        schema = value_utils.GetSoleValue(inputs, standard_component_specs.SCHEMA_KEY)
        training = None if statistics == self._training else self._training
        if training is not None:
            schema = _allowing_for_chance(schema, label_drift.chance_distance(training, statistics))
        anomalies = tfdv.validate_statistics(statistics=statistics, schema=schema, previous_statistics=training)
        folder = value_utils.GetSoleValue(outputs, labels.SCHEMA_DIFF_PATH)
        writer_utils.write_anomalies(f"{folder}/{stock.DEFAULT_FILE_NAME}", anomalies)
        return anomalies


def _allowing_for_chance(schema: schema_pb2.Schema, distance: float) -> schema_pb2.Schema:
    """The schema whose labels drift only beyond ``distance``, where that is more than it allows itself."""
    allowing = schema_pb2.Schema()
    allowing.CopyFrom(schema)
    for feature in allowing.feature:
        if feature.name == features.LABEL and feature.drift_comparator.HasField("infinity_norm"):
            bound = feature.drift_comparator.infinity_norm
            bound.threshold = min(max(bound.threshold, distance), 1.0)
    return allowing


class ExampleValidator(components.ExampleValidator):
    """Validates each split against the curated schema and against the training split's distribution."""

    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)

    def __init__(self, statistics: types.BaseChannel, schema: types.BaseChannel) -> None:
        super().__init__(statistics=statistics, schema=schema)
