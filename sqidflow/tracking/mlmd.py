"""Queries to ML Metadata: the artifacts that the pipeline's components read and wrote.

No other module reads ML Metadata, and no module guesses the numbered folders of TFX.
"""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from sqidflow.core.errors import DataError, MissingInputError
from sqidflow.core.files import require
from sqidflow.core.model_files import MODEL_CARD

CACHED = 5  # ml_metadata.proto.Execution
_FINISHED = (3, CACHED)  # COMPLETE, CACHED
_INPUT, _OUTPUT = 3, 4  # ml_metadata.proto.Event
_MODEL_CARD_PLACE = f"Format-Serving/{MODEL_CARD}"


def metadata_store(metadata_path: Path) -> Any:
    """Open ML Metadata's store in a sqlite file."""
    from ml_metadata.metadata_store import MetadataStore
    from ml_metadata.proto import metadata_store_pb2

    messages: Any = metadata_store_pb2  # protobuf makes the module's classes when it is imported
    connection = messages.ConnectionConfig()
    connection.sqlite.filename_uri = str(metadata_path)
    return MetadataStore(connection)


def check_metadata(metadata_path: Path) -> None:
    """Raises DataError where the sqlite file is damaged; a query would end in ML Metadata's own error, or be wrong."""
    if not metadata_path.is_file():
        return
    try:
        with closing(sqlite3.connect(metadata_path)) as connection:
            state = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    except sqlite3.DatabaseError as error:
        state = str(error)
    if state != "ok":
        raise DataError(
            f"ML Metadata's records are damaged ({' '.join(state.split())[:120]})",
            file=metadata_path,
            hint=f"delete the folder {metadata_path.parent}: the next run trains anew; pushed models and indexes stay",
        )


def _linked(store: Any, execution: Any, event_type: int, type_name: str, key: str | None = None) -> list[Any]:
    """The artifacts of a type that an execution read or wrote, in the order of their ids."""
    events = store.get_events_by_execution_ids([execution.id])
    ids = {
        event.artifact_id
        for event in events
        if event.type == event_type and (key is None or key in [step.key for step in event.path.steps])
    }
    return [item for item in store.get_artifacts_by_id(sorted(ids)) if item.type == type_name]


def latest_execution(metadata_path: Path, pipeline_name: str, node: str) -> Any:
    """The newest ML Metadata execution of a node of one pipeline, finished or not; None if there is none."""
    store = metadata_store(metadata_path)
    context = store.get_context_by_type_and_name("node", f"{pipeline_name}.{node}")
    executions = store.get_executions_by_context(context.id) if context else []
    return max(executions, key=lambda execution: execution.id, default=None)


def latest_output(metadata_path: Path, pipeline_name: str, node: str, type_name: str) -> Any:
    """The artifact of a type that a node's newest execution wrote or took from the cache, or None."""
    execution = latest_execution(metadata_path, pipeline_name, node)
    if execution is None:
        return None
    return next(iter(_linked(metadata_store(metadata_path), execution, _OUTPUT, type_name)), None)


def newest_pipeline_run(metadata_path: Path, pipeline_name: str) -> str | None:
    """The id of the run of a pipeline that began last, finished or not; None if there is none.

    In the order in which ML Metadata recorded them, not by time, by which TFX would choose: a clock may be set back.
    """
    if not metadata_path.is_file():
        return None
    store = metadata_store(metadata_path)
    pipeline = store.get_context_by_type_and_name("pipeline", pipeline_name)
    if pipeline is None:
        return None
    runs = [item for item in store.get_children_contexts_by_context(pipeline.id) if item.type == "pipeline_run"]
    return max(runs, key=lambda item: item.id).name if runs else None


def artifacts_of(metadata_path: Path, pipeline_name: str | None, type_name: str) -> list[Any]:
    """All artifacts of a type that runs of one pipeline published; of all pipelines if the name is None."""
    if not metadata_path.is_file():
        return []
    store = metadata_store(metadata_path)
    if pipeline_name is None:
        return list(store.get_artifacts_by_type(type_name))
    context = store.get_context_by_type_and_name("pipeline", pipeline_name)
    artifacts = store.get_artifacts_by_context(context.id) if context else []
    return [artifact for artifact in artifacts if artifact.type == type_name]


class TfxArtifacts:
    """Outputs of the newest finished executions recorded in ``metadata_path`` (sqlite), of any pipeline."""

    def __init__(self, metadata_path: Path) -> None:
        self.metadata_path = require(metadata_path)
        self._store = metadata_store(metadata_path)

    def _executions(self, node: str) -> list[Any]:
        # A node's context is named pipeline.node, and each feature contract has its own pipeline name.
        contexts = [item for item in self._store.get_contexts_by_type("node") if item.name.endswith(f".{node}")]
        executions = [run for item in contexts for run in self._store.get_executions_by_context(item.id)]
        finished = [run for run in executions if run.last_known_state in _FINISHED]
        return sorted(finished, key=lambda run: run.id, reverse=True)

    def _artifacts(self, execution: Any, event_type: int, type_name: str, key: str | None = None) -> list[Path]:
        return [Path(item.uri) for item in _linked(self._store, execution, event_type, type_name, key)]

    def latest(self, node: str, type_name: str) -> Path:
        """The folder of the newest artifact of a type that a node wrote or took from the cache.

        Raises:
            MissingInputError: the node never finished, or its output folder was deleted.
        """
        for execution in self._executions(node):
            for folder in self._artifacts(execution, _OUTPUT, type_name):
                return require(folder, "sqidflow run --no-cache")
        raise MissingInputError(f"no run has finished {node}", file=self.metadata_path, hint="run `make run` first")

    def evaluation_of(self, mlflow_run_id: str) -> Path:
        """The folder of TFMA's evaluation of the model that one MLflow run trained.

        Raises:
            MissingInputError: no finished Evaluator read that model, or its output folder was deleted.
        """
        for execution in self._executions("Evaluator"):
            # Select by key: the baseline is an input of the same type.
            for model in self._artifacts(execution, _INPUT, "Model", key="model"):
                card = model / _MODEL_CARD_PLACE
                if card.is_file() and json.loads(card.read_text())["mlflow_run_id"] == mlflow_run_id:
                    for folder in self._artifacts(execution, _OUTPUT, "ModelEvaluation"):
                        return require(folder, "sqidflow run --no-cache")
        raise MissingInputError(
            f"no evaluation of MLflow run {mlflow_run_id}", file=self.metadata_path, hint="run `make run` first"
        )
