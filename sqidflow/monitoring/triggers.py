"""What starts a retraining, and that nothing starts it twice."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from sqidflow.core.settings import RetrainSettings
from sqidflow.data.spans import SpanRow

JUDGEMENTS, DRIFT, NEW_DATA, SCHEDULE, ASKED = "judgements", "drift", "new data", "schedule", "asked"


@dataclass(frozen=True)
class Trigger:
    """Why a retraining starts. ``id`` tells one occasion from another of the same kind."""

    kind: str
    id: str
    why: str


@dataclass(frozen=True)
class Handled:
    """What earlier retrainings have dealt with.

    ``data_hash``: the data that was trained on last; ``drift``: alarms that were on then and never went off since;
    ``at``: when the last retraining ended, or when the first look was (ISO 8601).
    """

    data_hash: str | None = None
    drift: tuple[str, ...] = ()
    at: str | None = None


@dataclass(frozen=True)
class Look:
    """What there is now. ``champion_hash``: the data that the served model was trained on; ``alarms``: drift alarms
    that are on, by name."""

    new: Sequence[SpanRow]
    data_hash: str
    champion_hash: str | None
    alarms: Collection[str] = ()


def judgements_id(rows: Sequence[SpanRow]) -> str:
    """Twelve hex digits over the judgements; another set of them is another occasion."""
    return hashlib.sha256(repr(rows).encode()).hexdigest()[:12]


def due(rules: RetrainSettings, handled: Handled, look: Look, now: datetime) -> list[Trigger]:
    """The triggers that fire now.

    Judgements that a span has are not new any more, so they cannot fire again; an alarm that stays on, a data version
    and a time that were dealt with do not either.
    """
    triggers = []
    if len(look.new) >= rules.judgements:
        why = f"{len(look.new)} new judgements, {rules.judgements} are enough"
        triggers.append(Trigger(JUDGEMENTS, judgements_id(look.new), why))
    fresh = sorted(set(look.alarms) - set(handled.drift))
    if rules.drift and fresh:
        triggers.append(Trigger(DRIFT, ",".join(fresh), f"drift: {', '.join(fresh)}"))
    trained = handled.data_hash or look.champion_hash
    if rules.new_data and look.data_hash not in (handled.data_hash, look.champion_hash):
        before = f"the last training was on {trained[:8]}" if trained else "no model was trained yet"
        triggers.append(Trigger(NEW_DATA, look.data_hash, f"data version {look.data_hash[:8]}: {before}"))
    if rules.every_hours is not None and handled.at is not None:
        last = datetime.fromisoformat(handled.at)
        if now - last >= timedelta(hours=rules.every_hours):
            why = f"{rules.every_hours:g} hours have passed since {handled.at}"
            triggers.append(Trigger(SCHEDULE, handled.at, why))
    return triggers


def looked(handled: Handled, alarms: Collection[str], now: datetime) -> Handled:
    """What is remembered of a look that started nothing: alarms that went off may fire again, and a time that lies in
    the future, because the clock was set back, is now."""
    drift = tuple(alarm for alarm in handled.drift if alarm in alarms)
    at = handled.at
    if at is None or datetime.fromisoformat(at) > now:
        at = now.astimezone(UTC).isoformat(timespec="seconds")
    return replace(handled, drift=drift, at=at)


def dealt_with(data_hash: str, alarms: Collection[str], now: datetime) -> Handled:
    """What is remembered of a retraining that ended."""
    return Handled(data_hash, tuple(sorted(alarms)), now.astimezone(UTC).isoformat(timespec="seconds"))
