"""What feedback is never trained on: each reason on its own, and that honest feedback is not among it."""

from __future__ import annotations

import random
from datetime import timedelta

import pytest

from sqidflow.core.settings import FeedbackSettings
from sqidflow.monitoring import quarantine
from sqidflow.monitoring.collect import Catalogue, Collected, collected, quarantine_csv
from sqidflow.monitoring.feedback import Event, Feedback
from tests.unit.monitoring.invented_feedback import NOW, Invented, moved

PRODUCTS = [f"P{number:03}" for number in range(200)]
RULES = FeedbackSettings()
OF = Catalogue(dict.fromkeys(PRODUCTS, "us"), frozenset({"held out"}))


def collect(invented: Invented | Feedback, rules: FeedbackSettings = RULES) -> Collected:
    feedback = invented.feedback() if isinstance(invented, Invented) else invented
    return collected(feedback, OF, {}, rules, NOW)


def honest(invented: Invented, clients: int = 30, judged: int = 6) -> None:
    """Clients that search for several things and judge some of what they see, alike for the most part."""
    draw = random.Random(5)
    for number in range(clients):
        for _ in range(3):
            at = draw.randrange(12)
            shown = PRODUCTS[at * 10 : at * 10 + 12]
            answer = invented.answer(f"thing {at}", shown)
            invented.see(answer, f"honest-{number}", [shown[draw.randrange(3)]])
            for product in draw.sample(shown, judged):
                label = "E" if product < PRODUCTS[at * 10 + 4] else "I"
                invented.judge(answer, f"honest-{number}", product, label)


def test_honest_feedback_passes() -> None:
    invented = Invented()
    honest(invented)
    found = collect(invented)
    assert found.quarantine == {} and len(found.rows) > 80
    assert {row.esci_label for row in found.rows} == {"E", "I"} and all(row.model == "model-1" for row in found.rows)


def test_one_client_with_ten_thousand_judgements() -> None:
    invented = Invented()
    honest(invented)
    before = collect(invented).rows
    for number in range(500):
        answer = invented.answer(f"thing {number % 12}", PRODUCTS[:20])
        for product in PRODUCTS[:20]:
            invented.judge(answer, "poisoner", product, "I")
    found = collect(invented)
    assert found.rows == before
    assert found.quarantine == {quarantine.TOO_MANY: 10_000}


def test_a_patient_client_decides_no_more_than_its_share() -> None:
    """Below the bound of a day, and still no span is one client's work."""
    invented = Invented()
    honest(invented)
    others = len(collect(invented).rows)
    for at in range(12, 20):
        answer = invented.answer(f"thing {at}", PRODUCTS[at * 10 : at * 10 + 10])
        for product in PRODUCTS[at * 10 : at * 10 + 10]:
            invented.judge(answer, "patient", product, "E")
    found = collect(invented, FeedbackSettings(client_pairs=10))
    allowed = int(0.2 / 0.8 * others)
    assert len(found.rows) == others + allowed
    assert found.quarantine == {quarantine.ONE_CLIENT: 80 - allowed}


def test_a_hundred_clients_that_agree_on_one_product() -> None:
    invented = Invented()
    honest(invented)
    before = collect(invented).rows
    for number in range(100):
        answer = invented.answer("thing 3", PRODUCTS[30:42])
        invented.judge(answer, f"sock-puppet-{number}", "P041", "E")
    found = collect(invented)
    assert found.rows == before
    assert found.quarantine == {quarantine.GROUP: 100}


def test_a_hundred_clients_that_click_one_product_by_many_queries() -> None:
    invented = Invented()
    honest(invented, clients=60)
    for number in range(100):
        answer = invented.answer(f"thing {number % 12}", [*PRODUCTS[:9], "P199"])
        invented.see(answer, f"sock-puppet-{number}", ["P199"])
    sifted = quarantine.sift(invented.feedback(), RULES, NOW)
    assert sifted.counts == {quarantine.GROUP: 100}
    assert not any(each.client.startswith("sock-puppet") for each in sifted.seen)


def test_clients_that_judge_whole_lists_alike_are_no_group() -> None:
    invented = Invented()
    for number in range(40):
        answer = invented.answer("red shoe", PRODUCTS[:8])
        for product in PRODUCTS[:8]:
            invented.judge(answer, f"expert-{number}", product, "E" if product == "P000" else "S")
    found = collect(invented)
    assert found.quarantine == {} and len(found.rows) == 8 and all(row.clients == 40 for row in found.rows)


