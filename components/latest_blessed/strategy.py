"""Which model the Evaluator compares a candidate with."""

from __future__ import annotations

from typing import Any

from ml_metadata.proto import metadata_store_pb2
from tfx import types
from tfx.dsl.input_resolution.strategies.latest_blessed_model_strategy import LatestBlessedModelStrategy
from tfx.types.standard_artifacts import PushedModel

MODEL = "model"
BLESSING = "model_blessing"
CANDIDATE = "candidate"


def pushed_models(store: Any) -> set[int]:
    """Ids of the Model artifacts that a Pusher has pushed, from ML Metadata."""
    pushed = [
        artifact.id
        for artifact in store.get_artifacts_by_type(PushedModel.TYPE_NAME)
        if artifact.custom_properties["pushed"].int_value
    ]
    events = store.get_events_by_artifact_ids(pushed) if pushed else []
    executions = {event.execution_id for event in events if event.type == metadata_store_pb2.Event.OUTPUT}
    inputs = store.get_events_by_execution_ids(sorted(executions)) if executions else []
    return {event.artifact_id for event in inputs if event.type == metadata_store_pb2.Event.INPUT}


class LatestOtherBlessedModel(LatestBlessedModelStrategy):
    """The latest model that was blessed and pushed and is not the candidate itself.

    With the stock strategy a blessed model becomes its own baseline on the next run: the Evaluator's inputs change
    although nothing did, and the cache is missed. What was blessed and not pushed (a comparison, a run that stopped
    before the Pusher) never served anyone and is no champion to be measured against.
    """

    def resolve_artifacts(
        self, store: Any, input_dict: dict[str, list[types.Artifact]]
    ) -> dict[str, list[types.Artifact]] | None:
        candidates = {artifact.id for artifact in input_dict[CANDIDATE]}
        champions = pushed_models(store) - candidates
        others = {
            MODEL: [artifact for artifact in input_dict[MODEL] if artifact.id in champions],
            BLESSING: list(input_dict[BLESSING]),
        }
        found = super().resolve_artifacts(store, others) or {MODEL: [], BLESSING: []}
        return {**found, CANDIDATE: input_dict[CANDIDATE]}
