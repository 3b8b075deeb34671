from __future__ import annotations

import numpy as np
import pyarrow as pa

from sqidflow.data import formats
from sqidflow.data.prints import prints_of


def _vectors(*rows: list[float] | None) -> pa.Array:
    return pa.array(rows, formats.VECTOR_TYPE)


def test_a_print_changes_with_each_value_and_with_its_place() -> None:
    text = _vectors([1, 2], [1, 2], [1, 2.0000002], [1, 2], None, [1, 2], [0.0, 1], [-0.0, 1])
    image = _vectors(None, [3], None, [4], [1, 2], [0, 0], None, None)
    prints = prints_of([text, image])
    assert prints.dtype == np.uint64 and len(np.unique(prints)) == len(text)
    np.testing.assert_array_equal(prints_of([text[:1], image[:1]]), prints[:1])


def test_the_print_of_a_row_does_not_depend_on_its_neighbours() -> None:
    text, number = _vectors([1, 2], None, [5, 6]), pa.array([1, 0, None])
    whole = prints_of([text, number])
    for row in range(3):
        assert prints_of([text[row : row + 1], number[row : row + 1]])[0] == whole[row]
    assert len(prints_of([text[:0]])) == 0
