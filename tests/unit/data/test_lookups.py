from __future__ import annotations

import pyarrow as pa

from sqidflow.data.lookups import Places


def test_ids_are_found_where_they_stand_first() -> None:
    places = Places(pa.chunked_array([["b", "a"], ["b", None]], pa.string()))
    asked = pa.array(["a", "x", "b", None])
    assert places.of(asked).to_pylist() == [1, None, 0, None]
    assert places.has(asked).to_pylist() == [True, False, True, False]
    assert places.of(asked).type == pa.int32() and places.has(asked[:0]).type == pa.bool_()


def test_numbers_are_ids_too() -> None:
    assert Places(pa.array([7, 5])).of(pa.array([5, 6, 7])).to_pylist() == [1, None, 0]
