"""Calibration in bins, and its error."""

from __future__ import annotations

import numpy as np
import pytest

from sqidflow.evaluation.calibration import calibration, calibration_figure, class_calibrations


def test_error_by_hand() -> None:
    """Two bins: 4 pairs said 0.15 of which 1 happened, 2 said 0.95 of which 1 happened."""
    said = np.array([0.15] * 4 + [0.95] * 2)
    happened = np.array([True, False, False, False, True, False])
    result = calibration(said, happened)
    assert result.count.tolist() == [0, 4, 0, 0, 0, 0, 0, 0, 0, 2]
    assert result.observed[1] == pytest.approx(0.25) and result.predicted[9] == pytest.approx(0.95)
    assert np.isnan(result.predicted[0])
    assert result.ece == pytest.approx((4 * 0.10 + 2 * 0.45) / 6)


def test_what_is_drawn_by_its_own_probability_is_calibrated() -> None:
    random = np.random.default_rng(1)
    said = random.random(200_000)
    assert calibration(said, random.random(200_000) < said).ece < 0.005
    assert calibration(said, random.random(200_000) < said**2).ece == pytest.approx(1 / 6, abs=0.005)


def test_one_falls_into_the_last_bin_and_nothing_is_no_error() -> None:
    assert calibration(np.array([1.0, 0.0]), np.array([True, False])).ece == 0
    assert calibration(np.zeros(0), np.zeros(0, bool)).ece == 0


@pytest.mark.parametrize("wrong", [np.array([1.2]), np.array([-0.1]), np.array([np.nan])])
def test_no_probability_is_refused(wrong: np.ndarray) -> None:
    with pytest.raises(ValueError, match="0..1"):
        calibration(wrong, np.array([True]))
    with pytest.raises(ValueError, match="differ in length"):
        calibration(np.zeros(2), np.array([True]))


def test_classes_go_by_their_ids() -> None:
    probabilities = np.array([[0.0, 0.0, 0.0, 1.0 + 1e-7], [1.0, 0.0, 0.0, 0.0]], np.float32)
    found = class_calibrations(probabilities, np.array([3, 0]))
    assert list(found) == ["E", "S", "C", "I"]
    assert found["E"].ece == found["I"].ece == 0
    assert class_calibrations(probabilities, np.array([0, 3]))["E"].ece == pytest.approx(1)
    titles = [axes.get_title() for axes in calibration_figure(found, "pointwise").axes if axes.get_title()]
    assert titles == ["E: ECE 0.000", "S: ECE 0.000", "C: ECE 0.000", "I: ECE 0.000"]
