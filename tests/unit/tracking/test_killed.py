"""A killed process leaves no run RUNNING, and no run of a process that lives is ended."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from sqidflow.tracking.killed import PROCESS_TAG, end_killed_runs
from sqidflow.tracking.runs import PROCESSES, RunContext, TrackedRun
from sqidflow.tracking.runs import end_killed_runs as end_killed_runs_of
from tests.unit.tracking.test_runs import context as any_context

mlflow = pytest.importorskip("mlflow")

PROGRAM = """
import sys, time
from pathlib import Path
from sqidflow.tracking.runs import RunContext, TrackedRun

context = RunContext.read(Path(sys.argv[1]))
parent = TrackedRun(context)
child = TrackedRun(context, parent_id=parent.run_id)
done = TrackedRun(context)
done.close()
print(parent.run_id, child.run_id, done.run_id, flush=True)
time.sleep(300)
"""


def context(folder: Path) -> RunContext:
    return replace(any_context(folder), processes=str(folder / "store" / PROCESSES))


def start(folder: Path, given: RunContext) -> tuple[subprocess.Popen, list[str]]:
    """A process with two runs open, one within the other, and one that it has closed; and their ids."""
    given.write(folder / "context.json")
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(folder / "context.json")], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    return process, process.stdout.readline().split()


def end(process: subprocess.Popen) -> None:
    process.kill()
    process.wait(30)


def statuses(given: RunContext, run_ids: list[str]) -> list[str]:
    client = mlflow.MlflowClient(tracking_uri=given.tracking_uri)
    return [client.get_run(run_id).info.status for run_id in run_ids]


def test_the_next_run_ends_those_of_a_killed_process_and_no_other(tmp_path):
    given = context(tmp_path)
    live, lives = start(tmp_path, given)
    killed, left = start(tmp_path, given)
    unknown = mlflow.MlflowClient(tracking_uri=given.tracking_uri)
    foreign = unknown.create_run(unknown.get_experiment_by_name("tests").experiment_id).info.run_id
    try:
        end(killed)
        assert statuses(given, left) == ["RUNNING", "RUNNING", "FINISHED"], "nobody has looked yet"
        TrackedRun(given).close()
        assert statuses(given, left) == ["KILLED", "KILLED", "FINISHED"]
        assert statuses(given, lives) == ["RUNNING", "RUNNING", "FINISHED"], "its process lives"
        assert statuses(given, [foreign]) == ["RUNNING"], "of somebody who uses the store too"
    finally:
        end(live)
    end_killed_runs_of(given)
    assert statuses(given, lives) == ["KILLED", "KILLED", "FINISHED"]
    assert list(Path(given.processes).iterdir()) == []


def test_a_run_names_its_process_and_leaves_no_file_when_it_is_closed(tmp_path):
    given = context(tmp_path)
    run = TrackedRun(given)
    client = mlflow.MlflowClient(tracking_uri=given.tracking_uri)
    name = client.get_run(run.run_id).data.tags[PROCESS_TAG]
    assert f"-{os.getpid()}-" in name
    assert [file.name for file in Path(given.processes).iterdir()] == [f"{name}.json"]
    run.close()
    assert list(Path(given.processes).iterdir()) == []


def test_nothing_is_asked_of_the_store_where_nothing_was_killed(tmp_path, monkeypatch):
    """A run that comes from the cache whole takes less time than the import of MLflow."""
    given = context(tmp_path)
    TrackedRun(given).close()
    monkeypatch.setitem(sys.modules, "mlflow", None)
    end_killed_runs_of(given)


def test_a_copied_workdir_ends_the_runs_of_its_own_store_only(tmp_path):
    """The process of the original may be alive on another machine, whose locks are not seen here."""
    given = context(tmp_path / "original")
    process, open_runs = start(tmp_path, given)
    try:
        shutil.copytree(tmp_path / "original", tmp_path / "copy")
        copied = Path(context(tmp_path / "copy").processes)
        client = mlflow.MlflowClient(tracking_uri=given.tracking_uri)
        assert end_killed_runs(client, copied, own_store=False) == []
        assert statuses(given, open_runs[:2]) == ["RUNNING", "RUNNING"]
        own = context(tmp_path / "copy")
        end_killed_runs_of(own)
        assert statuses(own, open_runs[:2]) == ["KILLED", "KILLED"]
        assert statuses(given, open_runs[:2]) == ["RUNNING", "RUNNING"]
    finally:
        end(process)


def test_a_store_that_fails_is_tried_again_later(tmp_path, caplog):
    given = context(tmp_path)
    process, open_runs = start(tmp_path, given)
    end(process)
    end_killed_runs_of(replace(given, tracking_uri=f"sqlite:///{tmp_path}/context.json"))
    assert "could not end killed runs" in caplog.text
    end_killed_runs_of(given)
    assert statuses(given, open_runs[:2]) == ["KILLED", "KILLED"]
