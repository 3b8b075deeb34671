"""What the Evaluator keeps of an example once it is scored: the ids, the label, the slices; not the vectors.

TFMA groups whole queries before it measures them. With the vectors and the serialized example still attached, the
groups of all held-out queries were the largest thing that a run ever held.
"""

from __future__ import annotations

from typing import Any

import apache_beam as beam
import tensorflow_model_analysis as tfma

from modules import features

STAGE = "KeepWhatMetricsRead"
_UNBATCH = "ExtractUnbatchedInputs"
_ALWAYS = (features.QUERY_ID, features.PRODUCT_ID, features.RATING)


def features_read(eval_config: tfma.EvalConfig) -> frozenset[str]:
    """Names of the features that metrics and slices of a config read."""
    sliced = (key for spec in eval_config.slicing_specs for key in spec.feature_keys)
    labels = (spec.label_key for spec in eval_config.model_specs)
    queries = (spec.query_key for spec in eval_config.metrics_specs)
    return frozenset(name for name in (*_ALWAYS, *sliced, *labels, *queries) if name)


def slim(extracts: dict[str, Any], wanted: frozenset[str]) -> dict[str, Any]:
    """A batch of scored extracts without the serialized examples and without the features that nobody reads."""
    dropped = (tfma.INPUT_KEY, tfma.ARROW_RECORD_BATCH_KEY, tfma.FEATURES_KEY)
    kept = {key: value for key, value in extracts.items() if key not in dropped}
    kept[tfma.FEATURES_KEY] = {name: value for name, value in extracts[tfma.FEATURES_KEY].items() if name in wanted}
    return kept


def custom_extractors(eval_shared_model: Any, eval_config: tfma.EvalConfig, tensor_adapter_config: Any) -> list[Any]:
    """TFMA's own extractors with ``slim`` between scoring and unbatching; the Evaluator finds it by this name.

    Raises:
        ValueError: TFMA has no unbatching step any more, so that nobody can say where scoring ends.
    """
    extractors = tfma.default_extractors(
        eval_shared_model=eval_shared_model,
        eval_config=eval_config,
        tensor_adapter_config=tensor_adapter_config,
    )
    names = [extractor.stage_name for extractor in extractors]
    if _UNBATCH not in names:
        raise ValueError(f"TFMA's extractors are {names}: no {_UNBATCH}")
    at = names.index(_UNBATCH)
    keep = tfma.extractors.Extractor(STAGE, beam.Map(slim, wanted=features_read(eval_config)))
    return [*extractors[:at], keep, *extractors[at:]]
