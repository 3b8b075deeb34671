"""Distances have the values of their definitions and of TFDV; thresholds are exceeded as often as they say."""

from __future__ import annotations

import numpy as np
import pytest

from sqidflow.monitoring.distances import (
    bin_edges,
    discrepancy,
    histogram,
    jensen_shannon,
    l_infinity,
    threshold_of,
)


def test_values_by_hand() -> None:
    assert l_infinity(np.array([8.0, 2.0]), np.array([1.0, 1.0])) == pytest.approx(0.3)
    assert l_infinity(np.array([1.0, 0.0]), np.array([0.0, 9.0])) == 1
    assert jensen_shannon(np.array([1.0, 0.0]), np.array([0.0, 3.0])) == 1
    assert jensen_shannon(np.array([2.0, 3.0]), np.array([20.0, 30.0])) == 0
    assert jensen_shannon(np.array([1.0, 1.0]), np.array([1.0, 0.0])) == pytest.approx(0.3112781)
    both = jensen_shannon(np.array([[1.0, 1.0], [1.0, 0.0]]), np.array([1.0, 0.0]))
    assert both.tolist() == pytest.approx([0.3112781, 0.0])


def test_bins_are_filled_about_equally_and_keep_what_is_outside() -> None:
    reference = np.random.default_rng(1).normal(size=10_000)
    edges = bin_edges(reference)
    assert len(edges) == 9 and np.ptp(histogram(reference, edges)) < 20
    assert histogram(np.array([-99.0, 99.0, 99.0]), edges).tolist() == [1, *[0] * 8, 2]
    assert histogram(np.array([3.0, 3.0]), bin_edges(np.array([3.0, 3.0, 3.0]))).sum() == 2


@pytest.mark.parametrize("size", [60, 600, 60_000])
@pytest.mark.parametrize("distance", [l_infinity, jensen_shannon])
def test_a_threshold_is_exceeded_as_often_as_it_says(distance, size: int) -> None:
    rng = np.random.default_rng(7)
    population = np.array([0.5, 0.2, 0.1, 0.1, 0.05, 0.03, 0.02])
    exceeded = 0
    for _ in range(400):
        reference = rng.multinomial(500, population).astype(float)
        sample = rng.multinomial(size, population).astype(float)
        exceeded += bool(distance(reference, sample) > threshold_of(reference, sample, distance, 0.05, 500, rng))
    assert 0.005 <= exceeded / 400 <= 0.08


def test_vectors_of_one_population_and_of_another() -> None:
    rng = np.random.default_rng(3)
    exceeded = 0
    for _ in range(100):
        value, threshold = discrepancy(rng.normal(size=(120, 16)), rng.normal(size=(60, 16)), 0.05, 300, rng)
        exceeded += value > threshold
    assert exceeded <= 11
    value, threshold = discrepancy(rng.normal(size=(120, 16)), rng.normal(size=(60, 16)) + 0.4, 0.005, 300, rng)
    assert value > threshold
    wider = rng.normal(size=(60, 16)) * 1.5  # the mean is the same
    value, threshold = discrepancy(rng.normal(size=(120, 16)), wider, 0.005, 300, rng)
    assert value > threshold


@pytest.mark.slow
def test_values_are_those_of_tfdv() -> None:
    import pandas as pd
    import tensorflow_data_validation as tfdv
    from tensorflow_metadata.proto.v0 import schema_pb2

    first, second = {"a": 60, "b": 30, "c": 10}, {"a": 20, "b": 30, "d": 50}

    def statistics(counts: dict[str, int]):
        return tfdv.generate_statistics_from_dataframe(
            pd.DataFrame({"x": [name for name, count in counts.items() for _ in range(count)]})
        )

    names = sorted(first | second)
    counts = [np.array([each.get(name, 0) for name in names], float) for each in (first, second)]
    for kind, ours in (("infinity_norm", l_infinity), ("jensen_shannon_divergence", jensen_shannon)):
        schema = schema_pb2.Schema()
        feature = schema.feature.add(name="x", type=schema_pb2.BYTES)
        getattr(feature.drift_comparator, kind).threshold = 0.0
        found = tfdv.validate_statistics(statistics(second), schema, previous_statistics=statistics(first))
        (measured,) = found.drift_skew_info[0].drift_measurements
        assert ours(*counts) == pytest.approx(measured.value, abs=1e-6)
