"""The ladder of rankers: what is fitted, what it is drawn to, and which rung is taken."""

from __future__ import annotations

import numpy as np
import pytest

from modules import ladder
from modules.ladder import F0, FUSION, SUBSTANTIAL, UNJUDGED, Lists, Rung
from modules.model import RUNGS, SHALLOW_NAMES


def lists(queries: int = 40, size: int = 12, seed: int = 0, told: str = "first_match") -> Lists:
    """Invented lists of one Exact product each, which f0 tells a little and the column ``told`` well."""
    rng = np.random.default_rng(seed)
    count = queries * size
    read = rng.normal(size=(count, len(SHALLOW_NAMES))).astype(np.float32)
    rating = np.where(np.arange(count) % size == 0, 3, np.where(np.arange(count) % size < 4, 0, UNJUDGED))
    exact = rating == 3
    read[:, SHALLOW_NAMES.index(F0)] += exact
    read[:, SHALLOW_NAMES.index(told)] += 3 * exact
    query = np.repeat(np.arange(queries), size)
    weight = ladder.fitting_weights(rating, query, rating == UNJUDGED)
    return Lists(SHALLOW_NAMES, read, rating, query, np.tile(np.arange(size), queries), np.ones(count, bool), weight)


def everyone(of: Lists) -> np.ndarray:
    return np.ones(of.queries, bool)


@pytest.mark.parametrize("loss", [ladder.ordinal_loss, ladder.exact_loss])
def test_gradients_are_those_of_finite_differences(loss) -> None:
    rng = np.random.default_rng(1)
    x, rating, weight = rng.normal(size=(50, 3)), rng.integers(0, 4, 50), rng.uniform(0.1, 1, 50)
    objective = loss(x, rating, weight)
    at = rng.normal(size=3 + (3 if loss is ladder.ordinal_loss else 1)) * 0.5
    _, gradient = objective(at)
    for place in range(len(at)):
        step = np.zeros(len(at))
        step[place] = 1e-6
        numeric = (objective(at + step)[0] - objective(at - step)[0]) / 2e-6
        assert gradient[place] == pytest.approx(numeric, rel=1e-4, abs=1e-5)


def test_without_judgements_and_under_a_heavy_penalty_it_is_the_fusion() -> None:
    of = lists()
    nobody = np.zeros(len(of), bool)
    assert ladder.fit_linear(of, nobody, SUBSTANTIAL, 30.0, "ordinal") is FUSION
    heavy = ladder.fit_linear(of, np.ones(len(of), bool), SUBSTANTIAL, 1e9, "ordinal")
    np.testing.assert_allclose(heavy.score(of), 1.5 * of.f0, atol=1e-3)


def test_a_linear_score_is_its_kernel_over_all_columns() -> None:
    of = lists()
    fitted = ladder.fit_linear(of, np.ones(len(of), bool), SUBSTANTIAL, 3.0, "exact")
    kernel, bias = fitted.kernel(of.names)
    np.testing.assert_allclose(of.read @ kernel + bias, fitted.score(of), atol=1e-4)
    assert of.mrr(fitted.score(of)) > of.mrr(of.f0) + 0.1


def test_reciprocal_ranks_count_what_search_finds_and_break_ties_by_row() -> None:
    names = (F0,)
    rating = np.array([UNJUDGED, 3, 3, 0, 3])
    of = Lists(
        names, np.zeros((5, 1), np.float32), rating, np.array([0, 0, 1, 1, 1]), np.array([4, 2, 9, 1, 0]),
        np.array([True, True, True, True, False]), np.ones(5),
    )  # fmt: skip
    # Query 0: equal scores, row 2 before row 4. Query 1: row 0 is not found, row 1 stands before row 9.
    assert of.reciprocal_ranks(np.zeros(5)).tolist() == [1.0, 0.5]
    assert of.reciprocal_ranks(np.array([1.0, 0, 5, 1, 9])).tolist() == [0.5, 1.0]


def test_a_query_weighs_at_most_five_by_one_factor() -> None:
    rating = np.array([3] * 20 + [UNJUDGED] * 10 + [3, UNJUDGED])
    query = np.array([0] * 30 + [1, 1])
    weight = ladder.fitting_weights(rating, query, np.array([True] * 31 + [False]))
    assert weight[:30].sum() == pytest.approx(5)
    assert weight[20] / weight[0] == pytest.approx(0.3)
    assert weight[30:].tolist() == [1.0, 0.0]


def ranks(*means: float, count: int = 100) -> list[np.ndarray]:
    """Reciprocal ranks with these means and differences of some spread."""
    noise = np.random.default_rng(0).normal(0, 0.1, count)
    noise -= noise.mean()
    return [mean + noise * number for number, mean in enumerate(means)]


