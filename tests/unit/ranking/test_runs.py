from __future__ import annotations

import numpy as np
import pytest

from sqidflow.ranking.runs import taken


@pytest.mark.parametrize("rows", [[], [2], [0, 1, 2, 3], [3, 2, 1, 0], [1, 1, 2], [0, 2, 3, 0]])
def test_rows_are_taken_in_the_order_asked_for(rows: list[int]) -> None:
    parts = [[5, 6], [], [7], [8, 9, 10]]
    values, offsets = np.array(sum(parts, []), np.int32), np.array([0, 2, 2, 3, 6])
    got = taken(values, offsets, np.array(rows, np.int64))
    assert got.tolist() == [value for row in rows for value in parts[row]] and got.dtype == np.int32
