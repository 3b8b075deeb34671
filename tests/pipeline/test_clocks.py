"""The order of runs does not depend on what the clock says."""

from __future__ import annotations

import sqlite3
from contextlib import nullcontext
from datetime import datetime
from pathlib import Path

import pytest

from sqidflow.tracking.mlmd import latest_execution, newest_pipeline_run
from tests.fixtures.one_component import one_component


@pytest.fixture
def standing_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock gives every run the same time: what one that was set back does for some."""

    class Standing(datetime):
        @classmethod
        def now(cls, tz=None):
            return cls(2026, 11, 23, tzinfo=tz)

    monkeypatch.setattr("pipeline.reporting_runner.datetime", Standing)


def run(root: Path) -> None:
    from pipeline.reporting_runner import ReportingDagRunner

    ReportingDagRunner(lambda name: nullcontext()).run(one_component(root))


def executions(root: Path) -> list[int]:
    with sqlite3.connect(root / "metadata.db") as connection:
        rows = connection.execute("SELECT id FROM Execution ORDER BY id").fetchall()
    connection.close()
    return [number for (number,) in rows]


def test_a_run_at_the_time_of_an_earlier_one_runs(tmp_path, standing_clock):
    """TFX would take the earlier run's executions for this one's, and write nothing; the newest execution of a
    component is then one of another run, perhaps of one that was killed and wrote nothing."""
    for count in (1, 2, 3):
        run(tmp_path)
        assert len(executions(tmp_path)) == count
        assert latest_execution(tmp_path / "metadata.db", "one", "write").id == executions(tmp_path)[-1]


def test_the_newest_run_is_the_one_that_began_last(tmp_path):
    """`--from` and `--to` take the outputs of the other components from it."""
    database = tmp_path / "metadata.db"
    assert newest_pipeline_run(database, "one") is None
    names = []
    for day in (20, 23, 21):  # the clock was set back
        run(tmp_path)
        names.append(newest_pipeline_run(database, "one"))
        with sqlite3.connect(database) as connection:
            stamp = int(datetime(2026, 11, day).timestamp() * 1000)
            connection.execute("UPDATE Context SET create_time_since_epoch = ? WHERE name = ?", (stamp, names[-1]))
        connection.close()
    assert len(set(names)) == 3
    assert newest_pipeline_run(database, "one") == names[-1]
    assert newest_pipeline_run(database, "another") is None
