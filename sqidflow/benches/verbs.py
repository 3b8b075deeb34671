"""Benchmark of each verb of `make run` on the sample, without and with the cache."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sqidflow.benches.machine import describe
from sqidflow.benches.measure import measure_verb

VERBS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("--help", ("--help",)),
    ("data sample", ("data", "sample")),
    ("features", ("features",)),
    ("run", ("run",)),
    ("evaluate", ("evaluate",)),
    ("features, again", ("features",)),
    ("run, again", ("run",)),
    ("evaluate, again", ("evaluate",)),
)


def bench(say: Callable[[str], None]) -> dict[str, Any]:
    """Run every verb in a new folder; returns the document of ``bench run --json``."""
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="sqidflow-bench-") as folder:
        for step, arguments in VERBS:
            verb = measure_verb(arguments, Path(folder))
            say(f"{step}: {verb.seconds:.1f} s")
            rows.append(
                {
                    "step": step,
                    "seconds": round(verb.seconds, 2),
                    "rows_per_second": None,
                    "peak_rss_mb": round(verb.peak_rss_mb),
                }
            )
    first = sum(row["seconds"] for row in rows[1:5])
    again = sum(row["seconds"] for row in rows[5:])
    return {"machine": describe(), "rows": rows, "first_seconds": round(first, 1), "again_seconds": round(again, 1)}
