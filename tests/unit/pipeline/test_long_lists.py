"""Lists over LightGBM's bound are said before a run, and only where trees would learn from them."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("tensorflow")

from pipeline import long_lists
from sqidflow.core.errors import SqidflowError

SHARES, SPLITS = (4, 2, 4), ("train", "eval", "test")


def pairs(folder: Path, sizes: dict[int, int]) -> Path:
    path = folder / "pairs.csv"
    rows = "".join(f"{query},P{number}\n" for query, size in sizes.items() for number in range(size))
    path.write_text("query_id,product_id\n" + rows)
    return path


def query_of(split: str) -> int:
    return next(number for number in range(1, 99) if SPLITS[long_lists.split_of(number, SHARES)] == split)


def test_the_split_of_a_query_is_the_one_that_csv_example_gen_takes() -> None:
    import tensorflow as tf
    from tfx.components.example_gen import base_example_gen_executor
    from tfx.proto import example_gen_pb2

    config = example_gen_pb2.SplitConfig(partition_feature_name="query_id")
    for query in (0, 1, 7, 64, 130_652, 2**62, -5):
        record = tf.train.Example()
        record.features.feature["query_id"].int64_list.value.append(query)
        expected = base_example_gen_executor._PartitionFn(record, 3, [4, 6, 10], config)
        assert long_lists.split_of(query, SHARES) == expected


@pytest.mark.parametrize("split", ["train", "eval"])
def test_a_long_list_that_trees_learn_from_is_refused(tmp_path: Path, split: str) -> None:
    path = pairs(tmp_path, {query_of(split): 10_001, 999: 3})
    assert long_lists.long_lists(path) == {query_of(split): 10_001}
    with pytest.raises(SqidflowError, match=rf"\(split '{split}'\) has 10,001 judged products.*--model pointwise"):
        long_lists.refuse_long_lists(path, "ensemble", SHARES, SPLITS, "test")


@pytest.mark.parametrize(("split", "size"), [("test", 10_001), ("train", 10_000)])
def test_held_out_lists_and_those_within_the_bound_pass(tmp_path: Path, split: str, size: int) -> None:
    long_lists.refuse_long_lists(pairs(tmp_path, {query_of(split): size}), "ensemble", SHARES, SPLITS, "test")


def test_no_pairs_yet(tmp_path: Path) -> None:
    assert long_lists.long_lists(tmp_path / "pairs.csv") == {}
    assert long_lists.long_lists(pairs(tmp_path, {})) == {}
