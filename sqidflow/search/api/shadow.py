"""Searches of a second model beside the answers: measured and logged, never shown, and never waited for."""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections import deque
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqidflow.search.api.metrics import Metrics
from sqidflow.search.api.pool import Pool
from sqidflow.search.engine import Request
from sqidflow.search.query_log import QueryLog
from sqidflow.search.state import Variant

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
    model: str
    products: tuple[str, ...]
    total_ms: float

    @property
    def image_bytes(self) -> int:
        return len(self.request.image or b"")


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
            # With Python's 5 ms an answer that begins meanwhile would wait that long for the interpreter.
            sys.setswitchinterval(_SWITCH_S)
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
        line: dict[str, Any] = {
            "at": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "shadow_of": answered.request_id,
            "query": answered.request.query,
            "model": model,
            "index": answered.shadow.versions.index,
            "answered_by": answered.model,
            "results": [[hit.product_id, round(hit.score, 6)] for hit in outcome.hits],
            "no_answer": outcome.refusal.code if outcome.refusal is not None and not products else None,
            "overlap_at_10": round(overlap, 4),
            "total_ms": round(seconds * 1000, 3),
            "answered_total_ms": answered.total_ms,
        }
        answered.log.put_shadow(line)


def overlap_of(shown: tuple[str, ...] | list[str], other: tuple[str, ...] | list[str], count: int) -> float:
    """Share of the first ``count`` products that both have, of the longer list; 1 where both are empty."""
    first, second = set(shown[:count]), set(other[:count])
    longer = max(len(first), len(second))
    return len(first & second) / longer if longer else 1.0
