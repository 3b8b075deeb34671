"""The query log's summary, and its MLflow run."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqidflow.monitoring.queries import summarise, to_mlflow

from sqidflow.core.errors import DataError
from sqidflow.core.settings import Settings
from sqidflow.core.workdir import Workdir


def _line(query: str, total: float, outcome: str = "answered", **more: object) -> str:
    timings = {"rewrite_ms": 0.1, "encode_ms": 0.2, "retrieve_ms": 1.0, "rank_ms": 1.0, "total_ms": total}
    line = {
        "at": datetime.now(UTC).isoformat(), "query": query, "variant": "a", "strategy": "single", "outcome": outcome,
        "results": [["B1", 0.5]] if outcome == "answered" else [], "cached": False, "timings": timings, "model": "17",
    }  # fmt: skip
    return json.dumps({**line, **more}) + "\n"


@pytest.fixture
def log(tmp_path: Path) -> Path:
    folder = tmp_path / "var" / "search"
    folder.mkdir(parents=True)
    old = (datetime.now(UTC) - timedelta(days=9)).isoformat()
    (folder / "queries-1.jsonl").write_text(
        _line("shoe", 4.0) + _line("lamp", 6.0) + _line("qq", 2.0, "nothing_fits") + _line("old", 99.0, at=old)
    )
    (folder / "queries-2.jsonl").write_text(
        _line("qq", 2.0, "nothing_fits") + _line("shoe", 0.1, cached=True, variant=None, strategy="interleave") + '{"a'
    )
    return folder


def test_summary(log: Path) -> None:
    found = summarise(log, 7)
    assert found["searches"] == 5 and found["outcomes"] == {"answered": 3, "nothing_fits": 2}
    assert found["variants"] == {"a": 4, "interleave": 1}
    assert found["cached_share"] == 0.2 and found["without_result_share"] == 0.4
    assert found["milliseconds"]["total_ms"]["p50"] == 3.0
    assert found["queries_without_result"] == [["qq", 2]] and found["damaged_lines"] == 1


def test_no_searches(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no search of the last 7 days"):
        summarise(tmp_path, 7)


@pytest.mark.slow
def test_a_run_that_a_person_can_read(log: Path, tmp_path: Path) -> None:
    import mlflow

    workdir = Workdir(tmp_path)
    run_id = to_mlflow(summarise(log, 7), workdir, Settings())
    client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{workdir.mlflow / 'mlflow.db'}")
    run = client.get_run(run_id)
    assert run.info.run_name == "5 searches, 7 days" and run.info.status == "FINISHED"
    assert run.data.metrics["outcome_nothing_fits"] == 2 and run.data.metrics["total_p50_ms"] == 3.0
