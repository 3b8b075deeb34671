"""Calibration of the four classes: is a probability of 70 % right seven times in ten?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sqidflow.ranking import features

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BINS = 10


@dataclass(frozen=True)
class Calibration:
    """One class in bins of equal width.

    ``predicted`` is the mean probability of a bin, ``observed`` the share of its pairs that are of the class, both
    float64 [b] and NaN where ``count`` is 0.
    """

    predicted: np.ndarray
    observed: np.ndarray
    count: np.ndarray

    @property
    def ece(self) -> float:
        """Expected calibration error in 0..1: the gap of each bin, weighted by its pairs (Naeini et al. 2015)."""
        gaps = np.abs(self.predicted - self.observed)
        return float(np.nansum(gaps * self.count) / max(self.count.sum(), 1))


def calibration(probabilities: np.ndarray, outcomes: np.ndarray, bins: int = BINS) -> Calibration:
    """Bin n probabilities of one class (float [n] in 0..1) against the outcomes: the pair is of the class (bool [n]).

    Raises:
        ValueError: lengths differ, or a probability is not in 0..1.
    """
    probabilities, outcomes = np.asarray(probabilities, np.float64), np.asarray(outcomes, np.float64)
    if probabilities.shape != outcomes.shape:
        raise ValueError(f"probabilities {probabilities.shape} and outcomes {outcomes.shape} differ in length")
    if not ((probabilities >= 0) & (probabilities <= 1)).all():
        raise ValueError("probabilities must be in 0..1")
    place = np.minimum((probabilities * bins).astype(int), bins - 1)
    count = np.bincount(place, minlength=bins)
    with np.errstate(invalid="ignore"):
        predicted = np.bincount(place, probabilities, minlength=bins) / count
        observed = np.bincount(place, outcomes, minlength=bins) / count
    return Calibration(predicted, observed, count)


def class_calibrations(probabilities: np.ndarray, ratings: np.ndarray) -> dict[str, Calibration]:
    """The calibration of each class, Exact first, from probabilities [n, 4] and class ids [n]."""
    clipped = np.clip(probabilities, 0.0, 1.0)  # a float32 softmax may reach a hair above 1
    return {
        label: calibration(clipped[:, class_id], ratings == class_id)
        for label, class_id in sorted(features.CLASS_IDS.items(), key=lambda item: -item[1])
    }


def calibration_figure(calibrations: dict[str, Calibration], model: str) -> Figure:
    """Reliability diagrams: points on the diagonal are calibrated. Below them, the number of pairs of each bin."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3.1 * len(calibrations), 4.4), layout="constrained")
    upper, lower = figure.subplots(2, len(calibrations), height_ratios=(3, 1), sharex=True, squeeze=False)
    for top, bottom, (label, own) in zip(upper, lower, calibrations.items()):
        some = own.count > 0
        top.plot([0, 1], [0, 1], color="0.7", ls="--", lw=1)
        # Sampling error of a bin of this size.
        spread = 1.96 * np.sqrt(own.predicted[some] * (1 - own.predicted[some]) / own.count[some])
        top.errorbar(own.predicted[some], own.observed[some], yerr=spread, fmt="o-", ms=4, lw=1.2, capsize=2)
        top.set(xlim=(0, 1), ylim=(0, 1), title=f"{label}: ECE {own.ece:.3f}")
        bottom.bar((np.arange(len(own.count)) + 0.5) / len(own.count), own.count, 0.9 / len(own.count), color="0.6")
        bottom.set_xlabel("predicted probability")
    upper[0].set_ylabel("observed share")
    lower[0].set_ylabel("pairs")
    figure.suptitle(f"Calibration of {model} on the held-out pairs (error bars: 95 % sampling error)")
    return figure
