"""The feature store's bench at a small size: every step is there, and counts what it says."""

from __future__ import annotations

from pathlib import Path

from sqidflow.benches.feature_store import bench
from sqidflow.benches.whole import Size
from sqidflow.core.workdir import Workdir


def test_every_job_of_the_store_is_measured(tmp_path: Path) -> None:
    said: list[str] = []
    document = bench(Size(queries=20, products=300, pairs=400, dim=8), Workdir(tmp_path), said.append)
    steps = [row["step"] for row in document["rows"]]
    assert steps == [
        "materialize (sqlite)",
        "materialize again (sqlite), no changes",
        "point-in-time join",
        "online look-up of 100 products (sqlite)",
    ]
    for row in document["rows"]:
        assert row["seconds"] >= 0 and row["rows_per_second"] > 0 and row["peak_rss_mb"] > 50, row
    assert document["rows"][3]["p50_ms"] <= document["rows"][3]["p99_ms"]
    size = document["size"]
    assert size["queries"] == 20 and 300 < size["pairs"] <= 400 and size["products"] <= 300
    assert len(said) == 1 + len(steps)
