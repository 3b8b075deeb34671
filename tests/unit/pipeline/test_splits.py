"""Few queries may all miss a split: said before a run, with shares that fill all of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.splits import check_splits, empty_splits, shares_that_fill
from sqidflow.core.errors import DataError

NAMES, SHARES = ("train", "eval", "test"), (4, 2, 4)


def pairs(folder: Path, queries: range) -> Path:
    file = folder / "pairs.csv"
    file.write_text("query_id,product_id\n" + "".join(f"{query},P{number}\n" for query in queries for number in (1, 2)))
    return file


def test_many_queries_fill_all_splits(tmp_path: Path) -> None:
    check_splits(pairs(tmp_path, range(1, 200)), NAMES, SHARES)


def test_the_hint_names_the_nearest_shares_that_fill_them(tmp_path: Path) -> None:
    short = next(range(at, at + 6) for at in range(1, 999) if empty_splits(range(at, at + 6), SHARES))
    with pytest.raises(DataError, match=r"none of 6 queries falls into the split '(train|eval|test)'") as caught:
        check_splits(pairs(tmp_path, short), NAMES, SHARES)
    shares = [int(part.split("=")[1]) for part in caught.value.message.split() if part.startswith("split.")]
    assert len(shares) == 3 and not empty_splits(short, shares)
    check_splits(tmp_path / "pairs.csv", NAMES, shares)
    assert tuple(shares) == shares_that_fill(short, SHARES)


def test_fewer_queries_than_splits_are_too_few(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none of 1 query falls into the split '\w+'; judge more queries$"):
        check_splits(pairs(tmp_path, range(5, 6)), NAMES, SHARES)
