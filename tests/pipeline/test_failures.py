"""What goes wrong on the way: killed, skewed, twice at once, unprepared."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

from tests.fixtures.skewed import skew_picture_vectors
from tests.pipeline.conftest import TINY_SAMPLE, TINY_TRAINING, command, must, sqidflow

RUNNING = 2  # ml_metadata.proto.Execution.RUNNING


def wait_until_running(workdir: Path, node: str, process: subprocess.Popen, seconds: float = 240) -> None:
    from pipeline.local_runner import pipeline_name
    from sqidflow.core.settings import SplitSettings
    from sqidflow.ranking import features
    from sqidflow.tracking.mlmd import latest_execution

    name = pipeline_name({features.QUERY_VEC: 96}, SplitSettings())
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        assert process.poll() is None, f"the run ended before {node} began"
        if (workdir / "artifacts" / "tfx" / "metadata.db").is_file():
            try:
                execution = latest_execution(workdir / "artifacts" / "tfx" / "metadata.db", name, node)
            except Exception:  # the other process is just making the database's tables
                execution = None
            if execution is not None and execution.last_known_state == RUNNING:
                return
        time.sleep(0.1)  # a component takes seconds, and each look some of the processor
    raise AssertionError(f"{node} did not begin within {seconds} s")


def test_killed_runs_start_again(prepared_copy: Path, first_run: dict[str, Any]) -> None:
    """SIGKILL in one component after the other; the last run ends as if nothing had been, from what was finished."""
    workdir = prepared_copy
    for node in ("FeatureJoin", "Transform", "Trainer", "Evaluator"):
        process = subprocess.Popen(
            command("run", "--workdir", str(workdir), settings=TINY_TRAINING),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        wait_until_running(workdir, node, process)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    document = must(sqidflow("run", "--json", "--workdir", str(workdir), settings=TINY_TRAINING)).json
    cached = {part["name"]: part["cached"] for part in document["components"]}
    assert cached["CsvExampleGen"] and cached["FeatureJoin"] and cached["Transform"] and cached["Trainer"]
    assert not cached["Evaluator"], "the killed Evaluator must not be taken for a finished one"
    assert document["ndcg"] == first_run["ndcg"]
    assert document["blessed"] == first_run["blessed"]


def test_skewed_data_is_stopped_before_transform(prepared_copy: Path) -> None:
    workdir = prepared_copy
    skew_picture_vectors(workdir / "data")
    must(sqidflow("features", "--workdir", str(workdir)))
    answer = sqidflow("run", "--workdir", str(workdir), settings=TINY_TRAINING)
    assert answer.code == 2
    message = answer.err.strip().splitlines()[-1]
    assert message.startswith("sqidflow: ExampleValidator:") and "product_image_vec" in message
    assert "schema/schema.pbtxt" in message
    assert "Traceback" not in answer.err
    root = workdir / "artifacts" / "tfx" / "pipeline"
    assert not (root / "Transform").exists() and not (root / "Trainer").exists()
    assert list((root / "ExampleValidator").rglob("SchemaDiff.pb")), "the anomalies stay to be looked at"


def test_two_runs_in_one_workdir(prepared_copy: Path) -> None:
    from sqidflow.core.workdir import Workdir

    with Workdir(prepared_copy).locked("test"):
        answer = sqidflow("run", "--workdir", str(prepared_copy))
    assert answer.code == 2
    assert f"process {os.getpid()} (test)" in answer.err and "--workdir" in answer.err


def test_run_without_features(tmp_path: Path) -> None:
    answer = sqidflow("run", "--workdir", str(tmp_path))
    assert answer.code == 2 and "sqidflow features" in answer.err and "Traceback" not in answer.err


def test_features_of_other_data_are_not_trained_on(prepared_copy: Path) -> None:
    """A run would be said to have learned from data that it never saw."""
    workdir = prepared_copy
    must(sqidflow("data", "sample", "--workdir", str(workdir), settings=(*TINY_SAMPLE, "sample.seed=99")))
    answer = sqidflow("run", "--workdir", str(workdir), settings=TINY_TRAINING)
    assert answer.code == 2 and "is not the file that the features were made with" in answer.err
    assert "sqidflow features" in answer.err and "Traceback" not in answer.err
    assert not (workdir / "artifacts" / "serving").exists()


def test_unknown_node_model_and_setting(prepared_copy: Path) -> None:
    answer = sqidflow("run", "--to", "Transfrom", "--workdir", str(prepared_copy))
    assert answer.code == 2 and "did you mean Transform?" in answer.err
    answer = sqidflow("run", "--model", "bert", "--workdir", str(prepared_copy))
    assert answer.code == 2 and "ensemble" in answer.err
    answer = sqidflow("run", "--workdir", str(prepared_copy), settings=("train.epoch=3",))
    assert answer.code == 2 and "did you mean train.epochs?" in answer.err
