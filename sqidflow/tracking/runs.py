"""MLflow around a training, such that it cannot fail it.

A tracking store that is gone, full or of another version costs its numbers, never a trained model, and no long
waits either: every call is guarded, each failure is logged as a warning, and after a few in a row no more is tried.
"""

from __future__ import annotations

import json
import logging
import os
import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sqidflow.core.workdir import Workdir

_LOG = logging.getLogger(__name__)

FAILURES_IN_A_ROW = 3
"""After so many the store is taken for lost: a training of 40 epochs must not wait for it 40 times."""
IMPATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2", "MLFLOW_HTTP_REQUEST_TIMEOUT": "20"}
"""MLflow's own defaults try a server that does not answer for four minutes a call."""


EXPERIMENT_TAGS = {"mlflow.experimentKind": "custom_model_development"}
"""Without it MLflow's page opens on the traces of language models, of which there are none."""


@dataclass(frozen=True)
class RunContext:
    """What a run is traced to. Written by the runner before the pipeline starts, read by the Trainer.

    It goes by a file and not by the Trainer's parameters: a new commit alone must not spoil the cache.
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
    """Who made the vectors, where their file says so."""

    def write(self, file: Path) -> None:
        """Readable by its owner alone: the store's address may hold a password."""
        file.parent.mkdir(parents=True, exist_ok=True)
        beside = file.with_suffix(".tmp")
        beside.unlink(missing_ok=True)
        beside.touch(mode=0o600)
        beside.write_text(json.dumps(asdict(self), indent=2))
        beside.replace(file)

    @classmethod
    def read(cls, file: Path) -> RunContext:
        return cls(**json.loads(file.read_text()))


def _check_sqlite(tracking_uri: str) -> None:
    """Fail at once where MLflow would try for 100 seconds: at a sqlite file that cannot be opened or is none."""
    scheme, separator, file = tracking_uri.partition(":///")
    if scheme != "sqlite" or not separator:
        return
    place = Path(file.partition("?")[0])
    place.parent.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(place)
    try:
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    finally:
        connection.close()


class TrackedRun:
    """One MLflow run that swallows its own failures. ``run_id`` is None where the store could not be reached."""

    def __init__(self, context: RunContext | None, run_id: str | None = None, parent_id: str | None = None) -> None:
        """Go on with run ``run_id``, or begin one, below the run ``parent_id`` where that is given."""
        self.run_id = run_id
        self._parent_id = parent_id
        self._client: Any = None
        self._failures = 0
        self._context = context
        if context is not None:
            self._guard("open the store", self._open)
            if self._client is None:
                self.run_id = None

    def _guard(self, what: str, call: Callable[[], Any]) -> Any:
        try:
            result = call()
        except Exception as error:
            # Whatever a tracking backend raises (database, file system, network, its own) must stay a warning.
            _LOG.warning("MLflow: could not %s: %s", what, (str(error).splitlines() or [repr(error)])[0])
            self._failures += 1
            if self._failures == FAILURES_IN_A_ROW:
                _LOG.warning("MLflow: nothing more is logged to this run")
                self._client = None
            return None
        self._failures = 0
        return result

    def _open(self) -> None:
        import mlflow

        context = self._context
        assert context is not None
        _check_sqlite(context.tracking_uri)
        for variable, value in IMPATIENCE.items():
            os.environ.setdefault(variable, value)
        client = mlflow.MlflowClient(tracking_uri=context.tracking_uri)
        if self.run_id is None:
            found = client.get_experiment_by_name(context.experiment)
            experiment_id = (
                found.experiment_id
                if found
                else client.create_experiment(
                    context.experiment, artifact_location=context.artifact_root, tags=EXPERIMENT_TAGS
                )
            )
            run = client.create_run(
                experiment_id,
                run_name=context.run_name,
                tags={
                    "mlflow.source.name": "sqidflow",
                    "git_commit": context.git_commit,
                    "data_hash": context.data_hash,
                    "feature_service": context.feature_service,
                    **({"mlflow.parentRunId": self._parent_id} if self._parent_id else {}),
                },
            )
            self.run_id = run.info.run_id
        else:
            client.get_run(self.run_id)
        self._client = client

    def _call(self, what: str, call: Callable[[Any, str], Any]) -> Any:
        if self._client is None or self.run_id is None:
            return None
        return self._guard(what, lambda: call(self._client, self.run_id))

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
        """Log finite numbers; the rest is left out, as MLflow's sqlite store would turn NaN into 0."""

        def log(client: Any, run_id: str) -> None:
            import time

            import mlflow
            import numpy as np

            now = int(time.time() * 1000)
            finite = {key: float(value) for key, value in values.items() if np.isfinite(value)}
            client.log_batch(run_id, metrics=[mlflow.entities.Metric(k, v, now, step) for k, v in finite.items()])

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
                        # The environment is this project's lock; inferring it again would load the model anew.
                        pip_requirements=["tensorflow>=2.21,<2.22", "mlflow==3.17.2"],
                    )
            finally:
                mlflow.set_tracking_uri(before)

        # Twice: the model is what a run is for, and one busy moment of the store should not cost it.
        before = self._failures
        self._call("log the model", log)
        if self._failures > before:
            self._call("log the model, tried again", log)

    def close(self, status: str = "FINISHED") -> None:
        self._call("close the run", lambda client, run_id: client.set_terminated(run_id, status))


def default_tracking_uri(workdir: Workdir) -> str:
    """MLflow's sqlite store of a workdir; makes its folder."""
    workdir.mlflow.mkdir(parents=True, exist_ok=True)
    return f"sqlite:///{workdir.mlflow / 'mlflow.db'}"
