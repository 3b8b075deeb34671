"""What a query's signals are, and that the cut-off follows the validation queries."""

from __future__ import annotations

import numpy as np

from sqidflow.ranking import features
from sqidflow.search import fitness
from sqidflow.search.index import Fit


def test_signals() -> None:
    lexical = np.zeros((3, len(features.LEXICAL_NAMES)), np.float32)
    lexical[1, features.LEXICAL_NAMES.index("fuzzy_overlap")] = 0.75
    found = fitness.signals(np.array([0.2, 0.5, 0.2]), lexical, np.e - 1)
    np.testing.assert_allclose(found, [0.5, 0.2, 0.75, 1.0])


def test_calibration_separates_and_keeps_validation_queries() -> None:
    rng = np.random.default_rng(0)
    good = rng.normal([0.6, 0.3, 0.9, 2.0], 0.08, (400, 4))
    bad = rng.normal([0.2, 0.1, 0.2, 0.5], 0.08, (200, 4))
    fit = fitness.calibrate(good, bad[:100], good[:200])
    assert np.mean([fitness.fitness(fit, row) < fit.cutoff for row in good]) <= 0.03
    assert np.mean([fitness.fitness(fit, row) >= fit.cutoff for row in bad[100:]]) <= 0.01
    assert fit.uncertain_below >= fit.cutoff


def test_nothing_is_refused_without_calibration() -> None:
    assert fitness.fitness(Fit(), np.zeros(4)) == np.inf


def test_generated_queries_are_the_same_each_time_and_differ_by_seed() -> None:
    assert fitness.gibberish(50, 1) == fitness.gibberish(50, 1) != fitness.gibberish(50, 2)
    assert fitness.disguised(["leather shoes"], 1) == fitness.disguised(["leather shoes"], 1)
    assert all(text.strip() for text in fitness.gibberish(300, 3))


def test_the_halves_of_off_catalogue_queries_share_nothing() -> None:
    first, second = (set(fitness.off_catalogue(half, ())) for half in (0, 1))
    assert first and second and not first & second
    everything = {word for query in first | second for word in features.words(query)}
    assert fitness.off_catalogue(0, everything) == []
