"""Time and memory of a verb in a separate process."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sqidflow.core.errors import PipelineError
from sqidflow.core.memory import PeakMemory
from sqidflow.core.settings import WORKDIR_VARIABLE


@dataclass(frozen=True)
class Measured:
    """What a verb printed on stdout, its seconds of wall and of processor time, and its peak resident memory in MB."""

    out: str
    seconds: float
    cpu_seconds: float
    peak_rss_mb: float


def measure_verb(arguments: Sequence[str], workdir: Path) -> Measured:
    """Run a verb of the command line in a process of its own.

    Raises:
        PipelineError: the verb failed; carries its last line.
    """
    environment = {**os.environ, WORKDIR_VARIABLE: str(workdir)}
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        started, before = time.perf_counter(), os.times()
        process = subprocess.Popen(
            [sys.executable, "-m", "sqidflow.cli", *arguments], stdout=out, stderr=err, env=environment
        )
        # Sampled, because the kernel's maximum includes the memory of this process at the fork.
        with PeakMemory(process.pid) as memory:
            process.wait()
        seconds, after = time.perf_counter() - started, os.times()
        # Of all processes that ended meanwhile: a caller runs one at a time.
        cpu_seconds = sum(getattr(after, part) - getattr(before, part) for part in ("children_user", "children_system"))
        if process.returncode:
            err.seek(0)
            lines = err.read().decode(errors="replace").strip().splitlines() or ["no message"]
            raise PipelineError(lines[-1], where=f"sqidflow {' '.join(arguments)}", hint="fix this error first")
        out.seek(0)
        return Measured(out.read().decode(), seconds, cpu_seconds, memory.peak_rss_mb)
