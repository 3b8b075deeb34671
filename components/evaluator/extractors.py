"""TFMA extractors that produce one extract per query, its judged list, instead of one per pair.

TFMA itself passes every pair on as a dictionary of arrays, groups these by query, and reads each of them once per
metric and slice. Here the scored batches are split by query, the parts of each list are joined, and one extract per
query goes on with only the values that metrics and slices read.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import apache_beam as beam
import numpy as np
import tensorflow_model_analysis as tfma

from modules.tfma_metrics import MEASURED_OUTPUTS
from sqidflow.core.model_files import EXAMPLES_INPUT
from sqidflow.ranking import features

NARROW_STAGE, GATHER_STAGE = "KeepWhatIsMeasured", "GatherJudgedLists"
_PREDICT, _UNBATCH = "ExtractPredictions", "ExtractUnbatchedInputs"
_OF_A_PAIR = (features.QUERY_ID, features.PRODUCT_ID, features.RATING)


def features_read(eval_config: tfma.EvalConfig) -> tuple[str, ...]:
    """Names of the features that the metrics and slices of a config read; those of the slices come last."""
    sliced = (key for spec in eval_config.slicing_specs for key in spec.feature_keys)
    return tuple(dict.fromkeys((*_OF_A_PAIR, *sliced)))


def narrowed(extracts: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """A batch with only the features ``names``, and with its records as a feature named after the model's input.

    Without such a feature, TFMA calls the model without the input's name. TensorFlow then prints every record,
    including vectors, into the text of an error that TFMA catches, which takes half of the evaluation's time.
    """
    given = extracts[tfma.FEATURES_KEY]
    records = np.asarray(extracts[tfma.INPUT_KEY], object).reshape(-1)
    return {**extracts, tfma.FEATURES_KEY: {EXAMPLES_INPUT: records, **{name: given[name] for name in names}}}


def cut_by_query(extracts: Mapping[str, Any], names: Iterable[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Split a scored batch into (query id, its pairs in the batch), with the features ``names`` and measured outputs.

    Raises:
        ValueError: a feature has no value, or several, for some pair.
    """
    given = extracts[tfma.FEATURES_KEY]
    query = _one_a_pair(given, features.QUERY_ID, None).astype(np.int64)
    columns = {name: _one_a_pair(given, name, len(query)) for name in names}
    scored = _measured(extracts[tfma.PREDICTIONS_KEY])
    order = np.argsort(query, kind="stable")
    for rows in np.split(order, np.flatnonzero(np.diff(query[order])) + 1):
        part = {tfma.FEATURES_KEY: columns, tfma.PREDICTIONS_KEY: scored}
        yield int(query[rows[0]]), _mapped(lambda values, rows=rows: values[rows], part)


def joined(keyed: tuple[int, Iterable[dict[str, Any]]]) -> dict[str, Any]:
    """The extract of one query: pair features and outputs [k, ...] of its k products, in one array each.

    A feature that is only used for slicing is reduced to its distinct values, because a query is in the slice of each
    of its products.
    """
    _, parts = keyed
    whole = _mapped(lambda *values: np.concatenate(values), *parts)
    given = whole[tfma.FEATURES_KEY]
    whole[tfma.FEATURES_KEY] = {
        name: values if name in _OF_A_PAIR else np.unique(values) for name, values in given.items()
    }
    return whole


@beam.ptransform_fn
def _GatherJudgedLists(extracts: beam.PCollection, names: tuple[str, ...]) -> beam.PCollection:
    return (
        extracts
        | "CutByQuery" >> beam.FlatMap(cut_by_query, names=names).with_output_types(tuple[int, Any])
        | "Group" >> beam.GroupByKey()
        | "Join" >> beam.Map(joined).with_output_types(tfma.Extracts)
    )


def gather_judged_lists(eval_config: tfma.EvalConfig) -> tfma.extractors.Extractor:
    """The extractor that turns scored batches into one extract per query."""
    return tfma.extractors.Extractor(GATHER_STAGE, _GatherJudgedLists(features_read(eval_config)))


def custom_extractors(eval_shared_model: Any, eval_config: tfma.EvalConfig, tensor_adapter_config: Any) -> list[Any]:
    """TFMA's extractors with narrowed batches before scoring and ``gather_judged_lists`` instead of its unbatching.

    The Evaluator looks this function up by its name.

    Raises:
        ValueError: this version of TFMA has no extractor of the expected name to replace.
    """
    extractors = tfma.default_extractors(
        eval_shared_model=eval_shared_model,
        eval_config=eval_config,
        tensor_adapter_config=tensor_adapter_config,
    )
    names = [extractor.stage_name for extractor in extractors]
    for name in (_PREDICT, _UNBATCH):
        if name not in names:
            raise ValueError(f"TFMA has no extractor {name}, only {', '.join(names)}")
    narrow = tfma.extractors.Extractor(NARROW_STAGE, beam.Map(narrowed, names=features_read(eval_config)))
    extractors[names.index(_UNBATCH)] = gather_judged_lists(eval_config)
    extractors.insert(names.index(_PREDICT), narrow)
    return extractors


def _one_a_pair(given: Mapping[str, Any], name: str, pairs: int | None) -> np.ndarray:
    tensor = given[name]
    sparse = isinstance(tensor, tfma.types.VarLenTensorValue)
    values = np.asarray(tensor.values if sparse else tensor).reshape(-1)
    if sparse and not np.array_equal(tensor.indices[:, 0], np.arange(tensor.dense_shape[0])):
        raise ValueError(f"a pair has no value of {name}, or several")
    if pairs is not None and len(values) != pairs:
        raise ValueError(f"{len(values)} values of {name} for {pairs} pairs")
    return values


def _measured(predictions: Mapping[str, Any]) -> dict[str, Any]:
    """The outputs that metrics read, by name, or by model and name if there are several models."""
    return {
        name: _measured(value) if isinstance(value, Mapping) else np.asarray(value)
        for name, value in predictions.items()
        if isinstance(value, Mapping) or name in MEASURED_OUTPUTS
    }


def _mapped(function: Any, *trees: Any) -> Any:
    """Apply ``function`` to the arrays at the same position of nested dictionaries."""
    if isinstance(trees[0], Mapping):
        return {name: _mapped(function, *(tree[name] for tree in trees)) for name in trees[0]}
    return function(*trees)
