"""What the Evaluator keeps of an example after it is scored."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow_model_analysis as tfma
import tfx.components  # noqa: F401  (TFMA's EvalConfig exists only after it)

from components.evaluator import extractors
from modules import features
from modules.tfma_metrics import evaluation_config


def test_slices_label_and_ids_are_read_and_no_vector() -> None:
    names = extractors.features_read(evaluation_config(0.0, 0.0, ("pictures", "query_length")))
    assert names == {features.QUERY_ID, features.PRODUCT_ID, features.RATING, "pictures", "query_length"}


def test_a_scored_batch_loses_its_vectors_and_nothing_that_is_measured() -> None:
    extracts = {
        tfma.INPUT_KEY: np.array([b"record"]),
        tfma.ARROW_RECORD_BATCH_KEY: object(),
        tfma.FEATURES_KEY: {features.QUERY_ID: np.array([[7]]), features.TEXT_VEC: np.zeros((1, 768))},
        tfma.PREDICTIONS_KEY: {"score": np.array([0.5])},
        tfma.LABELS_KEY: np.array([3]),
    }
    kept = extractors.slim(extracts, frozenset({features.QUERY_ID}))
    assert set(kept) == {tfma.FEATURES_KEY, tfma.PREDICTIONS_KEY, tfma.LABELS_KEY}
    assert kept[tfma.FEATURES_KEY] == {features.QUERY_ID: np.array([[7]])}
    assert tfma.INPUT_KEY in extracts, "Beam forbids to change what was given"


def test_the_step_stands_between_scoring_and_unbatching(monkeypatch: pytest.MonkeyPatch) -> None:
    def stages(names: list[str]) -> list[tfma.extractors.Extractor]:
        return [tfma.extractors.Extractor(name, None) for name in names]

    config = evaluation_config(0.0, 0.0, ())
    monkeypatch.setattr(tfma, "default_extractors", lambda **_: stages(["Predict", "ExtractUnbatchedInputs", "Slice"]))
    found = [item.stage_name for item in extractors.custom_extractors(None, config, None)]
    assert found == ["Predict", extractors.STAGE, "ExtractUnbatchedInputs", "Slice"]
    monkeypatch.setattr(tfma, "default_extractors", lambda **_: stages(["Predict"]))
    with pytest.raises(ValueError, match="no ExtractUnbatchedInputs"):
        extractors.custom_extractors(None, config, None)
