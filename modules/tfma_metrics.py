"""The Evaluator's metrics: the project's own NDCG inside TFMA, and its lift over the zero-shot cosine.

TFMA's own NDCG breaks ties by input order and cannot compare two outputs of one model. With a threshold on the lift the
Evaluator blesses only a model that beats the cosine on the same pairs. The evaluation config names this module by
dotted path; TFMA's workers load it, too.

Each metric gets one query's whole judged list at a time (see ``components.evaluator.extractors``) and adds up three
numbers, so memory does not grow with the number of pairs.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import apache_beam as beam
import numpy as np
import tensorflow_model_analysis as tfma
from tensorflow_model_analysis.metrics import metric_types
from tensorflow_model_analysis.proto import config_pb2
from tensorflow_model_analysis.utils import util

from sqidflow.ranking import features, metrics

SCORE_OUTPUT = "score"
COSINE_OUTPUT = "cosine"
CLASS_OUTPUT = "probs"
MEASURED_OUTPUTS = (SCORE_OUTPUT, COSINE_OUTPUT, CLASS_OUTPUT)
NDCG = "ndcg"
NDCG_COSINE = "ndcg_cosine"
NDCG_LIFT = "ndcg_lift"
LEFT_OUT = "queries_without_relevant"
ACCURACY = "sparse_categorical_accuracy"
PAIRS = "example_count"
"""ACCURACY and PAIRS have the names of TFMA's own metrics with the same meaning."""


class _Sums(NamedTuple):
    """Sums over lists: the measured value, the number of queries or pairs to divide it by, and the number of queries
    without a relevant product."""

    value: float = 0.0
    divisor: int = 0
    left_out: int = 0


class _MeasureList(metric_types.Preprocessor):
    """Maps a query's extract to its ``_Sums``, once, before TFMA passes it to every slice."""

    def __init__(self, of: str, model_name: str) -> None:
        super().__init__(name=f"{of}/{model_name}")
        self._of, self._model_name = of, model_name

    def process(self, extracts: tfma.Extracts) -> Iterator[_Sums]:
        given = extracts[tfma.FEATURES_KEY]
        rating = np.asarray(given[features.RATING]).reshape(-1).astype(np.int64)
        if self._of == PAIRS:
            yield _Sums(len(rating), 1)
        elif self._of == ACCURACY:
            predicted = self._output(extracts, CLASS_OUTPUT).reshape(len(rating), -1).argmax(axis=1)
            yield _Sums(int((predicted == rating).sum()), len(rating))
        else:
            yield self._ndcg(extracts, given, rating)

    def _output(self, extracts: tfma.Extracts, name: str) -> np.ndarray:
        at = [tfma.PREDICTIONS_KEY, *([self._model_name] if self._model_name else []), name]
        return np.asarray(util.get_by_keys(extracts, at))

    def _ndcg(self, extracts: tfma.Extracts, given: Any, rating: np.ndarray) -> _Sums:
        query, product = (np.asarray(given[name]).reshape(-1) for name in (features.QUERY_ID, features.PRODUCT_ID))
        lists = metrics.RankedLists.of(query.astype(np.int64), np.char.decode(product.astype(bytes), "utf-8"))
        if len(lists.query_ids) != 1:
            raise ValueError(f"expected one query at a time, got {lists.query_ids}")
        gains = features.CLASS_GAINS[rating]

        def ndcg(output: str) -> float:
            scores = self._output(extracts, output).astype(np.float64).reshape(-1)
            return float(metrics.ndcg_per_query(lists, gains, scores)[0])

        if self._of == NDCG_LIFT:
            value = ndcg(SCORE_OUTPUT) - ndcg(COSINE_OUTPUT)
        else:
            value = ndcg(COSINE_OUTPUT if self._of == NDCG_COSINE else SCORE_OUTPUT)
        return _Sums(left_out=1) if np.isnan(value) else _Sums(value, 1)


