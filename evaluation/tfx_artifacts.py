"""Finds what the pipeline's components wrote last, by ML Metadata and not by guessing at folder numbers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from evaluation.notebook import MissingInputError, require
from modules.served import MODEL_CARD

_FINISHED = (3, 5)  # ml_metadata.proto.Execution: COMPLETE, CACHED
_INPUT, _OUTPUT = 3, 4  # ml_metadata.proto.Event
_MODEL_CARD_PLACE = f"Format-Serving/{MODEL_CARD}"


class TfxArtifacts:
    """The outputs of the newest finished executions that ``metadata_path`` (sqlite) records."""

    def __init__(self, metadata_path: Path) -> None:
        from ml_metadata.metadata_store import MetadataStore
        from ml_metadata.proto import metadata_store_pb2

        self.metadata_path = require(metadata_path)
        connection = metadata_store_pb2.ConnectionConfig()
        connection.sqlite.filename_uri = str(metadata_path)
        self._store = MetadataStore(connection)

    def _executions(self, node: str) -> list[Any]:
        # A node's context is named pipeline.node; another feature contract makes another pipeline.
        contexts = [item for item in self._store.get_contexts_by_type("node") if item.name.endswith(f".{node}")]
        found = [run for item in contexts for run in self._store.get_executions_by_context(item.id)]
        finished = [run for run in found if run.last_known_state in _FINISHED]
        return sorted(finished, key=lambda run: run.id, reverse=True)

    def _artifacts(self, execution: Any, event_type: int, type_name: str, key: str | None = None) -> list[Path]:
        events = self._store.get_events_by_execution_ids([execution.id])
        ids = {
            event.artifact_id
            for event in events
            if event.type == event_type and (key is None or key in [step.key for step in event.path.steps])
        }
        return [Path(item.uri) for item in self._store.get_artifacts_by_id(sorted(ids)) if item.type == type_name]

    def latest(self, node: str, type_name: str) -> Path:
        """The folder of the newest artifact of a type that a node wrote or took from the cache.

        Raises:
            MissingInputError: the node never finished, or its folder is gone.
        """
        for execution in self._executions(node):
            for folder in self._artifacts(execution, _OUTPUT, type_name):
                return require(folder, "sqidflow run --no-cache")
        raise MissingInputError(f"no run has finished {node}", file=self.metadata_path, mend="run `make run` first")

    def evaluation_of(self, mlflow_run_id: str) -> Path:
        """The folder of TFMA's evaluation of the model that one MLflow run trained.

        Raises:
            MissingInputError: no finished Evaluator read that model, or its folder is gone.
        """
        for execution in self._executions("Evaluator"):
            # By its key: the baseline is an input of the same type.
            for model in self._artifacts(execution, _INPUT, "Model", key="model"):
                card = model / _MODEL_CARD_PLACE
                if card.is_file() and json.loads(card.read_text())["mlflow_run_id"] == mlflow_run_id:
                    for folder in self._artifacts(execution, _OUTPUT, "ModelEvaluation"):
                        return require(folder, "sqidflow run --no-cache")
        raise MissingInputError(
            f"no evaluation of MLflow run {mlflow_run_id}", file=self.metadata_path, mend="run `make run` first"
        )
