"""Each split against the curated schema, and against the split the model learns from."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("tfx")

from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import schema_pb2
from tensorflow_metadata.proto.v0.anomalies_pb2 import Anomalies
from tensorflow_metadata.proto.v0.statistics_pb2 import DatasetFeatureStatisticsList, FeatureNameStatistics
from tfx.types.standard_artifacts import ExampleAnomalies, ExampleStatistics, Schema

from components.example_validator import label_drift
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


# --- few queries ------------------------------------------------------------------------------------------------------

SHARES = np.array([0.2, 0.05, 0.3, 0.45])
"""Of the classes I, C, S, E, about as in ESCI."""


def judged_lists(
    rng: np.random.Generator, queries: int, shares: np.ndarray = SHARES, products: int = 12
) -> list[np.ndarray]:
    """Class ids of the judged products of each query; queries differ as they do in ESCI."""
    return [rng.choice(4, products, p=rng.dirichlet(shares * 3)) for _ in range(queries)]


def statistics_of(lists: list[np.ndarray]) -> DatasetFeatureStatisticsList:
    """What StatisticsGen says of the labels, the queries and their exact shares."""
    labels = dict(Counter(features.CLASSES[rating] for ratings in lists for rating in ratings))
    made = statistics(labels)
    texts = {f"query {number}": len(ratings) for number, ratings in enumerate(lists)}
    slices: Counter[str] = Counter()
    for ratings in lists:
        slices[features.exact_share_slice(ratings)] += len(ratings)
    for name, counts in ((features.QUERY, texts), (features.EXACT_SHARE, slices)):
        feature = made.datasets[0].features.add(type=FeatureNameStatistics.STRING)
        feature.path.step.append(name)
        feature.string_stats.unique = len(counts)
        for value, times in counts.items():
            feature.string_stats.rank_histogram.buckets.add(label=value, sample_count=times)
    return made


def stopped_share(queries: int, draws: int, shares: np.ndarray = SHARES) -> float:
    """How many of ``draws`` data sets have a split whose labels are called drifted, splits being of ``shares``."""
    rng = np.random.default_rng(queries)
    stopped = 0
    for _ in range(draws):
        train = judged_lists(rng, round(queries * 0.4))
        others = [judged_lists(rng, round(queries * part), shares) for part in (0.2, 0.4)]
        training = statistics_of(train)
        found = []
        for split in others:
            label_shares = [np.bincount(np.concatenate(lists), minlength=4) for lists in (train, split)]
            distance = np.abs(label_shares[0] / label_shares[0].sum() - label_shares[1] / label_shares[1].sum()).max()
            found.append(distance > max(0.25, label_drift.chance_distance(training, statistics_of(split))))
        stopped += any(found)
    return stopped / draws


@pytest.mark.parametrize("queries", [10, 20, 30, 50])
def test_splits_of_few_queries_are_not_stopped_by_chance(queries: int) -> None:
    assert stopped_share(queries, 60) <= 0.05


@pytest.mark.parametrize(("queries", "least"), [(30, 0.7), (60, 0.95), (200, 1.0)])
def test_other_data_is_stopped_as_soon_as_there_are_queries_enough(queries: int, least: float) -> None:
    reversed_shares = np.array([0.75, 0.1, 0.1, 0.05])
    assert stopped_share(queries, 20, reversed_shares) >= least


def test_a_single_large_list_is_no_large_sample() -> None:
    rng = np.random.default_rng(1)
    lists = judged_lists(rng, 20)
    large = [*lists, rng.choice(4, 9000, p=SHARES)]
    small, one_list = statistics_of(lists), statistics_of(large)
    assert label_drift.independent_draws(one_list, small) < label_drift.independent_draws(small, small) < 240


def test_the_validator_allows_for_chance_and_no_further(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    train, other = statistics_of(judged_lists(rng, 8)), statistics_of([np.array([3] * 11 + [2])])
    many, reversed_labels = (statistics_of(judged_lists(rng, 80, shares)) for shares in (SHARES, SHARES[::-1]))
    for name in ("few", "many"):
        (tmp_path / name).mkdir()
    few = validate(tmp_path / "few", train=train, eval=other)["eval"]
    (measured,) = few.drift_skew_info[0].drift_measurements
    assert 0.25 < measured.value < measured.threshold < 1
    assert features.LABEL not in few.anomaly_info
    assert features.LABEL in validate(tmp_path / "many", train=many, eval=reversed_labels)["eval"].anomaly_info


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
        features.RETRIEVAL,
        *features.VECTORS,
    }
    by_name = {feature.name: feature for feature in made.feature}
    assert set(by_name) == expected
    assert set(made.string_domain[0].value) == set(features.CLASSES)
    assert by_name[features.RATING].int_domain.max == len(features.CLASSES) - 1
    for name in features.VECTORS:
        # Any usual length passes, int8 vectors too: Transform makes unit vectors. Fixed-point numbers do not.
        assert by_name[name].float_domain.min <= -1000 and 1000 <= by_name[name].float_domain.max <= 100_000
        assert by_name[name].float_domain.disallow_nan
        assert by_name[name].float_domain.disallow_inf
    assert np.isfinite(by_name[features.LABEL].drift_comparator.infinity_norm.threshold)
