"""The bench's inputs and arithmetic; the measurements themselves are `sqidflow bench layout`."""

from __future__ import annotations

import csv
import json
import sys

import numpy as np
import pyarrow.parquet as pq
import pytest

from sqidflow.benches import layout as bench_layout
from sqidflow.benches.layout import COLUMNS, VECTOR, VECTOR_FACTOR, Task, bench, query_vectors, write_inputs
from sqidflow.core.errors import PipelineError
from sqidflow.ranking import features


def task(layout, pairs, folder):
    return Task(layout, pairs, dim=8, compared=30, folder=str(folder))


def rows_of(made):
    with (made.prepared / "pairs.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_a_vector_is_the_same_at_every_size():
    np.testing.assert_array_equal(query_vectors(50, 8)[:10], query_vectors(10, 8))


def test_both_layouts_carry_the_same_pairs_and_numbers(tmp_path):
    pytest.importorskip("feast")
    wide, narrow = task(COLUMNS, 30, tmp_path), task(VECTOR, 60, tmp_path)
    write_inputs(wide)
    write_inputs(narrow)
    columns = [f"f{i}" for i in range(8)]
    stored = pq.read_table(narrow.artifacts / "features" / "queries.parquet").to_pydict()
    vectors = dict(zip(stored[features.QUERY_ID], stored[features.QUERY_VEC]))
    for row, other in zip(rows_of(wide), rows_of(narrow)):
        assert {name: value for name, value in row.items() if name not in columns} == other
        # To the last bit of a float32.
        assert [np.float32(row[name]) for name in columns] == [np.float32(v) for v in vectors[int(row["query_id"])]]
    assert (len(rows_of(wide)), len(rows_of(narrow))) == (30, 60)
    from sqidflow.feature_store import store

    wanted = store.service_features(store.open_store(narrow.artifacts), bench_layout.QUERY_SERVICE)
    assert [name for names in wanted.values() for name in names] == [features.QUERY_VEC, features.HAS_IMAGE]


@pytest.fixture
def measured(monkeypatch):
    """Replace the measurements by ``fixed + cost * pairs`` seconds."""

    def replace(fixed, cost, spoil=0.0):
        def fake(made):
            vectors = np.ones((made.compared, made.dim), np.float32) + (spoil if made.layout == VECTOR else 0)
            np.save(made.work / "vectors.npy", vectors)
            seconds = fixed[made.layout] + cost[made.layout] * made.pairs
            return {"seconds": seconds, "cpu_seconds": 2 * seconds, "peak_rss_mb": 100.0}

        monkeypatch.setattr(bench_layout, "write_inputs", lambda made: made.work.mkdir())
        monkeypatch.setattr(bench_layout, "_measured", fake)

    return replace


def test_the_ratio_is_of_marginal_costs(measured):
    measured({COLUMNS: 20.0, VECTOR: 5.0}, {COLUMNS: 0.01, VECTOR: 0.0004})
    said = []
    found = bench(pairs=100, dim=8, say=said.append)
    assert found["ratio"] == pytest.approx(25)
    assert found["marginal_ms"] == {COLUMNS: pytest.approx(10), VECTOR: pytest.approx(0.4)}
    assert found["marginal_cpu_ms"] == {COLUMNS: pytest.approx(20), VECTOR: pytest.approx(0.8)}
    assert [(row["step"], row["pairs"]) for row in found["rows"]] == [
        ("8 columns", 100),
        ("8 columns", 200),
        ("one vector", 100 * VECTOR_FACTOR),
        ("one vector", 200 * VECTOR_FACTOR),
    ]
    assert found["rows"][1]["rows_per_second"] == pytest.approx(200 / 22)
    assert found["machine"]["cores"]
    json.dumps(found)
    assert any(f"{VECTOR_FACTOR} times" in text for text in said)


def test_noise_is_not_sold_as_a_ratio(measured):
    measured({COLUMNS: 20.0, VECTOR: 5.0}, {COLUMNS: 0.01, VECTOR: -0.001})
    with pytest.raises(PipelineError, match="other programs"):
        bench(pairs=100, dim=8, say=lambda text: None)


def test_layouts_that_make_different_vectors_are_no_comparison(measured):
    measured({COLUMNS: 20.0, VECTOR: 5.0}, {COLUMNS: 0.01, VECTOR: 0.001}, spoil=0.01)
    with pytest.raises(PipelineError, match="differ by 0.0"):
        bench(pairs=100, dim=8, say=lambda text: None)


def test_a_measurement_that_fails_says_its_last_line(tmp_path, monkeypatch):
    program = tmp_path / "python"
    program.write_text("#!/bin/sh\necho starting\necho 'ValueError: no room' >&2\nexit 3\n")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    made = task(VECTOR, 10, tmp_path)
    made.work.mkdir()
    with pytest.raises(PipelineError, match="bench layout, vector-10: ended with 3: ValueError: no room"):
        bench_layout._measured(made)
