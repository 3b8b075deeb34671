"""The gate lets good data pass and names every anomaly otherwise."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("tfx")

from tensorflow_metadata.proto.v0 import anomalies_pb2
from tfx.types.standard_artifacts import ExampleAnomalies

from components.anomaly_gate import AnomalyGate
from components.anomaly_gate.component import describe
from sqidflow.core.errors import AnomalyError, SqidflowError


def anomalies_of(**features: tuple[str, str]) -> anomalies_pb2.Anomalies:
    made = anomalies_pb2.Anomalies()
    for name, (short, long) in features.items():
        made.anomaly_info[name].short_description = short
        made.anomaly_info[name].description = long
    return made


def gate(folder: Path, given_split: str = "", **by_split: anomalies_pb2.Anomalies) -> None:
    """Run the component's function on an artifact as ExampleValidator leaves it."""
    artifact = ExampleAnomalies()
    artifact.uri = str(folder)
    artifact.split_names = str(list(by_split)).replace("'", '"')
    for split, anomalies in by_split.items():
        (folder / f"Split-{split}").mkdir()
        (folder / f"Split-{split}" / "SchemaDiff.pb").write_bytes(anomalies.SerializeToString())
    AnomalyGate.EXECUTOR_SPEC.executor_class._FUNCTION(
        anomalies=artifact, schema_file="schema/schema.pbtxt", given_split=given_split
    )


def test_a_line_for_each_feature_in_the_order_of_names():
    anomalies = anomalies_of(query_vec=("Out of range", "above 50"), esci_label=("Drift", "0.4 > 0.25"))
    assert describe(anomalies, "eval") == [
        "split 'eval', feature 'esci_label': Drift (0.4 > 0.25)",
        "split 'eval', feature 'query_vec': Out of range (above 50)",
    ]


def test_what_concerns_the_whole_data_set_is_told_too():
    anomalies = anomalies_pb2.Anomalies()
    anomalies.dataset_anomaly_info.description = "too few examples"
    assert describe(anomalies, "train") == ["split 'train': too few examples"]


def test_nothing_found_passes(tmp_path):
    assert describe(anomalies_of(), "train") == []
    gate(tmp_path, train=anomalies_of(), eval=anomalies_of())


def test_an_anomaly_of_any_split_stops_the_run_and_says_where_to_mend_it(tmp_path):
    with pytest.raises(AnomalyError) as raised:
        gate(
            tmp_path,
            train=anomalies_of(),
            eval=anomalies_of(product_image_vec=("Out-of-range values", "Unexpectedly large value:\n 900.")),
            test=anomalies_of(rating=("Unexpected value", "7")),
        )
    error = raised.value
    assert isinstance(error, SqidflowError)
    assert "\n" not in error.message
    for part in ("'eval'", "'product_image_vec'", "large value: 900.", "'test'", "'rating'", "schema.pbtxt"):
        assert part in error.message
    assert "split 'train'" not in error.message


def test_drift_of_labels_names_the_number_of_queries(tmp_path):
    drift = ("High Linfty distance between current and previous", "The Linfty distance is 0.6, above 0.4")
    with pytest.raises(AnomalyError, match="--set split.eval=4") as raised:
        gate(tmp_path, eval=anomalies_of(esci_label=drift))
    assert "few queries" in raised.value.message


def test_a_missing_file_is_no_clean_bill(tmp_path):
    artifact = ExampleAnomalies()
    artifact.uri = str(tmp_path)
    artifact.split_names = '["train"]'
    with pytest.raises(FileNotFoundError):
        AnomalyGate.EXECUTOR_SPEC.executor_class._FUNCTION(anomalies=artifact, schema_file="x")


def test_a_split_that_the_data_name_may_be_distributed_otherwise_and_nothing_else(tmp_path):
    drift = ("High Linfty distance", "The Linfty distance between current and previous is 0.4")
    for name in "abc":
        (tmp_path / name).mkdir()
    gate(tmp_path / "a", "test", train=anomalies_of(), test=anomalies_of(esci_label=drift))
    with pytest.raises(AnomalyError, match="split 'eval'"):
        gate(tmp_path / "b", "test", eval=anomalies_of(esci_label=drift), test=anomalies_of(esci_label=drift))
    with pytest.raises(AnomalyError, match="Out of range"):
        gate(tmp_path / "c", "test", test=anomalies_of(esci_label=drift, query_vec=("Out of range", "above 50")))
