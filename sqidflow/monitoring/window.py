"""The searches and events of a time, in columns: one pass over the log, whatever its size."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from sqidflow.monitoring import log
from sqidflow.monitoring.log import Reading
from sqidflow.ranking.query_text import query_key
from sqidflow.search import ubi
from sqidflow.search.ubi import EventRecord, QueryRecord

PARTS = ("rewrite_ms", "encode_ms", "retrieve_ms", "rank_ms", "total_ms")
NOTHING_FITS = "nothing_fits"
UNKNOWN_OUTCOME = "unknown"
NO_RESULT = "no result"
ANSWERED = "answered"
_IMPRESSIONS = (ubi.IMPRESSION,)
_ENGAGED = (ubi.CLICK, ubi.VIEW, ubi.JUDGEMENT, "add_to_cart", "purchase")
_MOST_POSITIONS = 20


@dataclass(frozen=True, slots=True)
class Served:
    """What a plain search of the model that answers brought: nothing filtered, no other order, the first page."""

    outcome: str
    top_score: float | None
    top_class: str | None
    top_product: str | None


@dataclass
class Window:
    """What was searched and done in a time; see the fields of the report for what each is."""

    since: datetime | None
    until: datetime | None
    reading: Reading = field(default_factory=Reading)
    first: datetime | None = None
    last: datetime | None = None
    log_first: datetime | None = None
    log_last: datetime | None = None
    searches: int = 0
    by_hour: Counter[int] = field(default_factory=Counter)
    outcomes: Counter[str] = field(default_factory=Counter)
    strategies: Counter[str] = field(default_factory=Counter)
    models: Counter[str] = field(default_factory=Counter)
    classes: Counter[str] = field(default_factory=Counter)
    cached: int = 0
    times: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in PARTS})
    clients: set[str] = field(default_factory=set)
    queries: dict[str, str] = field(default_factory=dict)
    """Each query once, by its key, as it was first typed; those of words only."""
    counts: Counter[str] = field(default_factory=Counter)
    """How often each was searched, by its key."""
    empty: Counter[str] = field(default_factory=Counter)
    served: dict[str, Served] = field(default_factory=dict)
    """Of each query the first plain search of the model that answers, by its key."""
    actions: Counter[str] = field(default_factory=Counter)
    shown_at: Counter[int] = field(default_factory=Counter)
    clicked_at: Counter[int] = field(default_factory=Counter)
    answers_shown: int = 0
    answers_abandoned: int = 0
    unknown_answers: int = 0


def read_window(
    folder: Path, since: datetime | None, until: datetime | None, now: datetime, model: str | None, index: str | None
) -> Window:
    """Read the log of a time; ``model`` and ``index``: whose answers are compared with those to the training data."""
    window = Window(since, until)
    lengths: dict[str, tuple[int, int]] = {}  # answer -> rank of its first product, products
    for query in log.read_queries(folder, now, window.reading):
        window.log_first = min(window.log_first or query.timestamp, query.timestamp)
        window.log_last = max(window.log_last or query.timestamp, query.timestamp)
        if log.is_within(query.timestamp, since, until):
            _count_search(window, query, model, index)
            first = query.attributes.get("offset")
            lengths[query.query_id] = ((first if isinstance(first, int) else 0) + 1, len(query.hit_ids or ()))
    shown: set[str] = set()
    engaged: set[str] = set()
    items: set[tuple[str, str, str]] = set()
    for event in log.read_events(folder, now, window.reading):
        if not log.is_within(event.timestamp, since, until):
            continue
        window.actions[event.action_name] += 1
        if not event.query_id:
            continue
        if event.query_id not in lengths:
            window.unknown_answers += 1
            continue
        _count_event(window, event, lengths, shown, engaged, items)
    log.read_rejected(folder, since, until, window.reading)
    window.answers_shown = sum(1 for answer in shown if lengths[answer][1])
    window.answers_abandoned = sum(1 for answer in shown - engaged if lengths[answer][1])
    return window


def _count_search(window: Window, query: QueryRecord, model: str | None, index: str | None) -> None:
    details = query.attributes
    window.searches += 1
    window.first = min(window.first or query.timestamp, query.timestamp)
    window.last = max(window.last or query.timestamp, query.timestamp)
    window.by_hour[int(query.timestamp.timestamp() // 3600)] += 1
    outcome = _outcome(query)
    window.outcomes[outcome] += 1
    window.strategies[str(details.get("variant") or details.get("strategy") or query.application)] += 1
    if details.get("model"):
        window.models[str(details["model"])] += 1
    classes = details.get("classes")
    if isinstance(classes, str):
        window.classes.update(classes)
    if details.get("cached") is True:
        window.cached += 1
    else:
        timings = details.get("timings")
        if isinstance(timings, dict):
            for name in PARTS:
                if isinstance(timings.get(name), (int, float)):
                    window.times[name].append(float(timings[name]))
    if query.client_id:
        window.clients.add(query.client_id)
    key = query_key(query.user_query)
    if not key:
        return
    window.queries.setdefault(key, query.user_query)
    window.counts[key] += 1
    if query.hit_ids is not None and not query.hit_ids:
        window.empty[key] += 1
    if (
        key not in window.served
        and _is_plain(details)
        and (details.get("model"), details.get("index")) == (model, index)
    ):
        window.served[key] = _served(query, outcome)


def _outcome(query: QueryRecord) -> str:
    told = query.attributes.get("outcome")
    if isinstance(told, str):
        return told
    return UNKNOWN_OUTCOME if query.hit_ids is None else ANSWERED if query.hit_ids else NO_RESULT


def _is_plain(details: Mapping[str, Any]) -> bool:
    """Whether an answer depends on the query alone."""
    return (
        details.get("strategy") == "single"
        and details.get("variant") == "a"
        and details.get("threshold") is None
        and details.get("sort", "relevance") == "relevance"
        and not any(details.get(name) for name in ("offset", "image", "verbatim", "with_picture"))
        and not any(details.get(name) for name in ("brands", "colors", "filters"))
    )


def _served(query: QueryRecord, outcome: str) -> Served:
    scores, classes = query.attributes.get("scores"), query.attributes.get("classes")
    score = scores[0] if isinstance(scores, list) and scores and isinstance(scores[0], (int, float)) else None
    return Served(
        outcome,
        None if score is None else float(score),
        classes[0] if isinstance(classes, str) and classes else None,
        query.hit_ids[0] if query.hit_ids else None,
    )


def _count_event(
    window: Window,
    event: EventRecord,
    lengths: Mapping[str, tuple[int, int]],
    shown: set[str],
    engaged: set[str],
    items: set[tuple[str, str, str]],
) -> None:
    """A product counts once an answer, however often it was clicked."""
    first, products = lengths[event.query_id]
    if event.action_name in _IMPRESSIONS:
        positions: range | tuple[int, ...] = ()
        if not event.object_id and event.query_id not in shown:
            positions = range(first, first + products)
        elif event.object_id and event.position is not None and _is_new(event, items):
            positions = (event.position,)
        shown.add(event.query_id)
        window.shown_at.update(each for each in positions if each <= _MOST_POSITIONS)
    elif event.action_name in _ENGAGED:
        engaged.add(event.query_id)
        position = event.position if event.action_name == ubi.CLICK else None
        if position is not None and position <= _MOST_POSITIONS and _is_new(event, items):
            window.clicked_at[position] += 1


def _is_new(event: EventRecord, items: set[tuple[str, str, str]]) -> bool:
    key = event.action_name, event.query_id, event.object_id
    if key in items:
        return False
    items.add(key)
    return True
