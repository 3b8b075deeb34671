"""Materializing in batches: the same values as Feast's own conversion."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pyarrow as pa
import pytest

from sqidflow.feature_store.connection import features_dir
from sqidflow.feature_store.definitions import definitions
from tests.unit.feature_store.conftest import NEW_YEAR, Sources


@pytest.mark.parametrize("dim", [1, 31, 32, 768, 5000])
def test_vectors_become_the_values_that_feast_would_make(dim: int) -> None:
    from feast.protos.feast.types.Value_pb2 import FloatList, Value

    from sqidflow.feature_store.engine import _float_lists

    matrix = np.random.default_rng(dim).standard_normal((3, dim)).astype(np.float32)
    column = pa.array([matrix[0], None, matrix[1], matrix[2]], pa.list_(pa.float32()))
    expected = [
        Value(float_list_val=FloatList(val=matrix[0].tolist())),
        Value(),
        Value(float_list_val=FloatList(val=matrix[1].tolist())),
        Value(float_list_val=FloatList(val=matrix[2].tolist())),
    ]
    assert _float_lists(column) == expected
    assert _float_lists(column.slice(1, 2)) == expected[1:3]


def test_latest_rows_by_time_within_bounds(sources: Sources) -> None:
    from sqidflow.feature_store.engine import latest_rows

    day = timedelta(days=1)
    sources.product_ids = ["P2", "P1", "P1", "P2", "P1"]
    sources.product_times = [NEW_YEAR + day, NEW_YEAR, NEW_YEAR + 2 * day, NEW_YEAR + day, NEW_YEAR + 5 * day]
    sources.write()
    view = definitions(sources.artifacts / "features").views[1]
    assert latest_rows(view, None, NEW_YEAR + 9 * day).tolist() == [False, False, False, True, True]
    assert latest_rows(view, None, NEW_YEAR + 2 * day).tolist() == [False, False, True, True, False]
    assert latest_rows(view, None, NEW_YEAR).tolist() == [False, True, False, False, False]
    assert latest_rows(view, NEW_YEAR + 2 * day, NEW_YEAR + 3 * day).tolist() == [False, False, True, False, False]
    assert not latest_rows(view, None, NEW_YEAR - day).any()


def test_prints_of_the_file_are_taken_and_others_computed(sources: Sources) -> None:
    import pyarrow.parquet as pq

    from sqidflow.data.prints import PRINT
    from sqidflow.feature_store.engine import held, latest_rows

    _, view = definitions(features_dir(sources.write())).views
    kept = latest_rows(view, None, NEW_YEAR)
    kept[0] = False
    computed = held(view, kept)
    assert computed.ids.to_pylist() == ["P2", "P3", "P4"] and len(set(computed.prints.tolist())) == 3
    assert computed.stamps.tolist() == [int(NEW_YEAR.timestamp()) * 1_000_000] * 3
    table = pq.read_table(view.batch_source.path)
    pq.write_table(table.append_column(PRINT, pa.array([5, 6, 7, 8], pa.uint64())), view.batch_source.path)
    assert held(view, kept).prints.tolist() == [6, 7, 8]


def test_row_groups_without_a_row_that_is_asked_for_are_not_read(
    sources: Sources, monkeypatch: pytest.MonkeyPatch
) -> None:
    import pyarrow.parquet as pq

    from sqidflow.feature_store import engine

    sources.product_ids, sources.product_times = [f"P{at}" for at in range(7)], [NEW_YEAR] * 7
    _, view = definitions(features_dir(sources.write())).views
    read = []
    iterate = pq.ParquetFile.iter_batches
    monkeypatch.setattr(
        pq.ParquetFile,
        "iter_batches",
        lambda file, *args, **named: read.extend(named["row_groups"]) or iterate(file, *args, **named),
    )
    kept = np.zeros(7, bool)
    kept[[1, 6]] = True
    batches = list(engine._read(view, kept, 3))
    assert [row for batch in batches for row in batch.column(0).to_pylist()] == ["P1", "P6"]
    assert read == [0, 3]
    assert not list(engine._read(view, np.zeros(7, bool), 3))
