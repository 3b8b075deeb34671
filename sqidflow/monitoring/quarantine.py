"""Which feedback may become training data, and why the rest may not.

Nothing is dropped in silence: each event or judgement that is not used is counted under one reason, and listed with it.

A client is a browser's random id; requests without one are one client together. ``client_events_per_day`` bounds what a
client may send. A group of clients is suspicious where all three hold for a product:

1. among the clients that were shown the product, those that clicked it, or gave it one and the same label, are more
   than chance explains: a binomial test against the share with which clients do that to other products at the same
   ranks, at 1e-6 divided by the number of products tested;
2. at least ``group_clients`` of them came for this product alone: four fifths of all that they sent is about it;
3. these are at least half of those that clicked it or gave it the label.

All feedback of the clients in (2) is left out, whatever it is about. A product that hundreds of honest clients like
after one search each looks the same: its feedback is then left out too, and the report names it.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from sqidflow.core.settings import FeedbackSettings
from sqidflow.data.formats import LABELS
from sqidflow.monitoring.feedback import Answer, Event, Feedback, GivenJudgement
from sqidflow.search.experiments import client_name
from sqidflow.search.ubi import CLICK, IMPRESSION, JUDGEMENT, VIEW

UNKNOWN_ANSWER = "unknown answer"
NOT_IN_ANSWER = "product is not in the answer"
NO_TIME = "no readable time"
FUTURE = "time in the future"
BEFORE_ANSWER = "time before the answer"
NO_LABEL = "no such label"
DUPLICATE = "delivered again"
TOO_MANY = "a client with too many events in a day"
GROUP = "clients that agree on one product beyond chance"
CONTRADICTED = "contradicted by other clients"
ONE_CLIENT = "more than one client's share of a span"
REASONS = (
    UNKNOWN_ANSWER, NOT_IN_ANSWER, NO_TIME, FUTURE, BEFORE_ANSWER, NO_LABEL, DUPLICATE, TOO_MANY, GROUP, CONTRADICTED,
    ONE_CLIENT,
)  # fmt: skip
_CLOCKS_DIFFER = timedelta(minutes=10)
_BEYOND_CHANCE = 1e-6
_FOR_ONE_PRODUCT = 0.8
_COUNTED = (CLICK, VIEW, JUDGEMENT)
"""Kinds of events that a client is bound in; impressions come with every answer."""


@dataclass(frozen=True)
class Quarantined:
    """Feedback that is not used. ``client``: twelve digits of a digest of its id."""

    reason: str
    kind: str
    client: str
    query: str
    product_id: str
    label: str
    at: str
    answer: str


@dataclass(frozen=True)
class Judged:
    """A judgement that may be used, with the newest answer that it was about, None where the store no longer has it."""

    given: GivenJudgement
    answer: Answer | None


@dataclass(frozen=True)
class Seen:
    """An answer that a client was shown, for the first time with its query: what it clicked in it."""

    client: str
    answer: Answer
    clicked: frozenset[str]


@dataclass
class Sifted:
    """What may be used, and what may not."""

    judgements: list[Judged] = field(default_factory=list)
    seen: list[Seen] = field(default_factory=list)
    quarantined: list[Quarantined] = field(default_factory=list)

    @property
    def counts(self) -> dict[str, int]:
        """Reason -> how many, for the reasons that occurred."""
        counted = Counter(each.reason for each in self.quarantined)
        return {reason: counted[reason] for reason in REASONS if counted[reason]}


def quarantined_judgement(judged: Judged, reason: str) -> Quarantined:
    """A judgement as the list of what is not used has it."""
    given = judged.given
    return Quarantined(
        reason, JUDGEMENT, client_name(given.client), given.query, given.product_id, given.label, _iso(given.at),
        judged.answer.request_id if judged.answer else "",
    )  # fmt: skip


def sift(feedback: Feedback, rules: FeedbackSettings, now: datetime) -> Sifted:
    """Part feedback into what may be used and what may not, as the docstring of this module states."""
    out = Sifted()
    too_many = _over_bound(feedback, rules.client_events_per_day)
    events: list[Event] = []
    listed: set[tuple[str, str | None, datetime | None]] = set()  # judgements whose events are quarantined
    delivered: set[tuple[str, str, str, str | None, str | None]] = set()
    for event in feedback.events:
        if event.kind not in (IMPRESSION, *_COUNTED):
            continue
        answer = feedback.answers.get(event.request_id)
        identity = event.client, event.request_id, event.kind, event.product_id, event.label
        reason = TOO_MANY if event.client in too_many else _fault(event, answer, now)
        if reason is None and identity in delivered:
            if event.kind != IMPRESSION:
                out.quarantined.append(_quarantined(event, answer, DUPLICATE))
            continue
        if reason is not None:
            if event.kind == JUDGEMENT:
                listed.add((event.client, event.product_id, event.at))
            if event.kind != IMPRESSION or reason != TOO_MANY:
                out.quarantined.append(_quarantined(event, answer, reason))
            continue
        delivered.add(identity)
        events.append(event)
    judged = _with_answers(feedback, events)
    usable = []
    for each in judged:
        given = each.given
        if (given.client, given.product_id, given.at) in listed:
            continue
        reason = TOO_MANY if given.client in too_many else _fault_of_judgement(given, now)
        if reason is not None:
            out.quarantined.append(quarantined_judgement(each, reason))
            continue
        usable.append(each)
    grouped = _suspicious(events, usable, feedback.answers, rules.group_clients) if rules.group_clients else set()
    for each in usable:
        if each.given.client in grouped:
            out.quarantined.append(quarantined_judgement(each, GROUP))
        else:
            out.judgements.append(each)
    for event in events:
        if event.client in grouped and event.kind in (CLICK, VIEW):
            out.quarantined.append(_quarantined(event, feedback.answers[event.request_id], GROUP))
    out.seen = _first_seen([event for event in events if event.client not in grouped], feedback.answers)
    return out


def _fault(event: Event, answer: Answer | None, now: datetime) -> str | None:
    if answer is None:
        return UNKNOWN_ANSWER
    if event.kind in _COUNTED and event.product_id not in answer.products:
        return NOT_IN_ANSWER
    if event.kind == JUDGEMENT and event.label not in LABELS:
        return NO_LABEL
    if event.at is None:
        return NO_TIME
    if event.at > now + _CLOCKS_DIFFER:
        return FUTURE
    if answer.at is not None and event.at < answer.at - _CLOCKS_DIFFER:
        return BEFORE_ANSWER
    return None


def _fault_of_judgement(given: GivenJudgement, now: datetime) -> str | None:
    if given.label not in LABELS:
        return NO_LABEL
    if given.at is None:
        return NO_TIME
    return FUTURE if given.at > now + _CLOCKS_DIFFER else None


def _over_bound(feedback: Feedback, most: int) -> set[str]:
    """Clients that sent more in one day (UTC) than one may; repeated deliveries count."""
    counted: Counter[tuple[str, object]] = Counter()
    of_events = set()
    for event in feedback.events:
        if event.kind in _COUNTED:
            counted[event.client, event.at and event.at.date()] += 1
            of_events.add((event.client, event.product_id, event.at))
    for given in feedback.judgements:  # those whose events are older than the retention
        if (given.client, given.product_id, given.at) not in of_events:
            counted[given.client, given.at and given.at.date()] += 1
    return {client for (client, _), count in counted.items() if count > most}


def _with_answers(feedback: Feedback, events: Iterable[Event]) -> list[Judged]:
    """Each standing judgement with the newest answer that it was about."""
    about: dict[tuple[str, str, bool, str | None], Answer] = {}
    for event in events:
        if event.kind == JUDGEMENT:
            answer = feedback.answers[event.request_id]
            about[event.client, answer.key, answer.picture, event.product_id] = answer
    return [
        Judged(given, about.get((given.client, given.key, given.picture, given.product_id)))
        for given in feedback.judgements
    ]


def _first_seen(events: Sequence[Event], answers: Mapping[str, Answer]) -> list[Seen]:
    """Answers that the page showed, with the clicks in them; a client that searches again counts once."""
    clicked: dict[tuple[str, str], set[str]] = defaultdict(set)
    for event in events:
        if event.kind == CLICK and event.product_id is not None:
            clicked[event.client, event.request_id].add(event.product_id)
    seen: dict[tuple[str, str, bool, int], Seen] = {}
    for event in events:
        if event.kind == IMPRESSION:
            answer = answers[event.request_id]
            place = event.client, answer.key, answer.picture, answer.first_rank
            if place not in seen:
                seen[place] = Seen(event.client, answer, frozenset(clicked[event.client, event.request_id]))
    return list(seen.values())


# --- groups of clients ------------------------------------------------------------------------------------------------


def _suspicious(
    events: Sequence[Event], judged: Sequence[Judged], answers: Mapping[str, Answer], least: int
) -> set[str]:
    """The clients that came for one product alone, where more clients agree on it than chance explains."""
    shown: dict[str, dict[str, int]] = defaultdict(dict)  # product -> client -> rank at which it was shown first
    for client, request_id in dict.fromkeys((event.client, event.request_id) for event in events):
        answer = answers[request_id]
        for rank, product in enumerate(answer.products, answer.first_rank):
            shown[product].setdefault(client, rank)
    sent: dict[str, Counter[str]] = defaultdict(Counter)  # client -> product -> events about it
    clicks: dict[tuple[str, str], set[str]] = defaultdict(set)
    labels: dict[tuple[str, str], set[str]] = defaultdict(set)
    for event in events:
        if event.kind == CLICK and event.product_id is not None:
            clicks[event.product_id, ""].add(event.client)
            sent[event.client][event.product_id] += 1
    for each in judged:
        given = each.given
        labels[given.product_id, given.label].add(given.client)
        sent[given.client][given.product_id] += 1
    suspicious: set[str] = set()
    for agreeing in (clicks, labels):
        suspicious |= _beyond_chance(agreeing, shown, sent, least)
    return suspicious - {""}


def _beyond_chance(
    agreeing: Mapping[tuple[str, str], set[str]],
    shown: Mapping[str, Mapping[str, int]],
    sent: Mapping[str, Counter[str]],
    least: int,
) -> set[str]:
    """See the docstring of this module. ``agreeing``: (product, label) -> clients."""
    from scipy.stats import binom

    by_product: dict[str, set[str]] = {}  # the largest group of each product
    for (product, _), clients in agreeing.items():
        among = clients & shown.get(product, {}).keys()
        if len(among) > len(by_product.get(product, ())):
            by_product[product] = among
    shown_at: Counter[int] = Counter()
    agreed_at: Counter[int] = Counter()
    for product, ranks in shown.items():
        shown_at.update(ranks.values())
        agreed_at.update(ranks[client] for client in by_product.get(product, ()))
    tested = {product: clients for product, clients in by_product.items() if len(clients) >= least}
    suspicious: set[str] = set()
    for product, clients in tested.items():
        ranks = shown[product]
        own_shown = Counter(ranks.values())
        own_agreed = Counter(ranks[client] for client in clients)
        expected = sum(
            count * (agreed_at[rank] - own_agreed[rank] + 1) / (shown_at[rank] - own_shown[rank] + 2)
            for rank, count in own_shown.items()
        )
        chance = float(binom.sf(len(clients) - 1, len(ranks), min(1.0, expected / len(ranks))))
        alone = {client for client in clients if sent[client][product] >= _FOR_ONE_PRODUCT * sent[client].total()}
        if chance < _BEYOND_CHANCE / len(tested) and len(alone) >= max(least, len(clients) / 2):
            suspicious |= alone
    return suspicious


def _quarantined(event: Event, answer: Answer | None, reason: str) -> Quarantined:
    return Quarantined(
        reason, event.kind, client_name(event.client), answer.query if answer else "", event.product_id or "",
        event.label or "", _iso(event.at), event.request_id,
    )  # fmt: skip


def _iso(moment: datetime | None) -> str:
    return moment.astimezone(UTC).isoformat(timespec="seconds") if moment else ""
