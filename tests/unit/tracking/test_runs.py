"""What is logged where the store works, and that nothing is lost or waited for where it does not."""

from __future__ import annotations

import logging
import shutil
import subprocess
import sys
from pathlib import Path
from subprocess import PIPE

import numpy as np
import pytest

from sqidflow.tracking import runs
from sqidflow.tracking.runs import RunContext, TrackedRun


def context(folder: Path, uri: str | None = None) -> RunContext:
    return RunContext(
        tracking_uri=uri or f"sqlite:///{folder}/store/mlflow.db",
        artifact_root=(folder / "artifacts").as_uri(),
        experiment="tests",
        run_name="a run",
        git_commit="c0ffee",
        data_hash="abc.dir",
        feature_service="ranker_v1",
        country_iso_code="DEU",
    )


@pytest.fixture(scope="module")
def mlflow():
    return pytest.importorskip("mlflow")


@pytest.fixture(scope="module")
def logged(tmp_path_factory, mlflow):
    """A run with everything logged once: its folder, id, and a client."""
    from matplotlib.figure import Figure

    folder = tmp_path_factory.mktemp("tracked")
    run = TrackedRun(context(folder))
    run.params({"epochs": 3, "model": "pointwise"})
    run.metrics({"loss": 0.5, "val_ndcg": float("nan")}, step=1)
    run.metrics({"loss": np.float32(0.25)}, step=2)
    run.tags({"blessed": "true"})
    figure = Figure()
    figure.subplots().plot([0, 1])
    run.figure(figure, "curve.png")
    note = folder / "note.txt"
    note.write_text("kept")
    run.artifact(note, "notes")
    run.close()
    return folder, run.run_id, mlflow.MlflowClient(tracking_uri=context(folder).tracking_uri)


def test_a_curve_of_many_steps_is_sent_in_few_calls(tmp_path, mlflow, monkeypatch):
    run = TrackedRun(context(tmp_path))
    calls = []
    send = mlflow.MlflowClient.log_batch

    def counted(self, *arguments, **options):
        calls.append(len(options["metrics"]))
        return send(self, *arguments, **options)

    monkeypatch.setattr(mlflow.MlflowClient, "log_batch", counted)
    run.curve([{"val_ndcg": step / 1500, "loss": float("nan") if step == 0 else 1.0} for step in range(1500)])
    assert calls == [1000, 1000, 999]
    history = mlflow.MlflowClient(context(tmp_path).tracking_uri).get_metric_history(run.run_id, "val_ndcg")
    assert sorted((each.step, each.value) for each in history)[-1] == (1500, pytest.approx(1499 / 1500))
    assert len(history) == 1500


def test_context_survives_its_file(tmp_path):
    wanted = context(tmp_path)
    wanted.write(tmp_path / "deep" / "context.json")
    assert RunContext.read(tmp_path / "deep" / "context.json") == wanted
    assert (tmp_path / "deep" / "context.json").stat().st_mode & 0o777 == 0o600, "its address may hold a password"
    assert [file.name for file in (tmp_path / "deep").iterdir()] == ["context.json"]


def test_everything_is_in_the_store(logged):
    _, run_id, client = logged
    run = client.get_run(run_id)
    assert run.info.status == "FINISHED"
    assert run.info.run_name == "a run"
    assert run.data.params == {"epochs": "3", "model": "pointwise"}
    assert run.data.tags | {} == run.data.tags
    for name, value in {
        "git_commit": "c0ffee",
        "data_hash": "abc.dir",
        "feature_service": "ranker_v1",
        "blessed": "true",
    }.items():
        assert run.data.tags[name] == value
    assert [(point.step, point.value) for point in client.get_metric_history(run_id, "loss")] == [(1, 0.5), (2, 0.25)]


def test_numbers_that_are_none_are_left_out(logged):
    _, run_id, client = logged
    assert "val_ndcg" not in client.get_run(run_id).data.metrics


def test_files_and_figures_lie_under_the_artifact_root(logged):
    folder, run_id, client = logged
    assert {item.path for item in client.list_artifacts(run_id)} >= {"curve.png", "notes"}
    assert [file.read_text() for file in (folder / "artifacts").rglob("note.txt")] == ["kept"]
    assert next((folder / "artifacts").rglob("curve.png")).read_bytes().startswith(b"\x89PNG")


def test_a_run_can_be_opened_again(logged):
    folder, run_id, client = logged
    again = TrackedRun(context(folder), run_id=run_id)
    assert again.run_id == run_id
    again.metrics({"test_ndcg": 0.9})
    assert client.get_run(run_id).data.metrics["test_ndcg"] == 0.9


def test_runs_of_one_experiment_share_it(logged):
    folder, run_id, client = logged
    other = TrackedRun(context(folder))
    assert client.get_run(other.run_id).info.experiment_id == client.get_run(run_id).info.experiment_id


