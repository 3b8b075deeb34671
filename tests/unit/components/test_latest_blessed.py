"""Which model a candidate is compared with."""

from __future__ import annotations

import pytest

pytest.importorskip("tfx")

from tfx.types.standard_artifacts import Model, ModelBlessing

from components.latest_blessed import LatestOtherBlessedModel
from components.latest_blessed.strategy import BLESSING, CANDIDATE, MODEL


def model(number: int) -> Model:
    made = Model()
    made.id = number
    return made


def blessing(number: int, of: int, blessed: bool = True) -> ModelBlessing:
    made = ModelBlessing()
    made.id = number
    made.set_int_custom_property("current_model_id", of)
    made.set_int_custom_property("blessed", int(blessed))
    return made


def resolve(models: list[Model], blessings: list[ModelBlessing], candidate: int) -> tuple[list[int], list[int]]:
    asked = {MODEL: models, BLESSING: blessings, CANDIDATE: [model(candidate)]}
    found = LatestOtherBlessedModel().resolve_artifacts(None, asked)
    assert [artifact.id for artifact in found[CANDIDATE]] == [candidate]
    return [artifact.id for artifact in found[MODEL]], [artifact.id for artifact in found[BLESSING]]


def test_a_first_model_has_no_baseline():
    assert resolve([model(3)], [], candidate=3) == ([], [])


def test_the_latest_blessed_one():
    models = [model(1), model(5), model(3), model(9)]
    blessings = [blessing(2, of=1), blessing(4, of=3), blessing(6, of=5, blessed=False)]
    assert resolve(models, blessings, candidate=9) == ([3], [4])


def test_a_blessed_candidate_is_not_its_own_baseline():
    models, blessings = [model(1), model(5)], [blessing(2, of=1), blessing(6, of=5)]
    assert resolve(models, blessings, candidate=5) == ([1], [2])
    assert resolve([model(5)], [blessing(6, of=5)], candidate=5) == ([], [])


def test_an_older_candidate_is_compared_with_a_newer_blessed_one():
    models, blessings = [model(1), model(5)], [blessing(2, of=1), blessing(6, of=5)]
    assert resolve(models, blessings, candidate=1) == ([5], [6])


def test_nothing_that_was_never_blessed():
    assert resolve([model(1), model(2)], [blessing(3, of=1, blessed=False)], candidate=2) == ([], [])


def test_what_it_is_given_stays_as_it_is():
    models, blessings = [model(1), model(5)], [blessing(2, of=1)]
    resolve(models, blessings, candidate=5)
    assert [artifact.id for artifact in models] == [1, 5]
