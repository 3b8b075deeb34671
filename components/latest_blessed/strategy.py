"""Which model the Evaluator compares a candidate with."""

from __future__ import annotations

from typing import Any

from tfx import types
from tfx.dsl.input_resolution.strategies.latest_blessed_model_strategy import LatestBlessedModelStrategy

MODEL = "model"
BLESSING = "model_blessing"
CANDIDATE = "candidate"


class LatestOtherBlessedModel(LatestBlessedModelStrategy):
    """The latest blessed model that is not the candidate itself.

    With the stock strategy a blessed model becomes its own baseline on the next run: the Evaluator's inputs change
    although nothing did, and the cache is missed.
    """

    def resolve_artifacts(
        self, store: Any, input_dict: dict[str, list[types.Artifact]]
    ) -> dict[str, list[types.Artifact]] | None:
        candidates = {artifact.id for artifact in input_dict[CANDIDATE]}
        others = {
            MODEL: [artifact for artifact in input_dict[MODEL] if artifact.id not in candidates],
            BLESSING: list(input_dict[BLESSING]),
        }
        found = super().resolve_artifacts(store, others) or {MODEL: [], BLESSING: []}
        return {**found, CANDIDATE: input_dict[CANDIDATE]}
