"""What starts a retraining, and that one occasion starts one."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from sqidflow.core.settings import RetrainSettings
from sqidflow.data.spans import SpanRow
from sqidflow.monitoring.triggers import Handled, Look, Trigger, dealt_with, due, looked

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
ROWS = [SpanRow(f"query {number}", "P1", "us", "E", "human", 1) for number in range(100)]
RULES = RetrainSettings(every_hours=24)


def kinds(triggers: list[Trigger]) -> list[str]:
    return [trigger.kind for trigger in triggers]


@pytest.mark.parametrize(("count", "fires"), [(99, False), (100, True)])
def test_enough_judgements(count: int, fires: bool) -> None:
    look = Look(ROWS[:count], "data-1", "data-1")
    assert kinds(due(RULES, Handled(), look, NOW)) == (["judgements"] if fires else [])


def test_new_data_fires_once_whether_or_not_the_challenger_won() -> None:
    look = Look([], "data-2", "data-1")
    assert kinds(due(RULES, Handled(), look, NOW)) == ["new data"]
    assert due(RULES, dealt_with("data-2", (), NOW), look, NOW) == []
    assert kinds(due(RULES, dealt_with("data-2", (), NOW), Look([], "data-3", "data-1"), NOW)) == ["new data"]
    by_hand = Look([], "data-3", "data-3")
    assert due(RULES, dealt_with("data-2", (), NOW), by_hand, NOW) == [], "`sqidflow run` has trained on it"
    assert due(RetrainSettings(new_data=False), Handled(), look, NOW) == []
    (trigger,) = due(RULES, Handled(), Look([], "data-2", None), NOW)
    assert "no model was trained yet" in trigger.why


def test_an_alarm_fires_once_until_it_goes_off() -> None:
    on, off = Look([], "d", "d", ("words", "latency")), Look([], "d", "d")
    (trigger,) = due(RULES, Handled(), on, NOW)
    assert trigger.id == "latency,words" and trigger.kind == "drift"
    handled = dealt_with("d", on.alarms, NOW)
    assert due(RULES, handled, on, NOW) == []
    assert kinds(due(RULES, handled, Look([], "d", "d", ("words", "clicks")), NOW)) == ["drift"]
    handled = looked(handled, off.alarms, NOW)
    assert kinds(due(RULES, handled, on, NOW)) == ["drift"]
    assert due(RetrainSettings(drift=False), Handled(), on, NOW) == []


def test_a_schedule_starts_with_the_first_look() -> None:
    look = Look([], "d", "d")
    assert due(RULES, Handled(), look, NOW) == []
    handled = looked(Handled(), (), NOW)
    assert due(RULES, handled, look, NOW + timedelta(hours=23, minutes=59)) == []
    assert kinds(due(RULES, handled, look, NOW + timedelta(hours=24))) == ["schedule"]
    assert due(RULES, dealt_with("d", (), NOW + timedelta(hours=24)), look, NOW + timedelta(hours=25)) == []
    assert due(RetrainSettings(), handled, look, NOW + timedelta(days=900)) == []


def test_a_clock_that_was_set_back_does_not_stop_the_schedule() -> None:
    ahead = looked(Handled(), (), NOW + timedelta(days=3650))
    assert due(RULES, ahead, Look([], "d", "d"), NOW) == []
    handled = looked(ahead, (), NOW)
    assert kinds(due(RULES, handled, Look([], "d", "d"), NOW + timedelta(days=1))) == ["schedule"]
