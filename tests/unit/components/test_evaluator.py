"""What the Evaluator keeps of an example after it is scored."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_model_analysis as tfma
import tfx.components  # noqa: F401  (TFMA's EvalConfig exists only after it)

from components.evaluator import extractors
from modules.tfma_metrics import evaluation_config
from sqidflow.core.model_files import EXAMPLES_INPUT
from sqidflow.ranking import features


def test_slices_label_and_ids_are_read_and_no_vector() -> None:
    names = extractors.features_read(evaluation_config(0.0, 0.0, ("pictures", "query_length")))
    assert names == (features.QUERY_ID, features.PRODUCT_ID, features.RATING, "pictures", "query_length")


def batch(query: list[int], products: list[bytes], score: list[float]) -> dict[str, Any]:
    count = len(query)
    return {
        tfma.INPUT_KEY: np.array([b"record"] * count),
        tfma.ARROW_RECORD_BATCH_KEY: object(),
        tfma.FEATURES_KEY: {
            features.QUERY_ID: np.array(query)[:, None],
            features.PRODUCT_ID: np.array(products, object)[:, None],
            features.RATING: np.arange(count)[:, None] % 4,
            "pictures": tfma.types.VarLenTensorValue(
                np.array([f"slice {q}".encode() for q in query], object),
                np.stack([np.arange(count), np.zeros(count, int)], axis=1),
                np.array([count, 1]),
            ),
            features.TEXT_VEC: np.zeros((count, 768)),
        },
        tfma.PREDICTIONS_KEY: {
            name: {"score": np.array(score), "cosines": np.zeros((count, 4))} for name in ("candidate", "baseline")
        },
        tfma.LABELS_KEY: np.arange(count) % 4,
    }


WANTED = (features.QUERY_ID, features.PRODUCT_ID, features.RATING, "pictures")


def test_lists_cut_by_batches_are_whole_again_without_their_vectors() -> None:
    parts: dict[int, list[Any]] = {}
    for given in (batch([7, 9, 7], [b"a", b"b", b"c"], [0.1, 0.2, 0.3]), batch([7], [b"d"], [0.4])):
        for query, part in extractors.cut_by_query(given, WANTED):
            parts.setdefault(query, []).append(part)
    whole = {query: extractors.joined((query, found)) for query, found in parts.items()}
    assert set(whole) == {7, 9}
    assert set(whole[7]) == {tfma.FEATURES_KEY, tfma.PREDICTIONS_KEY}
    given = whole[7][tfma.FEATURES_KEY]
    assert set(given) == set(WANTED)
    assert given[features.QUERY_ID].tolist() == [7, 7, 7]
    assert given[features.PRODUCT_ID].tolist() == [b"a", b"c", b"d"]
    assert given[features.RATING].tolist() == [0, 2, 0]
    assert given["pictures"].tolist() == [b"slice 7"], "sliced by alone: each value once"
    for scores in whole[7][tfma.PREDICTIONS_KEY].values():
        assert {name: values.tolist() for name, values in scores.items()} == {"score": [0.1, 0.3, 0.4]}


def test_a_pair_without_a_value_that_is_read_stops_the_evaluation() -> None:
    given = batch([7, 9], [b"a", b"b"], [0.1, 0.2])
    given[tfma.FEATURES_KEY][features.RATING] = np.array([[1]])
    with pytest.raises(ValueError, match=f"1 values of {features.RATING} for 2 pairs"):
        list(extractors.cut_by_query(given, WANTED))


def test_a_missing_value_is_not_made_up_for_by_a_second_one_elsewhere() -> None:
    given = batch([7, 9], [b"a", b"b"], [0.1, 0.2])
    given[tfma.FEATURES_KEY]["pictures"].indices[:] = [[1, 0], [1, 1]]
    with pytest.raises(ValueError, match="no value of pictures, or several"):
        list(extractors.cut_by_query(given, WANTED))


def test_the_model_gets_its_records_by_the_name_of_its_input() -> None:
    # TFMA looks for a feature of the input's name; where there is none, each batch is printed into a lost error.
    from tensorflow_model_analysis.utils import model_util

    given = batch([7, 9], [b"a", b"b"], [0.1, 0.2])
    narrow = extractors.narrowed(given, WANTED)
    assert set(narrow[tfma.FEATURES_KEY]) == {*WANTED, EXAMPLES_INPUT}
    assert features.TEXT_VEC in given[tfma.FEATURES_KEY], "Beam forbids to change what was given"
    inputs = model_util.get_inputs(narrow[tfma.FEATURES_KEY], {EXAMPLES_INPUT: tf.TensorSpec([None], tf.string)})
    assert inputs[EXAMPLES_INPUT].numpy().tolist() == [b"record", b"record"]


def test_the_steps_stand_before_scoring_and_where_tfma_unbatches(monkeypatch: pytest.MonkeyPatch) -> None:
    def stages(names: list[str]) -> list[tfma.extractors.Extractor]:
        return [tfma.extractors.Extractor(name, None) for name in names]

    config, steps = evaluation_config(0.0, 0.0, ()), ["Features", "ExtractPredictions", "ExtractUnbatchedInputs"]
    monkeypatch.setattr(tfma, "default_extractors", lambda **_: stages([*steps, "Slice"]))
    found = [item.stage_name for item in extractors.custom_extractors(None, config, None)]
    assert found == ["Features", extractors.NARROW_STAGE, "ExtractPredictions", extractors.GATHER_STAGE, "Slice"]
    for gone in steps[1:]:
        monkeypatch.setattr(tfma, "default_extractors", lambda gone=gone, **_: stages([s for s in steps if s != gone]))
        with pytest.raises(ValueError, match=f"no extractor {gone}"):
            extractors.custom_extractors(None, config, None)
