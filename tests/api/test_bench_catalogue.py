"""`sqidflow bench catalogue`, at the smallest size: every step runs, and the change arrives by an update."""

from __future__ import annotations

from pathlib import Path

from tests.command_line import must, sqidflow


def test_the_whole_bench(tmp_path: Path) -> None:
    sizes = (
        "--products",
        "300",
        "--queries",
        "60",
        "--dim",
        "64",
        "--seconds",
        "1",
        "--quickstart",
        "40",
        "--workdir",
        str(tmp_path),
    )
    document = must(sqidflow("bench", "catalogue", "--json", *sizes)).json
    assert document["size"]["changed"] == {"added": 1, "changed": 1, "deleted": 1}
    steps = ["data import", "data encode", "features", "index", "first answer"]
    expected = [("full", step) for step in (*steps[:3], "run", *steps[3:])] + [("change", step) for step in steps]
    assert [(row["path"], row["step"]) for row in document["rows"]] == expected
    assert document["audit"] is None or document["audit"]["seconds"] > 0
    assert document["index"]["changed_since_build"] == 3 and document["index"]["products"] == 300
    assert [row["products"] for row in document["sizes"]] == [300, 1200]
    # Not 1: the vectors are of half precision, so the tenth may be another with nearly the same cosine.
    assert all(row["answers"] and row["recall_at_10"] >= 0.99 for row in document["sizes"])
    assert (
        0 < document["change_share"] < document["change_share_without_training"]
        and document["p50_ratio"] > 0
        and document["quickstart_seconds"] > 0
    )
