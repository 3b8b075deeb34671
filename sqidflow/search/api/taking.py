"""Takes what people did into the store of feedback and into the log."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from sqidflow.search import schemas, ubi
from sqidflow.search.experiments import Answered, Opinion
from sqidflow.search.query_log import WRITTEN_EVERY_S
from sqidflow.search.state import Service

Taken = Literal["accepted", "duplicate", "unknown_answer", "unknown_product"]
ACCEPTED: Taken = "accepted"
DUPLICATE: Taken = "duplicate"
UNKNOWN_ANSWER: Taken = "unknown_answer"
UNKNOWN_PRODUCT: Taken = "unknown_product"
REASONS: dict[Taken, str] = {
    DUPLICATE: "duplicate",
    UNKNOWN_ANSWER: "there is no such answer, or it is too old",
    UNKNOWN_PRODUCT: "the answer has no such product",
}
_CLOCK_TOLERANCE_S = 300.0
"""A client whose clock differs by more is not believed: its events are logged with the time at which they came."""


@dataclass(frozen=True)
class Told:
    """What a client says that somebody did. ``clock_off_s``: by how much its clock is off, where that is too much."""

    kind: str
    query_id: str
    client: str
    session: str
    product_id: str | None
    label: str | None
    vote: str | None
    blind: bool
    event_id: str | None
    at: datetime
    clock_off_s: float | None = None


def told_by(event: schemas.UbiEvent, now: datetime) -> Told:
    """An event as the service takes it."""
    details = event.event_attributes
    off = (event.timestamp.astimezone(UTC) - now).total_seconds()
    is_off = abs(off) > _CLOCK_TOLERANCE_S
    return Told(
        ubi.action_of(event.action_name),
        event.query_id or "",
        event.client_id or "",
        event.session_id or "",
        None if details.object is None else str(details.object.object_id),
        details.label,
        details.vote,
        details.blind,
        details.event_id,
        now if is_off else event.timestamp.astimezone(UTC),
        round(off, 1) if is_off else None,
    )


def accept(service: Service, told: Sequence[Told]) -> list[Taken]:
    """Store what is feedback on an answer and log all; what became of each."""
    answers = _answers(service, {each.query_id for each in told if each.query_id})
    return [_accept(service, each, answers.get(each.query_id)) for each in told]


def _accept(service: Service, told: Told, answer: Answered | None) -> Taken:
    taken = _stored_as(service, told, answer)
    if taken == ACCEPTED:
        service.log.put_event(_record(told, answer))
    else:
        service.log.put_rejected(_record(told, answer), REASONS[taken])
    return taken


def reject(service: Service, told: Told, reason: str) -> None:
    """Log an event that lacks what its action needs."""
    service.log.put_rejected(_record(told, None), reason)


def _stored_as(service: Service, told: Told, answer: Answered | None) -> Taken:
    if not told.query_id:
        return ACCEPTED
    if answer is None:
        return UNKNOWN_ANSWER
    if told.product_id is not None and told.product_id not in answer.products:
        return UNKNOWN_PRODUCT
    if told.kind in ubi.ACTIONS:
        opinion = Opinion(
            told.kind, told.query_id, told.client, told.product_id, told.label, told.vote, told.blind,
            session=told.session, event_id=told.event_id,
        )  # fmt: skip
        if not service.experiments.accept(opinion, service.settings.data.locale):
            return DUPLICATE
    return ACCEPTED


def _record(told: Told, answer: Answered | None) -> ubi.EventRecord:
    position = None if answer is None else answer.position_of(told.product_id) or answer.first_rank
    details: dict[str, Any] = {
        name: value
        for name, value in (
            ("event_id", told.event_id), ("label", told.label), ("vote", told.vote), ("blind", told.blind or None),
            ("clock_off_s", told.clock_off_s),
        )
        if value is not None
    }  # fmt: skip
    return ubi.EventRecord(
        told.kind, told.at, told.query_id, told.client, told.session, told.product_id or "", position, details
    )


def _answers(service: Service, query_ids: set[str]) -> dict[str, Answered]:
    """The answers that there are. They are stored a moment after they are given."""
    answers = _stored(service, query_ids)
    if len(answers) < len(query_ids):
        service.log.flush()
        answers |= _stored(service, query_ids - answers.keys())
    if len(answers) < len(query_ids) and service.settings.search.workers > 1:
        time.sleep(2 * WRITTEN_EVERY_S)  # another worker gave it
        answers |= _stored(service, query_ids - answers.keys())
    return answers


def _stored(service: Service, query_ids: set[str]) -> dict[str, Answered]:
    answers = {number: service.experiments.answered(number) for number in query_ids}
    return {number: answer for number, answer in answers.items() if answer is not None}
