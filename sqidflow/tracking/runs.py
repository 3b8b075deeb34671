"""MLflow tracking of a training. A failing tracking store never fails or stalls the training.

Every call is guarded, and each failure is logged as a warning. After a few consecutive failures, nothing more is sent.
"""

from __future__ import annotations

import json
import logging
import os
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqidflow.core.workdir import Workdir
from sqidflow.tracking import killed

if TYPE_CHECKING:
    from mlflow import MlflowClient

_LOG = logging.getLogger(__name__)

FAILURES_IN_A_ROW = 3
"""Then the store counts as unreachable: a training of 40 epochs must not wait for it 40 times."""
_METRICS_A_CALL = 1000
"""MLflow's own bound."""
_OTHERS_MAKE_THE_STORE_S = 60
IMPATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2", "MLFLOW_HTTP_REQUEST_TIMEOUT": "20"}
"""With MLflow's defaults, a call to a server that does not answer takes four minutes."""


EXPERIMENT_TAGS = {"mlflow.experimentKind": "custom_model_development"}
"""Without it MLflow's UI opens the experiment on the traces of language models, which this project does not have."""


def experiment_for(client: MlflowClient, name: str) -> str | None:
    """The id of an experiment, which gets ``EXPERIMENT_TAGS`` where it was made without; None where there is none."""
    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        return None
    for key, value in EXPERIMENT_TAGS.items():
        if key not in experiment.tags:
            client.set_experiment_tag(experiment.experiment_id, key, value)
    return experiment.experiment_id


@dataclass(frozen=True)
class RunContext:
    """The tracking store and the versions that a run records. The runner writes it, the Trainer reads it.

    It is passed in a file, not in the Trainer's parameters, so that a new commit alone does not invalidate the cache.
    """

    tracking_uri: str
    artifact_root: str
    experiment: str
    run_name: str
    git_commit: str
    data_hash: str
    feature_service: str
    country_iso_code: str
    encoder: str | None = None
    """The encoder of the vectors, if their file names it."""
    processes: str | None = None
    """Folder of the workdir with a locked file for each process that has runs open: see ``tracking.killed``."""

    @property
    def has_own_store(self) -> bool:
        """The store is a file of the workdir."""
        return self.processes is not None and self.tracking_uri == f"sqlite:///{Path(self.processes).parent / STORE}"

    def write(self, file: Path) -> None:
        """Write the file with mode 0600: the store's address may contain a password."""
        file.parent.mkdir(parents=True, exist_ok=True)
        temporary = file.with_suffix(".tmp")
        temporary.unlink(missing_ok=True)
        temporary.touch(mode=0o600)
        temporary.write_text(json.dumps(asdict(self), indent=2))
        temporary.replace(file)

    @classmethod
    def read(cls, file: Path) -> RunContext:
        return cls(**json.loads(file.read_text()))


def be_impatient() -> None:
    """Make calls to a server that does not answer fail soon, unless the environment says otherwise."""
    for variable, value in IMPATIENCE.items():
        os.environ.setdefault(variable, value)


def sqlite_file(tracking_uri: str) -> Path | None:
    """The file of a sqlite store; None for another kind of store."""
    scheme, separator, file = tracking_uri.partition(":///")
    return Path(file.partition("?")[0]) if separator and scheme == "sqlite" else None


def check_sqlite(tracking_uri: str) -> None:
    """Fail at once if the sqlite file cannot be opened or is not a database; MLflow would retry for 100 seconds."""
    file = sqlite_file(tracking_uri)
    if file is None:
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(file)
    try:
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    finally:
        connection.close()


