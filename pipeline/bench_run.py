"""The bench of the everyday commands: each verb of `make run` on the sample, first and again from the cache."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pipeline.errors import PipelineError
from pipeline.machine import describe
from pipeline.settings import WORKDIR_VARIABLE

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


def measure(arguments: Sequence[str], workdir: Path) -> tuple[float, float]:
    """Run a verb in a process of its own; seconds of wall time, and its peak resident memory in MB.

    Raises:
        PipelineError: the verb failed; carries its last line.
    """
    environment = {**os.environ, WORKDIR_VARIABLE: str(workdir)}
    started = time.perf_counter()
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "pipeline.cli", *arguments], stdout=output, stderr=output, env=environment
        )
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.perf_counter() - started
        if process.returncode:
            output.seek(0)
            lines = output.read().decode(errors="replace").strip().splitlines() or ["no message"]
            raise PipelineError(lines[-1], where=f"bench run, {' '.join(arguments)}", mend="mend that first")
    return seconds, usage.ru_maxrss / 1024


def bench(say: Callable[[str], None]) -> dict[str, Any]:
    """Every verb once, in a fresh folder; the document of ``bench run --json``."""
    rows = []
    with tempfile.TemporaryDirectory(prefix="sqidflow-bench-") as folder:
        for step, arguments in VERBS:
            seconds, peak_rss_mb = measure(arguments, Path(folder))
            say(f"{step}: {seconds:.1f} s")
            rows.append(
                {
                    "step": step,
                    "seconds": round(seconds, 2),
                    "rows_per_second": None,
                    "peak_rss_mb": round(peak_rss_mb),
                }
            )
    first = sum(row["seconds"] for row in rows[1:5])
    again = sum(row["seconds"] for row in rows[5:])
    return {"machine": describe(), "rows": rows, "first_seconds": round(first, 1), "again_seconds": round(again, 1)}
