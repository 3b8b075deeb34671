"""Each split against the curated schema, and against the split the model learns from."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("tfx")

from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import schema_pb2
from tensorflow_metadata.proto.v0.anomalies_pb2 import Anomalies
from tensorflow_metadata.proto.v0.statistics_pb2 import DatasetFeatureStatisticsList, FeatureNameStatistics
from tfx.types.standard_artifacts import ExampleAnomalies, ExampleStatistics, Schema

from components.example_validator.component import Executor
from sqidflow.ranking import features

SCHEMA = (Path(__file__).resolve().parents[3] / "schema" / "schema.pbtxt").read_text()


def statistics(labels: dict[str, int], ratings: tuple[int, int] = (0, 3)) -> DatasetFeatureStatisticsList:
    """Statistics of pairs by hand: how often each label comes, and the range of the ratings."""
    count = sum(labels.values())
    made = DatasetFeatureStatisticsList()
    data = made.datasets.add(num_examples=count)

    def common(feature):
        stats = feature.string_stats if feature.HasField("string_stats") else feature.num_stats
        stats.common_stats.num_non_missing = count
        stats.common_stats.min_num_values = stats.common_stats.max_num_values = 1
        stats.common_stats.avg_num_values = 1
        stats.common_stats.tot_num_values = count

    label = data.features.add(type=FeatureNameStatistics.STRING)
    label.path.step.append(features.LABEL)
    label.string_stats.unique = len(labels)
    for value, times in labels.items():
        label.string_stats.rank_histogram.buckets.add(label=value, sample_count=times)
        label.string_stats.top_values.add(value=value, frequency=times)
    common(label)
    rating = data.features.add(type=FeatureNameStatistics.INT)
    rating.path.step.append(features.RATING)
    rating.num_stats.min, rating.num_stats.max = ratings
    common(rating)
    return made


def schema() -> schema_pb2.Schema:
    """The curated schema, of the two features that the statistics here have."""
    made = text_format.Parse(SCHEMA, schema_pb2.Schema())
    kept = [feature for feature in made.feature if feature.name in (features.LABEL, features.RATING)]
    del made.feature[:]
    made.feature.extend(kept)
    return made


def validate(folder: Path, **by_split: DatasetFeatureStatisticsList) -> dict[str, Anomalies]:
    """Run the executor on artifacts in files; the anomalies of each split."""
    artifacts = {"statistics": ExampleStatistics(), "schema": Schema(), "anomalies": ExampleAnomalies()}
    for name, artifact in artifacts.items():
        artifact.uri = str(folder / name)
        (folder / name).mkdir()
    artifacts["statistics"].split_names = json.dumps(list(by_split))
    for split, stats in by_split.items():
        (folder / "statistics" / f"Split-{split}").mkdir()
        (folder / "statistics" / f"Split-{split}" / "FeatureStats.pb").write_bytes(stats.SerializeToString())
    (folder / "schema" / "schema.pbtxt").write_text(text_format.MessageToString(schema()))
    Executor().Do(
        {"statistics": [artifacts["statistics"]], "schema": [artifacts["schema"]]},
        {"anomalies": [artifacts["anomalies"]]},
        {"exclude_splits": "[]"},
    )
    assert json.loads(artifacts["anomalies"].split_names) == list(by_split)
    files = {split: folder / "anomalies" / f"Split-{split}" / "SchemaDiff.pb" for split in by_split}
    return {split: Anomalies.FromString(file.read_bytes()) for split, file in files.items()}


USUAL = {"E": 45, "S": 30, "C": 5, "I": 20}


def test_splits_alike_have_no_anomaly(tmp_path):
    other = {"E": 48, "S": 27, "C": 6, "I": 19}
    found = validate(tmp_path, train=statistics(USUAL), eval=statistics(USUAL), test=statistics(other))
    assert {split: list(anomalies.anomaly_info) for split, anomalies in found.items()} == {
        "train": [],
        "eval": [],
        "test": [],
    }


def test_a_split_from_other_data_than_the_training_split_drifts(tmp_path):
    found = validate(tmp_path, train=statistics(USUAL), eval=statistics({"E": 95, "S": 5}), test=statistics(USUAL))
    assert list(found["eval"].anomaly_info) == [features.LABEL]
    assert "Linfty" in found["eval"].anomaly_info[features.LABEL].description
    assert not found["train"].anomaly_info
    assert not found["test"].anomaly_info


def test_the_order_of_splits_does_not_matter(tmp_path):
    found = validate(tmp_path, eval=statistics({"I": 100}), train=statistics(USUAL))
    assert list(found["eval"].anomaly_info) == [features.LABEL]
    assert not found["train"].anomaly_info


def test_values_outside_the_schema_are_found_in_every_split(tmp_path):
    found = validate(tmp_path, train=statistics({**USUAL, "X": 1}), eval=statistics(USUAL, ratings=(0, 4)))
    assert list(found["train"].anomaly_info) == [features.LABEL]
    assert list(found["eval"].anomaly_info) == [features.RATING]


def test_without_a_training_split_each_stands_alone(tmp_path):
    found = validate(tmp_path, span1=statistics(USUAL), span2=statistics({"I": 100}))
    assert not any(anomalies.anomaly_info for anomalies in found.values())


def test_the_curated_schema_names_what_feature_join_writes():
    made = text_format.Parse(SCHEMA, schema_pb2.Schema())
    expected = {
        features.QUERY_ID,
        features.PRODUCT_ID,
        features.LABEL,
        features.RATING,
        features.QUERY,
        features.TITLE,
        features.BRAND,
        features.COLOR,
        features.EVENT_TIMESTAMP,
        features.HAS_IMAGE,
        features.LEXICAL,
        features.PICTURES,
        features.QUERY_LENGTH,
        features.EXACT_SHARE,
        features.RELATIVE,
        *features.VECTORS,
    }
    by_name = {feature.name: feature for feature in made.feature}
    assert set(by_name) == expected
    assert set(made.string_domain[0].value) == set(features.CLASSES)
    assert by_name[features.RATING].int_domain.max == len(features.CLASSES) - 1
    for name in features.VECTORS:
        # CLIP's own entries must pass: norms of 12 to 17, one entry far above the rest.
        assert by_name[name].float_domain.max > 17
        assert by_name[name].float_domain.disallow_nan
    assert np.isfinite(by_name[features.LABEL].drift_comparator.infinity_norm.threshold)