def event_of(invented: Invented, **changes: object) -> Feedback:
    """One judgement, with its event changed."""
    answer = invented.answer("red shoe", PRODUCTS[:5])
    given = invented.judge(answer, "some-client", "P001", "E")
    event = invented.events[-1]
    changed = Event(**{**event.__dict__, **changes})
    standing = type(given)(**{**given.__dict__, "at": changed.at, "label": changed.label or ""})
    return Feedback(invented.answers, (changed,), (standing,))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"request_id": "never-given"}, quarantine.UNKNOWN_ANSWER),
        ({"product_id": "P150"}, quarantine.NOT_IN_ANSWER),
        ({"label": "X"}, quarantine.NO_LABEL),
        ({"at": None}, quarantine.NO_TIME),
        ({"at": NOW + timedelta(hours=1)}, quarantine.FUTURE),
        ({"at": NOW - timedelta(days=900)}, quarantine.BEFORE_ANSWER),
    ],
)
def test_faults_of_single_events(changes: dict[str, object], reason: str) -> None:
    found = collect(event_of(Invented(), **changes))
    assert found.quarantine[reason] == len(found.quarantined)
    if reason != quarantine.NOT_IN_ANSWER:
        assert found.rows == []
    listed = quarantine_csv(found.quarantined)
    assert listed.startswith("reason,kind,client") and reason in listed and "some-client" not in listed


def test_clocks_may_differ_by_minutes() -> None:
    invented = Invented()
    answer = invented.answer("red shoe", PRODUCTS[:5])
    invented.judge(answer, "some-client", "P001", "E")
    early = moved(invented.events[0], -timedelta(minutes=9))
    assert len(collect(Feedback(invented.answers, (early,), tuple(invented.standing.values()))).rows) == 1


def test_a_delivery_that_is_repeated_counts_once() -> None:
    invented = Invented()
    answer = invented.answer("red shoe", PRODUCTS[:5])
    for _ in range(7):
        invented.judge(answer, "some-client", "P001", "E")
    found = collect(invented)
    assert [row.clients for row in found.rows] == [1]
    assert found.quarantine == {quarantine.DUPLICATE: 6}


def test_a_client_that_spells_a_query_in_many_ways_is_one_voice() -> None:
    invented = Invented()
    for query in ("red shoe", "RED  shoe", "red\u200b shoe", "\uff52ed shoe"):
        invented.judge(invented.answer(query, PRODUCTS[:5]), "loud-client", "P000", "E")
    for client in ("one", "two"):
        invented.judge(invented.answer("red shoe", PRODUCTS[:5]), client, "P000", "I")
    assert [(row.esci_label, row.clients) for row in collect(invented).rows] == [("I", 2)]


def test_contradicting_clients() -> None:
    invented = Invented()
    answer = invented.answer("red shoe", PRODUCTS[:5])
    for client, product, label in (
        ("one", "P000", "E"), ("two", "P000", "I"),
        ("one", "P001", "E"), ("two", "P001", "E"), ("three", "P001", "I"),
    ):  # fmt: skip
        invented.judge(answer, client, product, label)
    found = collect(invented)
    assert [(row.product_id, row.esci_label, row.clients) for row in found.rows] == [("P001", "E", 2)]
    assert found.quarantine == {quarantine.CONTRADICTED: 3}


def test_what_cannot_be_learned_from_is_counted() -> None:
    invented = Invented()
    shown = [*PRODUCTS[:3], "GONE"]
    for query, product, picture in (
        ("Held\u200b  OUT", "P000", False), ("", "P001", False), ("red shoe", "P002", True),
        ("red shoe", "GONE", False),
    ):  # fmt: skip
        invented.judge(invented.answer(query, shown, picture=picture), "some-client", product, "E")
    found = collect(invented)
    assert found.rows == [] and found.quarantine == {}
    assert found.left_out == {"held-out query": 1, "picture query": 1, "empty query": 1, "product deleted": 1}


def test_a_poisoned_client_is_not_saved_by_a_new_id_for_each_product() -> None:
    """A bound on one client is passed by many: each of them still counts once for a query and a product."""
    invented = Invented()
    for number in range(30):
        answer = invented.answer("red shoe", PRODUCTS[:5])
        for _ in range(3):
            invented.judge(answer, f"client-{number}", "P000", "E")
            invented.judge(answer, f"client-{number}", "P001", "I")
    assert {row.product_id: row.clients for row in collect(invented).rows} == {"P000": 30, "P001": 30}
