"""Vectors read by sample, their norms and projections."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sqidflow.core.errors import MissingInputError
from sqidflow.plots import vectors as plots
from sqidflow.ranking import features


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    """30 queries and 300 products of length 8, whose first entry is their number; every third has no picture."""
    queries = [[float(row)] + [1.0] * 7 for row in range(30)]
    pq.write_table(
        pa.table({features.QUERY_ID: np.arange(30), features.QUERY_VEC: queries}), tmp_path / "queries.parquet"
    )
    vectors = [[float(row)] + [2.0] * 7 for row in range(300)]
    pq.write_table(
        pa.table(
            {
                features.PRODUCT_ID: [f"p{row}" for row in range(300)],
                features.TEXT_VEC: vectors,
                features.IMAGE_VEC: [None if row % 3 == 0 else vector for row, vector in enumerate(vectors)],
            }
        ),
        tmp_path / "products.parquet",
        row_group_size=7,
    )
    return tmp_path


def test_rows_are_evenly_spaced_and_keep_their_ids(sources: Path) -> None:
    found = plots.read_vectors(sources, limit=100)
    assert found.by_kind[features.QUERY_VEC].shape == (30, 8)
    assert found.by_kind[features.TEXT_VEC][:, 0].tolist() == list(range(0, 300, 3))
    assert found.ids[features.TEXT_VEC][1] == "p3"
    assert len(found.by_kind[features.IMAGE_VEC]) == 0  # every third row is one without a picture
    whole = plots.read_vectors(sources)
    assert whole.by_kind[features.IMAGE_VEC].shape == (200, 8)
    assert [f"p{int(first)}" for first in whole.by_kind[features.IMAGE_VEC][:, 0]] == whole.ids[features.IMAGE_VEC]


def test_a_missing_source_is_named(sources: Path) -> None:
    (sources / "products.parquet").unlink()
    with pytest.raises(MissingInputError, match=r"products\.parquet"):
        plots.read_vectors(sources)


def test_unit_keeps_zeros() -> None:
    rows = plots.unit(np.array([[3.0, 4.0], [0.0, 0.0]], np.float32))
    assert rows == pytest.approx(np.array([[0.6, 0.8], [0.0, 0.0]]))


@pytest.mark.parametrize("limit", [100, 4000])
def test_figures_with_and_without_pictures(sources: Path, limit: int) -> None:
    found = plots.read_vectors(sources, limit)
    norms = plots.norm_figure(found)
    counts = [sum(bar.get_height() for bar in axes.patches) for axes in norms.axes]
    assert counts == [len(rows) for rows in found.by_kind.values()]
    colors = {f"p{row}": "red" if row % 2 else "no such colour" for row in range(300)}
    projection = plots.projection_figure(found, colors)
    points = sum(len(part.get_offsets()) for part in projection.axes[0].collections)
    assert points == sum(map(len, found.by_kind.values()))
    names = [text.get_text() for text in projection.axes[1].get_legend().get_texts()]
    assert {"red", "no such colour"} <= set(names)


def test_colours_come_from_the_pairs(tmp_path: Path) -> None:
    file = tmp_path / "pairs.csv"
    file.write_text(f"{features.PRODUCT_ID},{features.COLOR}\na,Red\nb,\n")
    assert plots.product_colors(file) == {"a": "red"}
