"""Searches of a second model beside the answers: bounded, dropped when busy, never a failure of the service."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from sqidflow.search.api.metrics import Metrics
from sqidflow.search.api.pool import Pool, search_pool
from sqidflow.search.api.shadow import Answered, ShadowSearches, overlap_of
from sqidflow.search.engine import Outcome, Request
from sqidflow.search.rewrite import Rewriting
from sqidflow.search.state import Variant
from sqidflow.search.ubi import QueryRecord
from tests.command_line import wait_until


class Log:
    def __init__(self) -> None:
        self.records: list[QueryRecord] = []

    def put_shadow(self, record: QueryRecord) -> None:
        self.records.append(record)


class Core:
    """Answers nothing, or fails."""

    def __init__(self) -> None:
        self.failure: Exception | None = None

    def search(self, request: Request) -> Outcome:
        if self.failure is not None:
            raise self.failure
        return Outcome(Rewriting(request.query, request.query))


class Versions:
    model, index = "18", "abc"


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
def pool(metrics: Metrics) -> Iterator[Pool]:
    made = search_pool(1, 4, metrics)
    yield made
    made.close()


@contextmanager
def searching(pool: Pool) -> Iterator[None]:
    """A search is under way."""
    ends, begun = threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        ends.wait(30)

    thread = threading.Thread(target=lambda: asyncio.run(pool.run(work)))
    thread.start()
    begun.wait(30)
    try:
        yield
    finally:
        ends.set()
        thread.join()


def answered(core: Any, log: Any, number: int = 0, image: bytes | None = None) -> Answered:
    variant = Variant("a", core, Versions())  # type: ignore[arg-type]
    return Answered(variant, log, Request("red kettle", image), f"r-{number}", "client-0001", "17", ("P1",), 3.0)


def count(metrics: Metrics, outcome: str) -> float:
    return (
        metrics.registry.get_sample_value("sqidflow_shadow_searches_total", {"model": "18", "outcome": outcome}) or 0.0
    )


def test_nothing_is_searched_while_an_answer_is_under_way_and_what_is_too_much_is_dropped(
    metrics: Metrics, pool: Pool
) -> None:
    log, core, shadows = Log(), Core(), ShadowSearches(metrics, pool)
    with searching(pool):
        for number in range(70):
            shadows.put(answered(core, log, number))
        assert count(metrics, "dropped") == 6 and not log.records
    wait_until(lambda: len(log.records) == 64, "those that waited are searched")
    shadows.close()
    assert [record.query_id for record in log.records] == [f"r-{number}" for number in range(64)]
    assert count(metrics, "nothing") == 64
    attributes = log.records[0].attributes
    assert attributes["answered_by"] == "17" and attributes["answered_hit_ids"] == ["P1"]
    assert attributes["overlap_at_10"] == 0 and log.records[0].client_id == "client-0001"


def test_pictures_that_wait_have_a_bound_in_bytes(metrics: Metrics, pool: Pool) -> None:
    log, core, shadows = Log(), Core(), ShadowSearches(metrics, pool)
    with searching(pool):
        for number in range(3):
            shadows.put(answered(core, log, number, image=bytes(7_000_000)))
        assert count(metrics, "dropped") == 1
    shadows.close()


def test_what_waits_too_long_is_dropped(metrics: Metrics, pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sqidflow.search.api.shadow._WAITS_S", 0.05)
    log, shadows = Log(), ShadowSearches(metrics, pool)
    with searching(pool):
        shadows.put(answered(Core(), log))
        wait_until(lambda: count(metrics, "dropped") == 1, "it is dropped")
    shadows.close()
    assert not log.records


def test_a_failure_is_counted_and_the_next_is_searched(metrics: Metrics, pool: Pool) -> None:
    log, core, shadows = Log(), Core(), ShadowSearches(metrics, pool)
    core.failure = RuntimeError("half a file")
    shadows.put(answered(core, log, 1))
    wait_until(lambda: count(metrics, "failed") == 1, "it failed")
    core.failure = None
    shadows.put(answered(core, log, 2))
    wait_until(lambda: log.records, "the next is logged")
    shadows.close()
    assert [record.query_id for record in log.records] == ["r-2"]


@pytest.mark.parametrize(
    ("shown", "other", "expected"),
    [
        ("abcdefghij", "abcdefghij", 1.0),
        ("abcdefghij", "jihgfedcba", 1.0),
        ("abcdefghij", "klmnopqrst", 0.0),
        ("abcde", "abcdefghij", 0.5),
        ("abcdefghijk", "kabcdefghij", 0.9),
        ("", "", 1.0),
        ("", "a", 0.0),
    ],
)
def test_overlap_is_the_share_of_the_first_ten_that_both_have(shown: str, other: str, expected: float) -> None:
    assert overlap_of(tuple(shown), tuple(other), 10) == expected
