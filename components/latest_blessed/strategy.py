"""Selects the baseline that the Evaluator compares a candidate with."""

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
    """The latest model that was blessed and pushed, excluding the candidate itself.

    With the stock strategy, a blessed model becomes its own baseline on the next run, so the Evaluator's inputs change
    and the cache is missed although nothing changed. A model that was blessed but not pushed (by a comparison, or by a
    run that stopped before the Pusher) was never served and is not the champion.
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
        latest = super().resolve_artifacts(store, others) or {MODEL: [], BLESSING: []}
        return {**latest, CANDIDATE: input_dict[CANDIDATE]}
