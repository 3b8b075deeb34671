"""The Evaluator's metrics: the project's own NDCG inside TFMA, and its lift over the zero-shot cosine.

TFMA's own NDCG breaks ties by input order and cannot compare two outputs of one model; a threshold on the lift is
what lets the Evaluator bless only a model that beats the cosine of the very same pairs. Loaded by dotted path from
the evaluation config, by TFMA's workers too.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable
from typing import Any

import apache_beam as beam
import numpy as np
import tensorflow_model_analysis as tfma
from tensorflow_model_analysis.metrics import metric_types, metric_util
from tensorflow_model_analysis.proto import config_pb2
from tensorflow_model_analysis.utils import util

from modules import features, metrics

SCORE_OUTPUT = "score"
COSINE_OUTPUT = "cosine"
NDCG = "ndcg"
NDCG_COSINE = "ndcg_cosine"
NDCG_LIFT = "ndcg_lift"
LEFT_OUT = "queries_without_relevant"

_Sums = tuple[float, int, int]  # sum over queries, queries counted, queries left out


class _QueryMean(beam.CombineFn):
    """Means a number over queries; each element is one whole query."""

    def __init__(self, key: metric_types.MetricKey, of: str, model_name: str, eval_config: Any) -> None:
        self._key, self._of, self._model_name, self._eval_config = key, of, model_name, eval_config

    def _scores(self, element: metric_types.StandardMetricInputs, output: str) -> np.ndarray:
        _, predictions, _ = next(
            metric_util.to_label_prediction_example_weight(
                element,
                eval_config=self._eval_config,
                model_name=self._model_name,
                output_name=output,
                flatten=False,
                allow_none=True,
            )
        )
        return np.asarray(predictions, np.float64).reshape(-1)

    def _value(self, element: metric_types.StandardMetricInputs) -> float:
        rating, product, query = (
            np.asarray(util.get_by_keys(element.combined_features, [name])).reshape(-1)
            for name in (features.RATING, features.PRODUCT_ID, features.QUERY_ID)
        )
        lists = metrics.RankedLists.of(query.astype(np.int64), np.char.decode(product.astype(bytes), "utf-8"))
        if len(lists.query_ids) != 1:
            raise ValueError(f"one query at a time is expected, got {lists.query_ids}")
        gains = features.CLASS_GAINS[rating.astype(np.int64)]

        def ndcg(output: str) -> float:
            return float(metrics.ndcg_per_query(lists, gains, self._scores(element, output))[0])

        if self._of == NDCG_LIFT:
            return ndcg(SCORE_OUTPUT) - ndcg(COSINE_OUTPUT)
        return ndcg(COSINE_OUTPUT if self._of == NDCG_COSINE else SCORE_OUTPUT)

    def create_accumulator(self) -> _Sums:
        return 0.0, 0, 0

    def add_input(self, sums: _Sums, element: metric_types.StandardMetricInputs) -> _Sums:
        value = self._value(element)
        return (sums[0], sums[1], sums[2] + 1) if np.isnan(value) else (sums[0] + value, sums[1] + 1, sums[2])

    def merge_accumulators(self, accumulators: Iterable[_Sums]) -> _Sums:
        return tuple(map(sum, zip((0.0, 0, 0), *accumulators)))  # type: ignore[return-value]

    def extract_output(self, sums: _Sums) -> dict[metric_types.MetricKey, float]:
        if self._of == LEFT_OUT:
            return {self._key: float(sums[2])}
        return {self._key: sums[0] / sums[1] if sums[1] else float("nan")}


def _computations(
    of: str,
    name: str,
    eval_config: Any = None,
    model_names: list[str] | None = None,
    query_key: str = "",
    **_: Any,
) -> metric_types.MetricComputations:
    if not query_key:
        raise ValueError(f"{name} is a mean over queries: the metrics spec must set query_key")
    computations = []
    for model_name in model_names or [""]:
        key = metric_types.MetricKey(name=name, model_name=model_name)
        computations.append(
            metric_types.MetricComputation(
                keys=[key],
                preprocessors=[
                    metric_types.CombinedFeaturePreprocessor(
                        feature_keys=[features.QUERY_ID, features.PRODUCT_ID, features.RATING]
                    )
                ],
                combiner=_QueryMean(key, of, model_name, eval_config),
            )
        )
    return computations


class QueryNdcg(metric_types.Metric):
    """Mean NDCG of the model's expected gain. ``code`` only makes another config of another version of this code."""

    def __init__(self, name: str = NDCG, code: str = "") -> None:
        super().__init__(functools.partial(_computations, NDCG), name=name)