def open_experiment(tracking_uri: str, name: str, artifact_root: str) -> tuple[MlflowClient, str]:
    """A client of the store, and the id of the experiment; both are made where they are missing.

    One process at a time does it to a sqlite file: MLflow guards neither tables nor experiments, and of two processes
    that come first to a new store one would fail. After a minute, or where no file can be locked, it is done anyway.
    """
    from filelock import FileLock
    from mlflow import MlflowClient

    lock = None
    if file := sqlite_file(tracking_uri):
        lock = FileLock(file.with_name(f"{file.name}.lock"), timeout=_OTHERS_MAKE_THE_STORE_S)
        with suppress(OSError, NotImplementedError):
            lock.acquire()
    try:
        client = MlflowClient(tracking_uri=tracking_uri)
        experiment_id = experiment_for(client, name) or client.create_experiment(
            name, artifact_location=artifact_root, tags=EXPERIMENT_TAGS
        )
    finally:
        if lock is not None:
            lock.release()
    return client, experiment_id


def end_killed_runs(context: RunContext) -> None:
    """End the runs of killed processes as KILLED. Asks the store only where there are some; a failure is logged."""
    folder = Path(context.processes) if context.processes else None
    if folder is None or next(killed.processes_gone(folder, context.has_own_store), None) is None:
        return
    try:
        from mlflow import MlflowClient

        check_sqlite(context.tracking_uri)
        be_impatient()
        killed.end_killed_runs(MlflowClient(tracking_uri=context.tracking_uri), folder, context.has_own_store)
    except Exception as error:  # as in TrackedRun: a tracking backend raises errors of many kinds
        _LOG.warning("MLflow: could not end killed runs: %s", (str(error).splitlines() or [repr(error)])[0])


@contextmanager
def open_again(context: RunContext, client: MlflowClient, run_id: str) -> Iterator[None]:
    """For calls of MLflow that set a run that has ended to RUNNING for a while."""
    if not context.processes:
        yield
        return
    open_runs = killed.OpenRuns.of(Path(context.processes))
    client.set_tag(run_id, killed.PROCESS_TAG, open_runs.begin())
    open_runs.opened(run_id)
    yield
    open_runs.closed(run_id)


