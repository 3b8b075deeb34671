"""Benchmarks of the query log and of the report on it, on a workdir with a pushed model and its index.

The log is invented: training queries, with numbers to make them many, and the answers that the index really gives. The
workdir is read and not written to; the log and the report are in a folder of their own.
"""

from __future__ import annotations

import json
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson

from sqidflow.benches.machine import describe
from sqidflow.benches.measure import measure_verb
from sqidflow.core.errors import SqidflowError
from sqidflow.core.settings import Settings
from sqidflow.core.workdir import Workdir
from sqidflow.monitoring.reference import training_queries
from sqidflow.search.api.answers import Answerer, Visitor
from sqidflow.search.api.metrics import Metrics
from sqidflow.search.engine import Request
from sqidflow.search.query_log import EVENTS, QUERIES
from sqidflow.search.state import Service, open_service
from sqidflow.search.ubi import EventRecord, QueryRecord

_SEED = 16
_ANSWERED = 400
_DIFFERENT_SHARE = 0.4
_WARM_UP = 100
_CLICKED = 0.3


class _NoLog:
    """Takes nothing: what an answer costs without any log."""

    dropped = 0

    def put(self, *_: Any) -> None: ...


def bench(place: Workdir, settings: Settings, queries: int, answers: int, say: Callable[[str], None]) -> dict[str, Any]:
    """Measure a report on ``queries`` logged searches, and what logging adds to ``answers`` answers.

    Raises:
        SqidflowError: the workdir has no model, no index of it, or no prepared pairs.
    """
    texts = training_queries(place, 10_000)
    if len(texts) < _WARM_UP:
        raise SqidflowError(
            f"{len(texts)} training queries are too few to measure with", where=place.pairs, hint="use a larger sample"
        )
    with tempfile.TemporaryDirectory(prefix="sqidflow-bench-monitoring-") as folder:
        beside = _beside(place, Path(folder))
        service = open_service(beside, settings.model_copy(update={"search": _uncached(settings)}), {})
        try:
            say(f"answering {answers:,} searches with the log and without, in turns")
            logging = _logging_cost(service, texts, answers)
            say(f"p50 {logging['p50_ms_without']:.3f} ms without, {logging['added_share']:+.2%} with the log")
            say(f"writing a log of {queries:,} searches (not counted)")
            size = _write_log(service, beside.var / "search", texts, queries)
        finally:
            service.close()
        rows = []
        for step in ("first report", "second report"):
            measured = measure_verb(("monitor", "--json"), beside.root)
            report = json.loads(measured.out)
            rows.append(
                {
                    "step": step,
                    "searches": report["searches"],
                    "seconds": round(measured.seconds, 2),
                    "peak_rss_mb": round(measured.peak_rss_mb),
                    "alarms": len(report["alarms"]),
                }
            )
            say(f"{step}: {measured.seconds:.1f} s, {measured.peak_rss_mb:,.0f} MB")
    return {"machine": describe(), "log_mb": round(size / 1e6, 1), "logging": logging, "rows": rows}


def _beside(place: Workdir, folder: Path) -> Workdir:
    """A workdir that reads the artifacts of another and writes its own log and report."""
    (folder / "artifacts").mkdir()
    for name in ("serving", "index", "prepared", "evaluations"):
        if (place.artifacts / name).exists():
            (folder / "artifacts" / name).symlink_to(place.artifacts / name)
    (folder / "metrics").mkdir()
    for file in ("params.yaml",):
        if (place.root / file).is_file():
            (folder / file).symlink_to(place.root / file)
    return Workdir(folder)


def _uncached(settings: Settings) -> Any:
    return settings.search.model_copy(update={"cache_entries": 0})