class CosineNdcg(metric_types.Metric):
    """Mean NDCG of the zero-shot cosine on the same pairs."""

    def __init__(self, name: str = NDCG_COSINE) -> None:
        super().__init__(functools.partial(_computations, NDCG_COSINE), name=name)


class NdcgLift(metric_types.Metric):
    """Mean over queries of the model's NDCG less the cosine's."""

    def __init__(self, name: str = NDCG_LIFT) -> None:
        super().__init__(functools.partial(_computations, NDCG_LIFT), name=name)


class QueriesWithoutRelevant(metric_types.Metric):
    """How many queries were left out because all their products are irrelevant."""

    def __init__(self, name: str = LEFT_OUT) -> None:
        super().__init__(functools.partial(_computations, LEFT_OUT), name=name)


def evaluation_config(min_lift: float, max_loss: float, slices: Iterable[str], code: str = "") -> tfma.EvalConfig:
    """What the Evaluator computes and when it blesses.

    Args:
        min_lift: the least mean NDCG above the zero-shot cosine (strictly more than that is asked).
        max_loss: how much NDCG the model may lose against the last blessed one; 0 for "not worse".
        slices: features by whose values the numbers are reported too; no threshold holds there. A query is in the
            slice of each of its products, with all of them.
        code: digest of what computes the metrics. The Evaluator's cache goes by this config alone, and would take
            numbers of an older version of the code for today's.
    """
    overall = tfma.SlicingSpec()
    ranking = tfma.MetricsSpec(
        query_key=features.QUERY_ID,
        metrics=[
            tfma.MetricConfig(
                class_name="QueryNdcg",
                module=__name__,
                config=json.dumps({"code": code}),
                per_slice_thresholds=[
                    config_pb2.PerSliceMetricThreshold(
                        slicing_specs=[overall],
                        threshold=tfma.MetricThreshold(
                            change_threshold=tfma.GenericChangeThreshold(
                                direction=tfma.MetricDirection.HIGHER_IS_BETTER, absolute={"value": -max_loss}
                            )
                        ),
                    )
                ],
            ),
            tfma.MetricConfig(class_name="CosineNdcg", module=__name__),
            tfma.MetricConfig(
                class_name="NdcgLift",
                module=__name__,
                per_slice_thresholds=[
                    config_pb2.PerSliceMetricThreshold(
                        slicing_specs=[overall],
                        threshold=tfma.MetricThreshold(
                            # TFMA lets the bound itself pass.
                            value_threshold=tfma.GenericValueThreshold(
                                lower_bound={"value": float(np.nextafter(min_lift, np.inf))}
                            )
                        ),
                    )
                ],
            ),
            tfma.MetricConfig(class_name="QueriesWithoutRelevant", module=__name__),
        ],
    )
    classes = tfma.MetricsSpec(
        output_names=["probs"],
        metrics=[
            tfma.MetricConfig(class_name="SparseCategoricalAccuracy"),
            tfma.MetricConfig(class_name="ExampleCount"),
        ],
    )
    return tfma.EvalConfig(
        model_specs=[tfma.ModelSpec(signature_name="serving_default", label_key=features.RATING)],
        slicing_specs=[overall, *(tfma.SlicingSpec(feature_keys=[name]) for name in slices)],
        metrics_specs=[ranking, classes],
    )