class TrackedRun:
    """One MLflow run that logs its own failures and never raises. ``run_id`` is None if the store is not reachable."""

    def __init__(self, context: RunContext | None, run_id: str | None = None, parent_id: str | None = None) -> None:
        """Continue the run ``run_id``, or start a new one, nested under the run ``parent_id`` if given."""
        self.run_id = run_id
        self._parent_id = parent_id
        self._client: Any = None
        self._failures = 0
        self._context = context
        self._open_runs: killed.OpenRuns | None = None
        if context is not None:
            self._guard("open the store", self._open)
            if self._client is None:
                self.run_id = None

    def _guard(self, what: str, call: Callable[[], Any]) -> Any:
        try:
            result = call()
        except Exception as error:
            # A tracking backend raises errors of many kinds (database, file system, network, its own).
            _LOG.warning("MLflow: could not %s: %s", what, (str(error).splitlines() or [repr(error)])[0])
            self._failures += 1
            if self._failures == FAILURES_IN_A_ROW:
                _LOG.warning("MLflow: logging to this run is turned off after %d failures in a row", self._failures)
                self._client = None
            return None
        self._failures = 0
        return result

    def _open(self) -> None:
        from mlflow import MlflowClient

        context = self._context
        assert context is not None
        check_sqlite(context.tracking_uri)
        be_impatient()
        if self.run_id is None:
            client, experiment_id = open_experiment(context.tracking_uri, context.experiment, context.artifact_root)
            process = None
            if context.processes:
                folder = Path(context.processes)
                self._guard("end killed runs", lambda: killed.end_killed_runs(client, folder, context.has_own_store))
                self._open_runs = killed.OpenRuns.of(folder)
                process = self._guard("note the process", self._open_runs.begin)
            run = client.create_run(
                experiment_id,
                run_name=context.run_name,
                tags={
                    "mlflow.source.name": "sqidflow",
                    "git_commit": context.git_commit,
                    "data_hash": context.data_hash,
                    "feature_service": context.feature_service,
                    **({"mlflow.parentRunId": self._parent_id} if self._parent_id else {}),
                    **({killed.PROCESS_TAG: process} if process else {}),
                },
            )
            self.run_id = run.info.run_id
            if self._open_runs is not None:
                self._open_runs.opened(run.info.run_id)
        else:
            client = MlflowClient(tracking_uri=context.tracking_uri)
            client.get_run(self.run_id)
        self._client = client

    def _call(self, what: str, call: Callable[[Any, str], Any]) -> Any:
        client, run_id = self._client, self.run_id
        if client is None or run_id is None:
            return None
        return self._guard(what, lambda: call(client, run_id))

    def params(self, values: Mapping[str, Any]) -> None:
        def log(client: Any, run_id: str) -> None:
            import mlflow

            client.log_batch(run_id, params=[mlflow.entities.Param(k, str(v)) for k, v in values.items()])

        self._call("log parameters", log)

    def tags(self, values: Mapping[str, str]) -> None:
        def log(client: Any, run_id: str) -> None:
            import mlflow

            client.log_batch(run_id, tags=[mlflow.entities.RunTag(k, v) for k, v in values.items()])

        self._call("set tags", log)

    def metrics(self, values: Mapping[str, float], step: int = 0) -> None:
        """Log the finite numbers only: MLflow's sqlite store would turn NaN into 0."""
        self.curve([values], step)

    def curve(self, rows: Sequence[Mapping[str, float]], first_step: int = 1) -> None:
        """Log the metrics of many steps, one row a step, in few calls; finite numbers only."""

        def log(client: Any, run_id: str) -> None:
            import time

            import mlflow
            import numpy as np

            now = int(time.time() * 1000)
            metrics = [
                mlflow.entities.Metric(key, float(value), now, step)
                for step, values in enumerate(rows, first_step)
                for key, value in values.items()
                if np.isfinite(value)
            ]
            for start in range(0, max(len(metrics), 1), _METRICS_A_CALL):
                client.log_batch(run_id, metrics=metrics[start : start + _METRICS_A_CALL])

        self._call("log metrics", log)

    def artifact(self, file: Path, folder: str | None = None) -> None:
        self._call(f"log {file.name}", lambda client, run_id: client.log_artifact(run_id, str(file), folder))

    def figure(self, figure: Any, name: str) -> None:
        """Log a matplotlib figure as a PNG."""
        self._call(f"log {name}", lambda client, run_id: client.log_figure(run_id, figure, name))

    def model(self, keras_model: Any, example: Mapping[str, Any], prediction: Any) -> None:
        """Log the network with its signature and ``example`` (feature name -> float32 [n, ...]) as input example."""

        def log(client: Any, run_id: str) -> None:
            import mlflow
            from mlflow.models import infer_signature

            assert self._context is not None
            before = mlflow.get_tracking_uri()
            mlflow.set_tracking_uri(self._context.tracking_uri)
            try:
                with mlflow.start_run(run_id=run_id):
                    mlflow.tensorflow.log_model(
                        keras_model,
                        name="model",
                        signature=infer_signature(dict(example), prediction),
                        input_example=dict(example),
                        # Given here, because inferring the requirements would load the model a second time.
                        pip_requirements=["tensorflow>=2.21,<2.22", "mlflow==3.17.2"],
                    )
            finally:
                mlflow.set_tracking_uri(before)

        # Tried twice: the model is the most important part of a run, and the store may be busy for a moment.
        before = self._failures
        self._call("log the model", log)
        if self._failures > before:
            self._call("log the model, tried again", log)

    def close(self, status: str = "FINISHED") -> None:
        def end(client: Any, run_id: str) -> None:
            client.set_terminated(run_id, status)
            if self._open_runs is not None:
                self._open_runs.closed(run_id)

        self._call("close the run", end)


def status_of(error: BaseException) -> str:
    """How a run ends that ``error`` has stopped: KILLED by a signal or Ctrl-C, else FAILED."""
    return "FAILED" if isinstance(error, Exception) else "KILLED"


STORE = "mlflow.db"
PROCESSES = "processes"
"""Folder beside the store, see ``tracking.killed``."""


def default_tracking_uri(workdir: Workdir) -> str:
    """MLflow's sqlite store of a workdir; creates its folder."""
    workdir.mlflow.mkdir(parents=True, exist_ok=True)
    return f"sqlite:///{workdir.mlflow / STORE}"
