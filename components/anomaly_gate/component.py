"""AnomalyGate: what ExampleValidator found stops the run here, before Transform."""

import logging
from pathlib import Path
from typing import Any

from tensorflow_metadata.proto.v0 import anomalies_pb2
from tfx.components.example_validator import executor as validator
from tfx.dsl.component.experimental.annotations import InputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.types import artifact_utils
from tfx.types.standard_artifacts import ExampleAnomalies

from sqidflow.core.errors import AnomalyError

_LOG = logging.getLogger(__name__)
_DRIFT = "Linfty distance"
"""In the text of every anomaly of a drift comparator."""


def describe(anomalies: Any, split: str) -> list[str]:
    """One line for each feature's anomaly: ``split 'eval', feature 'x': short description (long description)``."""
    lines = [
        f"split '{split}', feature '{name}': {info.short_description} ({info.description})"
        for name, info in sorted(anomalies.anomaly_info.items())
    ]
    if anomalies.HasField("dataset_anomaly_info"):
        lines.append(f"split '{split}': {anomalies.dataset_anomaly_info.description}")
    return lines


@component
def AnomalyGate(
    anomalies: InputArtifact[ExampleAnomalies], schema_file: Parameter[str], given_split: Parameter[str] = ""
) -> None:
    """Pass where no split has an anomaly; else fail with each anomaly's text.

    ``given_split`` was drawn by whoever published the data and not from the same queries as the others: that it is
    distributed otherwise is logged and stops nothing.
    A node of its own, so that the anomalies are a finished artifact which a notebook can open after the run stopped.
    """
    found: list[str] = []
    for split in artifact_utils.decode_split_names(anomalies.split_names):
        file = Path(artifact_utils.get_split_uri([anomalies], split)) / validator.DEFAULT_FILE_NAME
        for line in describe(anomalies_pb2.Anomalies.FromString(file.read_bytes()), split):
            if split == given_split and _DRIFT in line:
                _LOG.warning("ExampleValidator: %s", line)
            else:
                found.append(line)
    if found:
        hint = f"correct the data, or, if it is right, review {schema_file}"
        if any(_DRIFT in line for line in found):
            hint += "; where a split has few queries, judge more or give it a larger share (--set split.eval=4)"
        raise AnomalyError(" | ".join(found), where="ExampleValidator", hint=hint)