def _logging_cost(service: Service, texts: list[str], answers: int) -> dict[str, Any]:
    """p50 of answers with and without the log, each query once each way, in changing order."""
    log, metrics = service.log, Metrics()
    visitor = Visitor("0123456789abcdef", "fedcba9876543210")
    draw = random.Random(_SEED)
    times: dict[bool, list[float]] = {True: [], False: []}
    for number in range(_WARM_UP + answers):
        text = f"{texts[number % len(texts)]} {number // len(texts) or ''}".strip()
        order = [True, False] if draw.random() < 0.5 else [False, True]
        for logged in order:
            service.log = log if logged else _NoLog()  # type: ignore[assignment]
            answerer = Answerer(service, metrics, visitor)
            started = time.perf_counter()
            answerer.single(Request(text), f"bench-{number}-{logged}")
            if number >= _WARM_UP:
                times[logged].append((time.perf_counter() - started) * 1000)
    service.log = log
    log.flush()
    without, having = statistics.median(times[False]), statistics.median(times[True])
    # Of each query the difference of both ways: what the queries have in common drops out.
    added = statistics.median(a - b for a, b in zip(times[True], times[False]))
    return {
        "answers": answers,
        "p50_ms_without": round(without, 4),
        "p50_ms_with": round(having, 4),
        "added_ms": round(added, 4),
        "added_share": round(added / without, 5),
        "dropped": log.dropped,
    }


def _write_log(service: Service, folder: Path, texts: list[str], queries: int) -> int:
    """Write a log of the last days; returns its bytes."""
    draw = random.Random(_SEED)
    now = datetime.now(UTC)
    answered = [_answer(service, text) for text in texts[:_ANSWERED]]
    folder.mkdir(parents=True, exist_ok=True)
    for file in folder.glob("*.jsonl"):
        file.unlink()  # of the answers before
    files = {kind: folder / f"{kind}-{now:%Y%m%d}-{os.getpid()}-bench.jsonl" for kind in (QUERIES, EVENTS)}
    with files[QUERIES].open("wb") as to_queries, files[EVENTS].open("wb") as to_events:
        for number in range(queries):
            at = now - timedelta(days=6) + timedelta(days=5.9) * (number / queries)
            record, events = _search(number, at, draw, answered, int(queries * _DIFFERENT_SHARE))
            to_queries.write(orjson.dumps(record.document()) + b"\n")
            for event in events:
                to_events.write(orjson.dumps(event.document()) + b"\n")
    return sum(file.stat().st_size for file in files.values())


def _answer(service: Service, text: str) -> QueryRecord:
    """The record of a search, as the service logs it."""
    taken: list[QueryRecord] = []

    class Taking(_NoLog):
        def put(self, record: QueryRecord, _: Any) -> None:
            taken.append(record)

    log = service.log
    service.log = Taking()  # type: ignore[assignment]
    Answerer(service, Metrics(), Visitor("0123456789abcdef", "fedcba9876543210")).single(Request(text), "bench")
    service.log = log
    return taken[0]


def _search(
    number: int, at: datetime, draw: random.Random, answered: list[QueryRecord], different: int
) -> tuple[QueryRecord, list[EventRecord]]:
    like = draw.choice(answered)
    which = draw.randrange(different)
    text = f"{like.user_query} {which}" if which >= len(answered) else like.user_query
    client, session = f"client-{draw.randrange(5000):08}", f"session-{number // 3:08}"
    record = QueryRecord(f"bench{number}", text, at, client, like.hit_ids, like.attributes)
    return record, list(_events(record, session, draw))


def _events(record: QueryRecord, session: str, draw: random.Random) -> Iterator[EventRecord]:
    after = record.timestamp + timedelta(seconds=1)
    yield EventRecord("impression", after, record.query_id, record.client_id, session, position=1)
    if record.hit_ids and draw.random() < _CLICKED:
        place = min(int(draw.expovariate(0.7)), len(record.hit_ids) - 1)
        yield EventRecord(
            "click", after + timedelta(seconds=5), record.query_id, record.client_id, session,
            record.hit_ids[place], place + 1,
        )  # fmt: skip
