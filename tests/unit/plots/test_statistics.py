"""TFDV's protos as numbers, tables and figures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import anomalies_pb2, schema_pb2, statistics_pb2

from sqidflow.core.errors import MissingInputError
from sqidflow.plots import statistics as plots
from sqidflow.ranking import features

PAIRS = 100


def dataset(labels: dict[str, int], colors: dict[str, int], shift: float = 0.0, pictures: int = PAIRS) -> Any:
    """A split of 100 pairs: a label, a colour, has_image, the picture vector and a number of equally likely deciles."""
    split = statistics_pb2.DatasetFeatureStatistics(num_examples=PAIRS)

    def text(name: str, counts: dict[str, int]) -> None:
        item = split.features.add(type=statistics_pb2.FeatureNameStatistics.STRING)
        item.path.step.append(name)
        stats = item.string_stats
        stats.unique = len(counts)
        stats.common_stats.num_non_missing, stats.common_stats.max_num_values = sum(counts.values()), 1
        for value, count in counts.items():
            stats.rank_histogram.buckets.add(label=value, sample_count=count)

    def number(name: str, edges: np.ndarray, zeros: int = 0, length: int = 1) -> None:
        item = split.features.add(type=statistics_pb2.FeatureNameStatistics.FLOAT)
        item.path.step.append(name)
        stats = item.num_stats
        stats.common_stats.num_non_missing, stats.common_stats.max_num_values = PAIRS, length
        stats.num_zeros, stats.std_dev, stats.mean = zeros, 2.0, float(np.mean(edges))
        for kind in ("STANDARD", "QUANTILES"):
            histogram = stats.histograms.add(type=getattr(statistics_pb2.Histogram, kind))
            for low, high in zip(edges, edges[1:]):
                histogram.buckets.add(low_value=low, high_value=high, sample_count=PAIRS / (len(edges) - 1))

    text(features.LABEL, labels)
    text(features.COLOR, colors)
    number(features.HAS_IMAGE, np.linspace(0, 1, 11), zeros=PAIRS - pictures)
    number(features.IMAGE_VEC, np.linspace(-1, 1, 11), length=4)
    number("price", np.linspace(0, 10, 11) + shift)
    return split


@pytest.fixture
def splits() -> dict[str, Any]:
    return {
        "train": dataset({"E": 60, "I": 40}, {"": 30, "red": 70}, pictures=90),
        "eval": dataset({"E": 50, "I": 45, "S": 5}, {"red": 80}, shift=1.0),
    }


def test_absent_empty_and_pictureless_all_count_as_missing(splits: dict[str, Any]) -> None:
    train, evaluation = plots.missing_shares(splits["train"]), plots.missing_shares(splits["eval"])
    assert train[features.COLOR] == pytest.approx(0.3)  # empty texts
    assert evaluation[features.COLOR] == pytest.approx(0.2)  # absent
    assert train[features.IMAGE_VEC] == pytest.approx(0.1)  # zeros that stand for a picture
    assert train[features.LABEL] == train["price"] == train[features.HAS_IMAGE] == 0


def test_distance_of_texts_is_the_largest_difference_of_a_share(splits: dict[str, Any]) -> None:
    found = plots.distances(splits)
    assert found[features.LABEL] == {"eval": pytest.approx(0.1)}
    assert found[features.COLOR]["eval"] == pytest.approx(0.3)  # 30 of 100 empty against none of 80


def test_distance_of_numbers_is_in_standard_deviations(splits: dict[str, Any]) -> None:
    found = plots.distances(splits)
    assert found["price"]["eval"] == pytest.approx(1.0 / 2.0)
    assert found[features.IMAGE_VEC]["eval"] == pytest.approx(0.0, abs=1e-12)


def test_feature_table_tells_the_kinds_apart(splits: dict[str, Any]) -> None:
    table = plots.feature_table(splits["train"])
    assert table["kind"].to_dict() == {
        features.LABEL: "text",
        features.COLOR: "text",
        features.HAS_IMAGE: "number",
        "price": "number",
        features.IMAGE_VEC: "vector",
    }
    assert table.loc[features.COLOR, "missing"] == "30.0%" and table.loc[features.COLOR, "most frequent"] == "red"
    assert table.loc[features.IMAGE_VEC, "values per pair"] == 4 and table.loc[features.LABEL, "mean"] == ""


def test_splits_are_read_in_their_order(tmp_path: Path, splits: dict[str, Any]) -> None:
    for split, content in {"test": splits["eval"], "eval": splits["eval"], "train": splits["train"]}.items():
        folder = tmp_path / f"Split-{split}"
        folder.mkdir()
        (folder / plots.STATISTICS_FILE).write_bytes(
            statistics_pb2.DatasetFeatureStatisticsList(datasets=[content]).SerializeToString()
        )
    assert list(plots.read_statistics(tmp_path)) == ["train", "eval", "test"]
    with pytest.raises(MissingInputError, match="make run"):
        plots.read_statistics(tmp_path / "Split-train")


def test_figures_have_a_panel_a_feature(splits: dict[str, Any]) -> None:
    numbers = [axes.get_title() for axes in plots.number_figure(splits).axes if axes.get_title()]
    assert numbers == [features.HAS_IMAGE, features.IMAGE_VEC, "price"]
    texts = [axes.get_title() for axes in plots.text_figure(splits).axes if axes.get_title()]
    assert texts == [features.LABEL, features.COLOR]
    [axes] = plots.missing_figure(splits).axes
    assert {label.get_text() for label in axes.get_yticklabels()} == set(plots.missing_shares(splits["train"]))


def test_a_text_of_many_values_is_drawn_by_how_often_they_repeat() -> None:
    many = {f"value {number}": 2 for number in range(plots.FEW_VALUES + 1)}
    figure = plots.text_figure({"train": dataset(many, {"red": 5})})
    titles = {axes.get_title(): axes for axes in figure.axes}
    crowded = titles[f"{features.LABEL} ({len(many)} values in train)"]
    assert crowded.get_xscale() == "log" and len(crowded.lines[0].get_xdata()) == len(many)


def schema(text: str) -> Any:
    return text_format.Parse(text, schema_pb2.Schema())


def test_drift_threshold_is_drawn_at_its_feature(splits: dict[str, Any]) -> None:
    curated = schema(
        f'feature {{ name: "{features.LABEL}" drift_comparator {{ infinity_norm {{ threshold: 0.25 }} }} }}'
    )
    [axes] = plots.distance_figure(splits, curated).axes
    marks = [line for line in axes.lines if list(line.get_xdata()) == [0.25, 0.25]]
    names = [label.get_text() for label in axes.get_yticklabels()]
    assert len(marks) == 1 and np.mean(marks[0].get_ydata()) == names.index(features.LABEL)


def test_schemas_stand_side_by_side() -> None:
    inferred = schema(
        'feature { name: "rating" type: INT presence { min_fraction: 1.0 } shape { dim { size: 1 } } }'
        'feature { name: "vec" type: FLOAT shape { dim { size: 96 } } }'
    )
    curated = schema(
        'feature { name: "rating" type: INT int_domain { min: 0 max: 3 } }'
        'feature { name: "label" type: BYTES domain: "label" drift_comparator { infinity_norm { threshold: 0.2 } } }'
        'string_domain { name: "label" value: "E" value: "I" }'
    )
    table = plots.schema_table(inferred, curated)
    assert list(table.index) == ["rating", "vec", "label"]
    assert table.loc["vec", ("inferred", "shape")] == "96" and table.loc["vec", ("curated", "type")] == ""
    assert table.loc["rating", ("curated", "values")] == "0..3"
    assert table.loc["rating", ("inferred", "presence")] == "100%"
    assert table.loc["label", ("curated", "values")] == "E, I" and table.loc["label", ("curated", "drift")] == "0.2"


def test_a_split_without_anomalies_says_so() -> None:
    found = anomalies_pb2.Anomalies()
    found.anomaly_info["product_image_vec"].short_description = "Out-of-range values"
    table = plots.anomalies_table({"train": anomalies_pb2.Anomalies(), "eval": found})
    assert table[["split", "feature", "anomaly"]].to_numpy().tolist() == [
        ["train", "", "none"],
        ["eval", "product_image_vec", "Out-of-range values"],
    ]
