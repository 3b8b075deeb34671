"""Searches of a second model beside the answers: measured and logged, never shown, and never waited for."""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

from sqidflow.search.api.metrics import Metrics
from sqidflow.search.api.pool import Pool
from sqidflow.search.engine import Request
from sqidflow.search.query_log import QueryLog
from sqidflow.search.state import Variant
from sqidflow.search.ubi import QueryRecord

_LOG = logging.getLogger(__name__)
_QUEUED = 64
_QUEUED_BYTES = 16_000_000
"""Of pictures that wait."""
_WAITS_S = 5.0
_LOOKS_EVERY_S = 0.02
_COMPARED = 10
_SWITCH_S = 0.0005


@dataclass(frozen=True)
class Answered:
    """A search that was answered. ``products`` of the answer in their order, ``total_ms`` what it took."""

    shadow: Variant
    log: QueryLog
    request: Request
    request_id: str
    client: str
    model: str
    products: tuple[str, ...]
    total_ms: float

    @property
    def image_bytes(self) -> int:
        return len(self.request.image or b"")


class _Yielding:
    """How many do work now that answers must not wait for."""

    lock = threading.Lock()
    count = 0
    before_s = 0.0


@contextmanager
def yielding() -> Iterator[None]:
    """Let answers take the interpreter from other work every half millisecond: with Python's five an answer waits that
    long each time it comes back from a library."""
    with _Yielding.lock:
        if not _Yielding.count:
            _Yielding.before_s = sys.getswitchinterval()
            sys.setswitchinterval(_SWITCH_S)
        _Yielding.count += 1
    try:
        yield
    finally:
        with _Yielding.lock:
            _Yielding.count -= 1
            if not _Yielding.count:
                sys.setswitchinterval(_Yielding.before_s)


class ShadowSearches:
    """One thread that searches while no answer is under way. What finds the queue full, or waits too long for such a
    moment, is dropped and counted."""

    def __init__(self, metrics: Metrics, pool: Pool) -> None:
        self._metrics, self._pool = metrics, pool
        self._waiting: deque[tuple[float, Answered]] = deque()
        self._wake, self._ends = threading.Event(), False
        self._thread: threading.Thread | None = None

    def put(self, answered: Answered) -> None:
        """Take a search, or drop it; returns at once."""
        waiting = list(self._waiting)
        held_bytes = sum(each.image_bytes for _, each in waiting) + answered.image_bytes
        if len(waiting) >= _QUEUED or held_bytes > _QUEUED_BYTES:
            self._count(answered, "dropped")
            return
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="shadow", daemon=True)
            self._thread.start()
        self._waiting.append((time.monotonic(), answered))
        self._wake.set()

    def close(self) -> None:
        self._ends = True
        self._wake.set()
        if self._thread is not None:
            self._thread.join(timeout=10)

    def _count(self, answered: Answered, outcome: str) -> None:
        self._metrics.shadows.labels(answered.shadow.versions.model, outcome).inc()

    def _run(self) -> None:
        while not self._ends:
            self._wake.wait()
            self._wake.clear()
            while self._waiting and not self._ends:
                since, answered = self._waiting[0]
                if time.monotonic() > since + _WAITS_S:
                    self._waiting.popleft()
                    self._count(answered, "dropped")
                elif self._pool.idle:
                    self._waiting.popleft()
                    self._search(answered)
                else:
                    time.sleep(_LOOKS_EVERY_S)

    def _search(self, answered: Answered) -> None:
        model = answered.shadow.versions.model
        started = time.perf_counter()
        try:
            with yielding():
                outcome = answered.shadow.core.search(answered.request)
        except Exception:  # the shadow's own failure is never the service's
            _LOG.exception("shadow search of %s failed", answered.request_id)
            self._count(answered, "failed")
            return
        seconds = time.perf_counter() - started
        products = [hit.product_id for hit in outcome.hits]
        overlap = overlap_of(answered.products, products, min(_COMPARED, answered.request.k))
        self._count(answered, "answered" if products else "nothing")
        self._metrics.shadow_seconds.labels(model).observe(seconds)
        self._metrics.shadow_overlap.labels(model).observe(overlap)
        record = QueryRecord(
            answered.request_id,
            answered.request.query,
            datetime.now(UTC),
            answered.client,
            products,
            {
                "model": model,
                "index": answered.shadow.versions.index,
                "scores": [round(hit.score, 6) for hit in outcome.hits],
                "outcome": outcome.refusal.code if outcome.refusal is not None and not products else "answered",
                "timings": {"total_ms": round(seconds * 1000, 3)},
                "answered_by": answered.model,
                "answered_hit_ids": list(answered.products),
                "answered_total_ms": answered.total_ms,
                "overlap_at_10": round(overlap, 4),
            },
        )
        answered.log.put_shadow(record)


def overlap_of(shown: tuple[str, ...] | list[str], other: tuple[str, ...] | list[str], count: int) -> float:
    """Share of the first ``count`` products that both have, of the longer list; 1 where both are empty."""
    first, second = set(shown[:count]), set(other[:count])
    longer = max(len(first), len(second))
    return len(first & second) / longer if longer else 1.0
