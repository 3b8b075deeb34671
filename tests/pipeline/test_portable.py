"""The whole pipeline through Beam's portable protocol: job service and workers in processes of their own."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from pipeline.record_counts import count_by_split
from tests.pipeline.conftest import TINY_TRAINING, command, must, sqidflow

REPOSITORY = Path(__file__).resolve().parents[2]


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("localhost", 0))
        return found.getsockname()[1]


def _listening(port: int) -> bool:
    try:
        socket.create_connection(("localhost", port), 1).close()
    except OSError:
        return False
    return True


@contextmanager
def server(arguments: list[str], port: int, log: Path) -> Iterator[subprocess.Popen]:
    """A process that listens at ``port``, until the context ends."""
    with log.open("w") as stream:
        process = subprocess.Popen(arguments, stdout=stream, stderr=stream, cwd=REPOSITORY)
        try:
            deadline = time.monotonic() + 120
            while not _listening(port):
                assert process.poll() is None and time.monotonic() < deadline, log.read_text()[-2000:]
                time.sleep(0.1)
            yield process
        finally:
            process.kill()
            process.wait()


@pytest.fixture
def job_service(tmp_path: Path) -> Iterator[tuple[int, Path]]:
    """Port and log of a Python Beam job service in a process of its own."""
    port, log = free_port(), tmp_path / "job_service.log"
    module = "apache_beam.runners.portability.local_job_service_main"
    with server([sys.executable, "-m", module, "--port", str(port)], port, log):
        yield port, log


def worker(port: int, log: Path) -> Any:
    return server(command("beam-worker", "--port", str(port)), port, log)


def examples_of(workdir: Path, node: str) -> dict[str, int]:
    folders = sorted(workdir.glob(f"artifacts/tfx/pipeline/{node}/*examples/*"), key=lambda folder: int(folder.name))
    return count_by_split(folders[-1])


def test_portable_run_equals_the_local_one_and_survives_a_killed_worker(
    prepared_copy: Path,
    prepared: Path,
    first_run: dict[str, Any],
    job_service: tuple[int, Path],
    tmp_path: Path,
) -> None:
    workdir = prepared_copy
    job_port, job_log = job_service
    worker_port = free_port()
    settings = (
        *TINY_TRAINING,
        f"beam.job_endpoint=localhost:{job_port}",
        f"beam.environment_config=localhost:{worker_port}",
    )
    run = command("run", "--runner", "portable", "--json", "--workdir", str(workdir), settings=settings)

    answer = subprocess.run(run, capture_output=True, text=True, timeout=300)
    assert answer.returncode == 2 and f"no Beam worker answers at localhost:{worker_port}" in answer.stderr
    assert f"sqidflow beam-worker --port {worker_port}" in answer.stderr

    with worker(worker_port, tmp_path / "worker.log") as pool:
        errors = tmp_path / "run.err"
        with errors.open("w") as stream:
            process = subprocess.Popen(run, stdout=subprocess.DEVNULL, stderr=stream, cwd=REPOSITORY)
            _wait_for(lambda: "AnomalyGate" in errors.read_text(), process)  # then comes Transform
            asked = job_log.read_text().count("Requesting worker")
            _wait_for(lambda: job_log.read_text().count("Requesting worker") > asked, process)
            pool.kill()
            assert process.wait(120) == 2
    [message] = [line for line in errors.read_text().splitlines() if line.startswith("sqidflow:")]
    assert re.match(rf"sqidflow: Transform: no Beam worker answers at localhost:{worker_port} .* any more;", message)
    assert "Traceback" not in errors.read_text()

    with worker(worker_port, tmp_path / "worker2.log"):
        document = must_json(run)
    cached = {part["name"]: part["cached"] for part in document["components"]}
    assert cached["CsvExampleGen"] and cached["FeatureJoin"] and cached["StatisticsGen"]
    assert not cached["Transform"] and not cached["Trainer"] and not cached["Evaluator"]
    assert document["ndcg"] == first_run["ndcg"] and document["blessed"] == first_run["blessed"]
    for node in ("CsvExampleGen", "FeatureJoin", "Transform"):
        assert examples_of(workdir, node) == examples_of(prepared, node), node
    assert job_log.read_text().count("Requesting worker") >= 4, "the work was not done by the workers"


def _wait_for(condition: Callable[[], bool], process: subprocess.Popen, seconds: float = 200) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, "the run ended before its time"
        assert time.monotonic() < deadline
        time.sleep(0.02)


def must_json(run: list[str]) -> dict[str, Any]:
    import json

    done = subprocess.run(run, capture_output=True, text=True, timeout=500, cwd=REPOSITORY)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


def test_a_partial_run_stops_where_asked_and_a_lost_record_stops_the_next(prepared_copy: Path) -> None:
    """One record less in a file that a finished component has left: the run stops there with both numbers."""
    workdir = prepared_copy
    place = ("--workdir", str(workdir))
    partial = must(sqidflow("run", "--json", "--to", "FeatureJoin", *place, settings=TINY_TRAINING)).json
    names = [part["name"] for part in partial["components"]]
    assert "FeatureJoin" in names and not {"StatisticsGen", "SchemaGen", "Trainer"} & set(names)
    assert partial["ndcg"] is None and partial["pushed_model"] is None
    [file] = workdir.glob("artifacts/tfx/pipeline/FeatureJoin/examples/*/Split-eval/*")
    whole = examples_of(workdir, "FeatureJoin")["eval"]
    lose_last_record(file)
    answer = sqidflow("run", *place, settings=TINY_TRAINING)
    assert answer.code == 2, answer.err
    message = answer.err.strip().splitlines()[-1]
    assert message.startswith("sqidflow: FeatureJoin, split 'eval': ") and "Traceback" not in answer.err
    assert f"{whole - 1} records for {whole} records of CsvExampleGen: 1 lost" in message
    assert not (workdir / "artifacts/tfx/pipeline/StatisticsGen").exists()


def lose_last_record(file: Path) -> None:
    import tensorflow as tf

    records = [record.numpy() for record in tf.data.TFRecordDataset(str(file))]
    with tf.io.TFRecordWriter(str(file)) as writer:
        for record in records[:-1]:
            writer.write(record)
