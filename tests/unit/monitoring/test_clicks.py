"""The click model: position alone is no preference, and a real one is found wherever it stands."""

from __future__ import annotations

import random

import pytest

from sqidflow.core.settings import FeedbackSettings
from sqidflow.monitoring.clicks import Impressions, Propensity, click_rate, counted, label_of, propensities
from sqidflow.monitoring.collect import NO_PROPENSITIES, Catalogue, collected
from sqidflow.monitoring.quarantine import Seen, sift
from tests.unit.monitoring.invented_feedback import NOW, Invented, browse

RULES = FeedbackSettings(group_clients=0)
PRODUCTS = [f"P{number}" for number in range(8)]
QUERIES = [f"query {number}" for number in range(6)]


def examined(rank: int) -> float:
    return 1 / rank**0.7


def lists_of(query: str) -> tuple[list[str], list[str]]:
    """Two rankers that disagree."""
    draw = random.Random(query)
    first, second = PRODUCTS.copy(), PRODUCTS.copy()
    draw.shuffle(first)
    draw.shuffle(second)
    return first, second


def seen_in(invented: Invented) -> list[Seen]:
    return sift(invented.feedback(), RULES, NOW).seen


@pytest.fixture(scope="module")
def all_alike() -> list[Seen]:
    """Every product is as attractive as any other; only the ranks differ."""
    invented = Invented()
    for query in QUERIES:
        browse(invented, query, lists_of(query), lambda product: 0.25, examined, 3000)
    return seen_in(invented)


def test_propensities_are_recovered(all_alike: list[Seen]) -> None:
    known = propensities(all_alike)
    assert set(known) == set(range(1, 9))
    for rank, propensity in known.items():
        assert propensity.mean == pytest.approx(examined(rank), rel=0.2)
    inside = [propensity.low <= examined(rank) <= propensity.high for rank, propensity in known.items()]
    assert sum(inside) >= 7


def test_position_alone_is_no_preference(all_alike: list[Seen]) -> None:
    """By plain click rates the products that stand low would be irrelevant."""
    known, by_pair = propensities(all_alike), counted(all_alike)
    plain = {pair: sum(each.clicked.values()) / sum(each.shown.values()) for pair, each in by_pair.items()}
    assert max(plain.values()) > 2.5 * min(plain.values())
    rates = {pair: click_rate(each, known) for pair, each in by_pair.items()}
    assert {label_of(rate, RULES) for rate in rates.values() if rate} <= {"S", None}
    inside = [rate.low <= 0.25 <= rate.high for rate in rates.values() if rate]
    assert sum(inside) >= 0.93 * len(inside)


def test_a_known_preference_is_recovered_wherever_it_stands() -> None:
    """The best product stands last in most answers, the worst one first."""
    invented = Invented()
    best, worst = PRODUCTS[7], PRODUCTS[0]
    rate_of = {best: 0.75, worst: 0.005}
    for query in QUERIES:
        browse(invented, query, lists_of(query), lambda product: rate_of.get(product, 0.2), examined, 3000)
    browse(
        invented, "one", (PRODUCTS, PRODUCTS), lambda product: rate_of.get(product, 0.2), examined, 1200,
        interleaved=False,
    )  # fmt: skip
    seen = seen_in(invented)
    known = propensities(seen)
    labels = {
        pair: label_of(rate, RULES) if (rate := click_rate(each, known)) else None
        for pair, each in counted(seen).items()
    }
    assert labels["one", best] == "E" and labels["one", worst] == "I"
    assert all(labels[query, best] == "E" and labels[query, worst] == "I" for query in QUERIES)
    assert {label for (_, product), label in labels.items() if product not in rate_of} <= {"S", None}


def test_without_interleaved_answers_clicks_are_not_used_and_it_is_said() -> None:
    invented = Invented()
    browse(invented, "red shoe", (PRODUCTS, PRODUCTS), lambda product: 0.5, examined, 500, interleaved=False)
    found = collected(invented.feedback(), Catalogue(dict.fromkeys(PRODUCTS, "us"), frozenset()), {}, RULES, NOW)
    assert found.rows == [] and found.clicks["used"] is False and found.clicks["why"] == NO_PROPENSITIES
    assert found.clicks["clicks"] > 500


def test_one_client_that_searches_again_and_again_counts_once() -> None:
    invented = Invented()
    for _ in range(50):
        invented.see(invented.answer("red shoe", PRODUCTS), "one-client", ["P3"])
    (impressions,) = [each for pair, each in counted(seen_in(invented)).items() if pair == ("red shoe", "P3")]
    assert impressions.shown == {4: 1} and impressions.clicked == {4: 1} and impressions.clients == 1


@pytest.mark.parametrize(
    ("shown", "clicked", "label"), [(400, 300, "E"), (400, 1, "I"), (400, 80, "S"), (10, 9, None), (40, 16, None)]
)
def test_labels_need_evidence(shown: int, clicked: int, label: str | None) -> None:
    rate = click_rate(Impressions({1: shown}, {1: clicked}, shown, "", ""), {1: Propensity(1, 1, 1)})
    assert rate is not None and label_of(rate, RULES) == label
    assert rate.low < clicked / shown < rate.high
    assert rate.mean == pytest.approx(clicked / shown, abs=0.001)


def test_doubt_about_propensities_widens_the_interval() -> None:
    impressions = Impressions({3: 200}, {3: 60}, 200, "", "")
    sure = click_rate(impressions, {3: Propensity(0.5, 0.5, 0.5)})
    unsure = click_rate(impressions, {3: Propensity(0.5, 0.35, 0.7)})
    assert sure is not None and unsure is not None
    assert unsure.low < sure.low < sure.mean == unsure.mean < sure.high < unsure.high
    assert sure.examined == 100
    assert click_rate(Impressions({9: 5}, {9: 1}, 5, "", ""), {1: Propensity(1, 1, 1)}) is None
