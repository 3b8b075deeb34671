"""What Prometheus reads."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_SECONDS = (0.001, 0.002, 0.004, 0.006, 0.008, 0.01, 0.015, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
_SHARES = tuple(tenth / 10 for tenth in range(11))
MULTIPROCESS_DIR = "PROMETHEUS_MULTIPROC_DIR"
"""prometheus_client's variable: where workers leave their numbers for whoever is asked."""


class Metrics:
    """The service's measures, in a registry of their own."""

    def __init__(self, monitoring: Path | None = None) -> None:
        """``monitoring``: the file of the last report on what was searched."""
        self._monitoring = monitoring
        self.registry = CollectorRegistry()
        # Looked at once: Feast sets the variable too, when it is imported for a look-up.
        self._several_workers = bool(os.environ.get(MULTIPROCESS_DIR))
        own: dict[str, Any] = {"registry": self.registry, "namespace": "sqidflow"}
        self.requests = Histogram("request_seconds", "Time to answer", ["path", "status"], buckets=_SECONDS, **own)
        self.parts = Histogram("search_part_seconds", "Time of a part of a search", ["part"], buckets=_SECONDS, **own)
        self.searches = Counter("searches", "Searches by what came of them", ["variant", "outcome", "model"], **own)
        self.answers = Histogram("answer_seconds", "Time of a search", ["model"], buckets=_SECONDS, **own)
        self.shadows = Counter("shadow_searches", "Searches of the shadow model", ["model", "outcome"], **own)
        self.shadow_seconds = Histogram(
            "shadow_seconds", "Time of a search of the shadow model", ["model"], buckets=_SECONDS, **own
        )
        self.shadow_overlap = Histogram(
            "shadow_overlap_at_10", "Share of the first ten products that both models have", ["model"],
            buckets=_SHARES, **own,
        )  # fmt: skip
        self._serving = Gauge(
            "serving", "1 for the version that is served, canary or shadow", ["role", "model"],
            multiprocess_mode="livemax", **own,
        )  # fmt: skip
        self._roles: dict[str, str] = {}
        self.cache = Counter("cache", "Look-ups in the cache", ["result"], **own)
        self.overload = Counter("overload", "Searches turned away because too many waited", **own)
        self.feedback = Counter("feedback", "Feedback taken", ["kind"], **own)
        self.duplicates = Counter("feedback_duplicates", "Feedback that was delivered again", ["kind"], **own)
        self.rejected = Counter("events_rejected", "Events that were not stored", ["code"], **own)
        self.clock_off = Counter("events_clock_off", "Events whose client's clock is off by five minutes", **own)
        self.log_dropped = Gauge("query_log_dropped", "Searches the query log lost", multiprocess_mode="livesum", **own)
        self.products = Gauge("products", "Products in the index", multiprocess_mode="max", **own)

    def serve(self, roles: Mapping[str, str], products: int) -> None:
        """Note which version has which role, and how many products the served index has."""
        for role, model in self._roles.items():
            self._serving.labels(role, model).set(0)
        for role, model in roles.items():
            self._serving.labels(role, model).set(1)
        self._roles = dict(roles)
        self.products.set(products)

    def text(self) -> bytes:
        """The exposition format; of all workers where there are several."""
        if self._several_workers:
            from prometheus_client.multiprocess import MultiProcessCollector

            registry = CollectorRegistry()
            MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
            return generate_latest(registry) + self._of_the_report()
        return generate_latest(self.registry) + self._of_the_report()

    def _of_the_report(self) -> bytes:
        """Gauges of the last report; nothing where there is none that can be read."""
        if self._monitoring is None:
            return b""
        try:
            return generate_latest(report_gauges(json.loads(self._monitoring.read_bytes())))
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return b""


def report_gauges(report: Mapping[str, Any]) -> CollectorRegistry:
    """A report of `sqidflow monitor` as gauges, with the time of which it is."""
    registry = CollectorRegistry()
    own: dict[str, Any] = {"registry": registry, "namespace": "sqidflow", "subsystem": "monitoring"}
    written = datetime.fromisoformat(report["created"]).timestamp()
    Gauge("report_timestamp_seconds", "When the last report was written", **own).set(written)
    Gauge("searches", "Searches of the last report", **own).set(report["searches"])
    for name, meaning in (
        ("nothing_fits_share", "Share of searches to which nothing fits"),
        ("without_result_share", "Share of searches without a result"),
        ("abandoned_share", "Share of answers shown that were left without a click"),
    ):
        if report[name] is not None:
            Gauge(name, meaning, **own).set(report[name])
    drift = Gauge("drift", "Distance from the training data", ["check"], **own)
    threshold = Gauge("drift_threshold", "Distance that chance reaches", ["check"], **own)
    for check in report["drift"]:
        if check["value"] is not None:
            drift.labels(check["name"]).set(check["value"])
            threshold.labels(check["name"]).set(check["threshold"])
    alarm = Gauge("alarm", "1 for each alarm of the last report", ["name"], **own)
    for each in report["alarms"]:
        alarm.labels(each["name"]).set(1)
    return registry
