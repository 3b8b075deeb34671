"""No drift, no alarm; each kind of shift is found, by the check that is for it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from sqidflow.core.settings import MonitoringSettings
from sqidflow.monitoring.drift import HINTS, TITLES, Sample, alarms_of, measure_drift
from sqidflow.monitoring.window import Served

SETTINGS = MonitoringSettings(resamples=1000)
BRANDS = ("Acme", "Borealis", "Casa", "Delta", None)


def population(size: int, seed: int, **shift: object) -> Sample:
    """Queries of an invented shop with all that is measured of them; ``shift`` replaces one way of drawing."""
    rng = np.random.default_rng(seed)

    def share(name: str, usual: list[float]) -> list[float]:
        return shift.get(name, usual)  # type: ignore[return-value]

    fits = rng.choice(["answered", "nothing_fits"], size, p=share("nothing_fits", [0.95, 0.05]))
    score = np.clip(rng.beta(4, 2, size) + float(shift.get("score", 0.0)), 0, 1)  # type: ignore[arg-type]
    label = rng.choice(["E", "S", "C", "I"], size, p=share("class", [0.7, 0.2, 0.05, 0.05]))
    brand = rng.choice(len(BRANDS), size, p=share("brand", [0.3, 0.25, 0.2, 0.15, 0.1]))
    served = [
        Served(told, None, None, None)
        if told == "nothing_fits"
        else Served(told, float(value), str(name), f"p{number}")
        for number, (told, value, name) in enumerate(zip(fits, score, label))
    ]
    vectors = rng.normal(size=(size, 24))
    vectors[:, 0] += float(shift.get("vectors", 0.0))  # type: ignore[arg-type]
    return Sample(
        [f"query {number}" for number in range(size)],
        rng.poisson(float(shift.get("query_length", 3.0)), size) + 1.0,  # type: ignore[arg-type]
        list(rng.choice(["none", "some", "all"], size, p=share("unknown_words", [0.85, 0.1, 0.05]))),
        list(rng.choice(["latin, untold", "english", "spanish"], size, p=share("language", [0.6, 0.38, 0.02]))),
        served,
        [BRANDS[each] if one.top_product else None for each, one in zip(brand, served)],
        vectors.astype(np.float32),
    )


def part_of(sample: Sample, rows: np.ndarray) -> Sample:
    return Sample(
        [sample.queries[row] for row in rows],
        sample.words[rows],
        [sample.unknown[row] for row in rows],
        [sample.languages[row] for row in rows],
        [sample.served[row] for row in rows],
        [sample.brands[row] for row in rows],
        sample.vectors[rows],
    )


@pytest.mark.parametrize("origin", ["the training data", "their population"])
def test_no_drift_no_alarm(origin: str) -> None:
    """Over the whole report, in 200 of them: any alarm counts."""
    training = population(400, 1)
    draw = np.random.default_rng(2)
    alarmed = 0
    for number in range(200):
        if origin == "the training data":
            log = part_of(training, draw.integers(0, 400, 150))
        else:
            training, log = population(400, 1000 + number), population(150, 5000 + number)
        checks = measure_drift(training, log, replace_resamples(400), seed=number)
        assert all(check.value is not None for check in checks)
        alarmed += bool(alarms_of(checks))
    # Of fresh samples exactly 5 % would alarm in the long run; 18 of 200 is what that rate exceeds once in a hundred.
    assert alarmed <= (10 if origin == "the training data" else 18)


def replace_resamples(count: int) -> MonitoringSettings:
    return SETTINGS.model_copy(update={"resamples": count})


@pytest.mark.parametrize(
    ("name", "shift"),
    [
        ("query_length", 6.0),
        ("unknown_words", [0.6, 0.25, 0.15]),
        ("language", [0.4, 0.3, 0.3]),
        ("nothing_fits", [0.75, 0.25]),
        ("score", -0.15),
        ("class", [0.45, 0.3, 0.15, 0.1]),
        ("brand", [0.1, 0.1, 0.3, 0.4, 0.1]),
        ("vectors", 0.8),
    ],
)
def test_a_shift_is_found_by_its_own_check_and_by_no_other(name: str, shift: object) -> None:
    checks = measure_drift(population(600, 1), population(400, 3, **{name: shift}), SETTINGS)
    (alarm,) = alarms_of(checks)
    assert alarm.name == name and alarm.value > alarm.threshold > 0
    assert alarm.text.startswith(TITLES[name]) and alarm.hint == HINTS[name]


def test_a_new_brand_and_a_new_language_count_as_shifts() -> None:
    log = population(400, 2)
    log = replace(log, languages=["japanese"] * 100 + list(log.languages[100:]))
    assert [alarm.name for alarm in alarms_of(measure_drift(population(600, 1), log, SETTINGS))] == ["language"]


def test_too_little_is_not_measured_and_says_so() -> None:
    checks = measure_drift(population(600, 1), population(30, 2, score=-0.5), SETTINGS)
    assert {check.value for check in checks} == {None} and not alarms_of(checks)
    assert checks[0].note == "not measured: 600 training and 30 logged queries, 50 of each are needed"
    nothing = replace(population(400, 2), served=[], brands=[])
    measured = {check.name for check in measure_drift(population(600, 1), nothing, SETTINGS) if check.value is not None}
    assert measured == {"query_length", "unknown_words", "language", "vectors"}


def test_the_same_log_has_the_same_report() -> None:
    training, log = population(300, 1), population(200, 2)
    assert measure_drift(training, log, SETTINGS) == measure_drift(training, log, SETTINGS)
