"""Invented answers and feedback for tests: what a store would have, without a service."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from sqidflow.monitoring.feedback import Answer, Event, Feedback, GivenJudgement
from sqidflow.search.experiments import team_draft
from sqidflow.search.ubi import CLICK, IMPRESSION, JUDGEMENT

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def coins(draw: random.Random) -> Iterator[bool]:
    while True:
        yield draw.random() < 0.5


class Invented:
    """Answers and feedback, gathered one after the other, a second apart."""

    def __init__(self) -> None:
        self.answers: dict[str, Answer] = {}
        self.events: list[Event] = []
        self.standing: dict[tuple[str, str, str], GivenJudgement] = {}
        self.at = NOW - timedelta(days=2)

    def answer(self, query: str, products: Sequence[str], *, strategy: str = "a", picture: bool = False) -> str:
        self.at += timedelta(seconds=1)
        name = f"answer-{len(self.answers)}"
        self.answers[name] = Answer(name, self.at, query, picture, tuple(products), 1, strategy, "pair", "model-1")
        return name

    def event(self, kind: str, answer: str, client: str, product: str | None = None, label: str | None = None) -> Event:
        self.at += timedelta(seconds=1)
        self.events.append(Event(self.at, kind, answer, client, "", product, label))
        return self.events[-1]

    def judge(self, answer: str, client: str, product: str, label: str) -> GivenJudgement:
        event = self.event(JUDGEMENT, answer, client, product, label)
        about = self.answers[answer]
        given = GivenJudgement(event.at, client, about.query, about.picture, product, label, "us")
        self.standing[client, about.key, product] = given
        return given

    def see(self, answer: str, client: str, clicked: Sequence[str] = ()) -> None:
        self.event(IMPRESSION, answer, client)
        for product in clicked:
            self.event(CLICK, answer, client, product)

    def feedback(self) -> Feedback:
        return Feedback(self.answers, tuple(self.events), tuple(self.standing.values()))


def browse(
    invented: Invented,
    query: str,
    lists: tuple[Sequence[str], Sequence[str]],
    attractiveness: Callable[[str], float],
    propensity: Callable[[int], float],
    clients: int,
    *,
    interleaved: bool = True,
    seed: int = 1,
) -> None:
    """Clients that behave as the position-based model says, one search each."""
    draw = random.Random(f"{seed} {query}")
    for number in range(clients):
        shown = list(lists[0])
        if interleaved:
            shown = [product for product, _ in team_draft(*lists, len(shown), coins(draw))]
        answer = invented.answer(query, shown, strategy="interleave" if interleaved else "a")
        clicked = [
            product
            for rank, product in enumerate(shown, 1)
            if draw.random() < propensity(rank) * attractiveness(product)
        ]
        invented.see(answer, f"{query}-client-{number}", clicked)


def moved(event: Event, by: timedelta) -> Event:
    assert event.at is not None
    return replace(event, at=event.at + by)