class _AddUp(beam.CombineFn):
    """Adds up the sums of all lists of a slice and computes the metric's value."""

    def __init__(self, key: metric_types.MetricKey, of: str) -> None:
        self._key, self._of = key, of

    def create_accumulator(self) -> _Sums:
        return _Sums()

    def add_input(self, sums: _Sums, element: _Sums) -> _Sums:
        return _Sums(sums.value + element.value, sums.divisor + element.divisor, sums.left_out + element.left_out)

    def merge_accumulators(self, accumulators: Iterable[_Sums]) -> _Sums:
        return functools.reduce(self.add_input, accumulators, _Sums())

    def extract_output(self, sums: _Sums) -> dict[metric_types.MetricKey, float]:
        if self._of == LEFT_OUT:
            return {self._key: float(sums.left_out)}
        if self._of == PAIRS:
            return {self._key: float(sums.value)}
        return {self._key: sums.value / sums.divisor if sums.divisor else float("nan")}


def _computations(
    of: str, name: str, model_names: list[str] | None = None, query_key: str = "", **_: Any
) -> metric_types.MetricComputations:
    if query_key:
        raise ValueError(f"{name} reads lists that are already grouped: the metrics spec must not set query_key")
    keys = [metric_types.MetricKey(name=name, model_name=model_name) for model_name in model_names or [""]]
    return [
        metric_types.MetricComputation(
            keys=[key], preprocessors=[_MeasureList(of, key.model_name)], combiner=_AddUp(key, of)
        )
        for key in keys
    ]


class QueryNdcg(metric_types.Metric):
    """Mean NDCG of the model's expected gain. ``code`` has no effect but to change the config when the code changes."""

    def __init__(self, name: str = NDCG, code: str = "") -> None:
        super().__init__(functools.partial(_computations, NDCG), name=name)


class CosineNdcg(metric_types.Metric):
    """Mean NDCG of the zero-shot cosine on the same pairs."""

    def __init__(self, name: str = NDCG_COSINE) -> None:
        super().__init__(functools.partial(_computations, NDCG_COSINE), name=name)


class NdcgLift(metric_types.Metric):
    """Mean over queries of the model's NDCG minus the cosine's."""

    def __init__(self, name: str = NDCG_LIFT) -> None:
        super().__init__(functools.partial(_computations, NDCG_LIFT), name=name)


class QueriesWithoutRelevant(metric_types.Metric):
    """Number of queries left out because all their products are irrelevant."""

    def __init__(self, name: str = LEFT_OUT) -> None:
        super().__init__(functools.partial(_computations, LEFT_OUT), name=name)


class ClassAccuracy(metric_types.Metric):
    """Share of pairs whose most probable class is the judged one."""

    def __init__(self, name: str = ACCURACY) -> None:
        super().__init__(functools.partial(_computations, ACCURACY), name=name)


class PairCount(metric_types.Metric):
    """Number of pairs."""

    def __init__(self, name: str = PAIRS) -> None:
        super().__init__(functools.partial(_computations, PAIRS), name=name)


def evaluation_config(min_lift: float, max_loss: float, slices: Iterable[str], code: str = "") -> tfma.EvalConfig:
    """The metrics of the Evaluator and the thresholds of the blessing.

    Args:
        min_lift: the model's mean NDCG must exceed the zero-shot cosine's by more than this.
        max_loss: NDCG that the model may lose against the last blessed one; 0 means "not worse".
        slices: features by whose values the metrics are also reported, without thresholds. A query is in the slice of
            each of its products, with all of its products.
        code: digest of the code that computes the metrics. The Evaluator's cache key contains only this config, so
            without the digest it would return results of older code.
    """
    overall = tfma.SlicingSpec()
    measured = tfma.MetricsSpec(
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
                            # TFMA accepts the bound itself, so use the next larger number.
                            value_threshold=tfma.GenericValueThreshold(
                                lower_bound={"value": float(np.nextafter(min_lift, np.inf))}
                            )
                        ),
                    )
                ],
            ),
            *(
                tfma.MetricConfig(class_name=name, module=__name__)
                for name in ("QueriesWithoutRelevant", "ClassAccuracy", "PairCount")
            ),
        ],
    )
    return tfma.EvalConfig(
        model_specs=[tfma.ModelSpec(signature_name="serving_default", label_key=features.RATING)],
        slicing_specs=[overall, *(tfma.SlicingSpec(feature_keys=[name]) for name in slices)],
        metrics_specs=[measured],
    )
