"""Time and memory of a verb in a process of its own, and of what runs in this one."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import PipelineError
from pipeline.settings import WORKDIR_VARIABLE

SAMPLING_S = 0.05


@dataclass(frozen=True)
class Measured:
    """What a verb printed on stdout, its seconds of wall time, and its peak resident memory in MB."""

    out: str
    seconds: float
    peak_rss_mb: float


def measure_verb(arguments: Sequence[str], workdir: Path) -> Measured:
    """Run a verb of the command line in a process of its own.

    Raises:
        PipelineError: the verb failed; carries its last line.
    """
    environment = {**os.environ, WORKDIR_VARIABLE: str(workdir)}
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        started = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, "-m", "pipeline.cli", *arguments], stdout=out, stderr=err, env=environment
        )
        # Not the kernel's own maximum: it counts what this process held when it started the other.
        with PeakMemory(process.pid) as memory:
            process.wait()
        seconds = time.perf_counter() - started
        if process.returncode:
            err.seek(0)
            lines = err.read().decode(errors="replace").strip().splitlines() or ["no message"]
            raise PipelineError(lines[-1], where=f"sqidflow {' '.join(arguments)}", mend="mend that first")
        out.seek(0)
        return Measured(out.read().decode(), seconds, memory.peak_rss_mb)


class PeakMemory:
    """The highest resident memory of a process since ``reset``, in MB, sampled every 50 ms by a thread.

    ``pid`` None: of this process.
    """

    def __init__(self, pid: int | None = None) -> None:
        import psutil

        self._process = psutil.Process(pid)
        self._gone = psutil.Error
        self._peak = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def __enter__(self) -> PeakMemory:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _now(self) -> int:
        try:
            return self._process.memory_info().rss
        except self._gone:  # the process has ended: what was seen of it stands
            return 0

    def _sample(self) -> None:
        while not self._stop.wait(SAMPLING_S):
            self._peak = max(self._peak, self._now())

    def reset(self) -> None:
        self._peak = self._now()

    @property
    def peak_rss_mb(self) -> float:
        return max(self._peak, self._now()) / 2**20