def test_the_rule_of_the_incumbent() -> None:
    # The linear model of twelve columns stands where nothing is better by more than a standard error (about 0.01).
    assert ladder.chosen_rung(ranks(0.5, 0.5, 0.505)) == 1
    # The fusion replaces it only on ten queries or more.
    assert ladder.chosen_rung(ranks(0.6, 0.5)) == 0
    assert ladder.chosen_rung(ranks(0.6, 0.5, count=9)) == 1
    # A later rung is compared with what stands, not with the first.
    assert ladder.chosen_rung(ranks(0.5, 0.6, 0.7, 0.705)) == 2
    assert ladder.chosen_rung(ranks(0.5, 0.6, 0.55, 0.7)) == 3
    assert ladder.chosen_rung(ranks(0.6)) == 0
    assert ladder.chosen_rung([np.zeros(0), np.zeros(0)]) == 1


def test_capacity_follows_the_number_of_queries() -> None:
    few, many = ladder.choose(lists(12), RUNGS, 17), ladder.choose(lists(120), RUNGS, 17)
    assert list(few.mrr) == [rung.name for rung in RUNGS[:2]] and few.queries == 12
    assert list(many.mrr) == [rung.name for rung in RUNGS[:4]] and many.queries == 120
    assert many.mrr["linear, 12 columns"] > many.mrr["fusion"]


def test_what_twelve_columns_do_not_tell_a_later_rung_is_taken_for() -> None:
    told = lists(120, told="phrase_in_title")
    assert "phrase_in_title" not in SUBSTANTIAL
    choice = ladder.choose(told, RUNGS, 17)
    assert choice.rung.name.startswith("linear, words")
    assert choice.mrr["linear, words"] > choice.mrr["linear, 12 columns"] + 0.1


@pytest.mark.parametrize("seed", range(5))
def test_twenty_judgements_that_say_nothing_leave_the_order_of_the_fusion(seed: int) -> None:
    """Labels at random: what is fitted to them must not be served worse than the fusion on other queries."""
    own = lists(20, seed=seed)
    rng = np.random.default_rng(seed)
    read = own.read.copy()
    told = SHALLOW_NAMES.index("first_match")
    read[:, told] = rng.normal(size=len(own))
    noise = Lists(own.names, read, own.rating, own.query, own.row, own.retrieved, own.weight)
    choice = ladder.choose(noise, RUNGS, 17)
    fitted = ladder.fit_rung(choice.rung, noise, everyone(noise), 17)
    others = lists(300, seed=100 + seed)
    served = others.read.copy()
    served[:, told] = rng.normal(size=len(others))
    others = Lists(others.names, served, others.rating, others.query, others.row, others.retrieved, others.weight)
    differences = others.reciprocal_ranks(fitted.score(others)) - others.reciprocal_ranks(others.f0)
    assert differences.mean() > -0.03


def test_trees_start_from_the_linear_score_and_read_the_columns_of_their_rung() -> None:
    of = lists(150)
    rung = Rung("trees", SUBSTANTIAL, 5, 7)
    fitted = ladder.fit_rung(rung, of, everyone(of), 17)
    assert fitted.trees is not None
    used = {SHALLOW_NAMES[place] for place in np.unique(fitted.trees["feature"][fitted.trees["left"] > 0])}
    assert used and used <= set(SUBSTANTIAL)
    assert np.abs(fitted.score(of) - fitted.linear.score(of)).max() > 0.01
    again = ladder.fit_rung(rung, of, everyone(of), 17)
    assert fitted.score(of).tolist() == again.score(of).tolist()


def test_lists_of_some_queries_are_numbered_anew() -> None:
    of = lists(6)
    some = np.array([False, True, False, True, False, False])
    part = of.take(some)
    assert part.queries == 2 and len(part) == 24
    np.testing.assert_array_equal(part.read, of.read[of.of(some)])
    np.testing.assert_array_equal(part.reciprocal_ranks(part.f0), of.reciprocal_ranks(of.f0)[some])


def test_networks_need_a_standard_error_against_a_simpler_rung_alone() -> None:
    simple, last = ladder.Rung("simple", ()), ladder.Rung("last", (), 100)
    other = np.array([0.5, 1.0, 0.25, 0.5, 1.0, 0.2])
    hardly = other + np.array([0.5, -0.5, 0.25, 0.5, -0.5, -0.1])
    assert ladder.networks_are_better(hardly, other, standing=last, last=last)
    assert not ladder.networks_are_better(hardly, other, standing=simple, last=last)
    assert not ladder.networks_are_better(other, hardly, standing=last, last=last)
    assert ladder.networks_are_better(other + 0.1, other, standing=simple, last=last)
    assert not ladder.networks_are_better(other[:0], other[:0], standing=last, last=last)
