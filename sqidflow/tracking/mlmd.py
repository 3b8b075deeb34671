"""Queries to ML Metadata: the artifacts that the pipeline's components read and wrote.

No other module reads ML Metadata, and no module guesses the numbered folders of TFX.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqidflow.core.errors import DataError, MissingInputError
from sqidflow.core.files import require
from sqidflow.core.model_files import MODEL_CARD

CACHED = 5  # ml_metadata.proto.Execution
_FINISHED = (3, CACHED)  # COMPLETE, CACHED
_STATES = {1: "new", 2: "running", 3: "complete", 4: "failed", 5: "cached", 6: "cancelled"}
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


@dataclass(frozen=True)
class ArtifactRecord:
    """An artifact: ``properties`` with TFX's own and the components' in one."""

    id: int
    type: str
    uri: str
    properties: Mapping[str, Any]


@dataclass(frozen=True)
class ExecutionRecord:
    """An execution of a node; times in milliseconds since 1970. ``inputs`` and ``outputs`` are ids of artifacts."""

    id: int
    node: str
    state: str
    started_ms: int
    ended_ms: int
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


@dataclass(frozen=True)
class Training:
    """The Trainer's execution, those that made what it read, in the order of their ids, and those that judged and
    pushed the model; ``artifacts`` of all of them by id."""

    trainer: ExecutionRecord
    before: tuple[ExecutionRecord, ...]
    after: tuple[ExecutionRecord, ...]
    artifacts: Mapping[int, ArtifactRecord]

    def outputs_of(self, node: str, type_name: str) -> list[ArtifactRecord]:
        """The artifacts of a type that the executions of a node wrote."""
        executions = (each for each in (*self.before, self.trainer, *self.after) if each.node == node)
        found = (self.artifacts[artifact] for each in executions for artifact in each.outputs)
        return [artifact for artifact in found if artifact.type == type_name]


def training_of(metadata_path: Path, tfx_execution: str | None, mlflow_run_id: str | None, version: str) -> Training:
    """What ML Metadata records of the training of a pushed model.

    Args:
        tfx_execution: the Trainer's execution as its MLflow run names it, ``Trainer/<id>``; None looks for the push.

    Raises:
        DataError: no store, a damaged one, or one without this training.
    """
    if not metadata_path.is_file():
        raise DataError(
            "does not exist", file=metadata_path, hint="its records are lost; the next `sqidflow run` begins anew"
        )
    check_metadata(metadata_path)
    store = metadata_store(metadata_path)
    named = int(tfx_execution.rpartition("/")[2]) if tfx_execution and tfx_execution[-1].isdigit() else None
    trainer = named if named is not None else _trainer_of_push(store, version)
    if trainer is None or not store.get_executions_by_id([trainer]):
        raise DataError(
            f"has no record of {tfx_execution or f'the push of {version}'}", file=metadata_path,
            hint="it was deleted since; models and indexes stay",
        )  # fmt: skip
    training = _read_training(store, trainer)
    if not _is_of(training, mlflow_run_id, version):
        raise DataError(
            f"{tfx_execution or f'Trainer/{trainer}'} is another training's", file=metadata_path,
            hint="the records were deleted since, and began anew",
        )  # fmt: skip
    return training


def _trainer_of_push(store: Any, version: str) -> int | None:
    for push in store.get_artifacts_by_type("PushedModel"):
        if push.custom_properties["pushed_version"].string_value != version:
            continue
        pushers = [event.execution_id for event in store.get_events_by_artifact_ids([push.id]) if event.type == _OUTPUT]
        for event in store.get_events_by_execution_ids(pushers[:1]):
            if event.type == _INPUT:
                made_by = _makers(store, event.artifact_id)
                trainers = [each for each in made_by if _node(store, each) == "Trainer"]
                if trainers:
                    return trainers[0]
    return None


def _makers(store: Any, artifact: int) -> list[int]:
    """Executions that wrote an artifact, the one that computed it first: later ones took it from the cache."""
    events = store.get_events_by_artifact_ids([artifact])
    return sorted(event.execution_id for event in events if event.type == _OUTPUT)


def _node(store: Any, execution: int) -> str:
    return str(store.get_executions_by_id([execution])[0].type.rpartition(".")[2])


def _read_training(store: Any, trainer: int) -> Training:
    executions: dict[int, ExecutionRecord] = {}

    def read(number: int) -> ExecutionRecord:
        if number not in executions:
            (found,) = store.get_executions_by_id([number])
            events = store.get_events_by_execution_ids([number])
            inputs, outputs = (
                tuple(sorted({event.artifact_id for event in events if event.type == kind}))
                for kind in (_INPUT, _OUTPUT)
            )
            executions[number] = ExecutionRecord(
                number, found.type.rpartition(".")[2], _STATES.get(found.last_known_state, "unknown"),
                found.create_time_since_epoch, found.last_update_time_since_epoch, inputs, outputs,
            )  # fmt: skip
        return executions[number]

    before: set[int] = set()
    waiting = list(read(trainer).inputs)
    while waiting:
        for maker in _makers(store, waiting.pop())[:1]:
            if maker not in before:
                before.add(maker)
                waiting.extend(read(maker).inputs)
    models = [a.id for a in store.get_artifacts_by_id(list(read(trainer).outputs)) if a.type == "Model"]
    readers = {event.execution_id for event in store.get_events_by_artifact_ids(models) if event.type == _INPUT}
    # The Evaluator reads the champion too, as the baseline of later models: those are no part of this training.
    after = sorted(number for number in readers if _judges(store, number, models))
    for number in after:
        read(number)
    ids = {artifact for each in executions.values() for artifact in (*each.inputs, *each.outputs)}
    artifacts = {artifact.id: _artifact(artifact) for artifact in store.get_artifacts_by_id(sorted(ids))}
    return Training(
        executions[trainer], tuple(executions[each] for each in sorted(before)),
        tuple(executions[each] for each in after), artifacts,
    )  # fmt: skip


def _judges(store: Any, execution: int, models: list[int]) -> bool:
    for event in store.get_events_by_execution_ids([execution]):
        if event.type == _INPUT and event.artifact_id in models:
            return "baseline_model" not in [step.key for step in event.path.steps]
    return False


def _artifact(artifact: Any) -> ArtifactRecord:
    properties = {
        name: getattr(value, value.WhichOneof("value"))
        for values in (artifact.properties, artifact.custom_properties)
        for name, value in values.items()
        if value.WhichOneof("value") in ("int_value", "double_value", "string_value", "bool_value")
    }
    return ArtifactRecord(artifact.id, artifact.type, artifact.uri, properties)


def _is_of(training: Training, mlflow_run_id: str | None, version: str) -> bool:
    """Whether it is the training of this run, or of this push where its folder is gone: a new store counts anew."""
    for model in training.outputs_of("Trainer", "Model"):
        card = Path(model.uri) / _MODEL_CARD_PLACE
        if card.is_file() and mlflow_run_id is not None:
            try:
                return bool(json.loads(card.read_text())["mlflow_run_id"] == mlflow_run_id)
            except (ValueError, KeyError):
                break
    pushes = training.outputs_of("Pusher", "PushedModel")
    return any(push.properties.get("pushed_version") == version for push in pushes)