FIRST_AT_A_STORE = """
import sys
from pathlib import Path

import mlflow.store.tracking.sqlalchemy_store  # so that both come to the store at one time

from sqidflow.tracking.runs import TrackedRun
from tests.unit.tracking.test_runs import context

print("ready", flush=True)
sys.stdin.readline()
run = TrackedRun(context(Path(sys.argv[1])))
run.close()
print(run.run_id)
"""


def test_two_processes_that_come_first_to_a_store_both_have_their_run(tmp_path, mlflow):
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", FIRST_AT_A_STORE, str(tmp_path)], stdin=PIPE, stdout=PIPE, stderr=PIPE, text=True
        )
        for _ in range(2)
    ]
    for process in processes:
        assert process.stdout.readline() == "ready\n", process.stderr.read()[-2000:]
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    ended = [process.communicate(timeout=240) for process in processes]
    client = mlflow.MlflowClient(tracking_uri=context(tmp_path).tracking_uri)
    logged = client.search_runs([client.get_experiment_by_name("tests").experiment_id])
    assert sorted(out.strip() for out, _ in ended) == sorted(run.info.run_id for run in logged), ended
    assert len(logged) == 2


def test_a_training_without_a_store_tracks_nothing(caplog):
    run = TrackedRun(None)
    run.params({"a": 1})
    run.metrics({"a": 1.0})
    run.close()
    assert run.run_id is None
    assert not caplog.records


@pytest.mark.parametrize("how", ["parent is a file", "is a folder", "is no database"])
def test_a_store_that_cannot_be_opened_costs_neither_the_training_nor_time(tmp_path, mlflow, caplog, how):
    (tmp_path / "file").write_bytes(b"not a database at all" * 100)
    place = {"parent is a file": "file/mlflow.db", "is a folder": "", "is no database": "file"}[how]
    with caplog.at_level(logging.WARNING, "sqidflow.tracking.runs"):
        run = TrackedRun(context(tmp_path, f"sqlite:///{tmp_path}/{place}"))
        run.params({"a": 1})
        run.tags({"a": "1"})
        run.artifact(tmp_path / "file")
        run.close()
    assert run.run_id is None
    assert [record.getMessage()[:29] for record in caplog.records] == ["MLflow: could not open the st"]
    assert "sqlite3." not in caplog.text, "MLflow itself tried, which takes it 100 seconds"
    assert (tmp_path / "file").read_bytes() == b"not a database at all" * 100


def test_an_unknown_run_is_not_logged_to(logged, caplog):
    folder, _, _ = logged
    assert TrackedRun(context(folder), run_id="0" * 32).run_id is None
    assert "could not open" in caplog.text


def test_a_store_that_goes_away_meanwhile_is_given_up_after_a_few_failures(tmp_path, mlflow, caplog):
    run = TrackedRun(context(tmp_path))
    kept = run.run_id
    assert kept
    shutil.rmtree(tmp_path / "store")
    with caplog.at_level(logging.WARNING, "sqidflow.tracking.runs"):
        for step in range(10):
            run.metrics({"loss": 1.0}, step=step)
        run.close()
    assert run.run_id == kept
    messages = [record.getMessage() for record in caplog.records if record.name == "sqidflow.tracking.runs"]
    assert len(messages) == runs.FAILURES_IN_A_ROW + 1
    assert "turned off after 3 failures in a row" in messages[-1]


def test_one_failure_does_not_stop_the_rest(logged):
    folder, _, client = logged
    run = TrackedRun(context(folder))
    for _ in range(runs.FAILURES_IN_A_ROW + 2):
        run.artifact(folder / "does not exist")
        run.metrics({"still": 1.0})
    assert client.get_run(run.run_id).data.metrics == {"still": 1.0}


def test_the_model_is_logged_with_signature_and_example(tmp_path, tf, mlflow):
    import keras

    keras.utils.set_random_seed(1)
    inputs = keras.Input((3,), name="query_vec")
    model = keras.Model({"query_vec": inputs}, keras.layers.Dense(4, activation="softmax")(inputs))
    example = {"query_vec": np.arange(6, dtype=np.float32).reshape(2, 3)}
    prediction = model.predict(example, verbose=0)
    before = mlflow.get_tracking_uri()
    run = TrackedRun(context(tmp_path))
    run.model(model, example, prediction)
    run.close()
    assert mlflow.get_tracking_uri() == before
    client = mlflow.MlflowClient(tracking_uri=context(tmp_path).tracking_uri)
    assert client.get_run(run.run_id).info.status == "FINISHED"
    description = next((tmp_path / "artifacts").rglob("MLmodel")).read_text()
    assert "signature" in description
    assert "query_vec" in description
    assert list((tmp_path / "artifacts").rglob("input_example.json"))
