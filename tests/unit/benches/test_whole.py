"""The raw data of the pipeline's bench: real formats, any size, the same bytes."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from sqidflow.benches.whole import Size, write_raw
from sqidflow.data.check import check_folder

SMALL = Size(queries=40, products=700, pairs=900, dim=16)


def _digests(folder: Path) -> dict[str, str]:
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in sorted(folder.iterdir())}


def test_files_are_valid_and_of_the_size(tmp_path: Path) -> None:
    write_raw(tmp_path, SMALL)
    reports = {report.file: report for report in check_folder(tmp_path)}
    assert not [problem for report in reports.values() for problem in report.problems]
    assert reports["query_features.parquet"].rows == 40 and reports["query_features.parquet"].dim == 16
    assert reports["product_features.parquet"].rows == 700
    assert 20 <= reports["product_features.parquet"].counts["without picture"] <= 60
    judged = reports["shopping_queries_dataset_examples.parquet"]
    assert 850 <= judged.rows <= 900, "a few products are drawn twice for a query and judged once"
    assert set(judged.counts) >= {"E", "S", "C", "I"}


def test_same_size_same_bytes(tmp_path: Path) -> None:
    for name in ("first", "second"):
        write_raw(tmp_path / name, SMALL)
    assert _digests(tmp_path / "first") == _digests(tmp_path / "second")


def test_impossible_size_is_refused() -> None:
    with pytest.raises(ValueError, match="5 pairs do not fit 10 queries"):
        Size(queries=10, products=10, pairs=5, dim=4)
