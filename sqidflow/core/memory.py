"""Peak resident memory of a process, by sampling."""

from __future__ import annotations

import threading

SAMPLING_S = 0.05


class PeakMemory:
    """The highest resident memory of a process since ``reset``, in MB, sampled every 50 ms by a thread.

    ``pid`` is the process to watch; None means this process.
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
            return int(self._process.memory_info().rss)
        except self._gone:  # the process has ended: the peak so far is the result
            return 0

    def _sample(self) -> None:
        while not self._stop.wait(SAMPLING_S):
            self._peak = max(self._peak, self._now())

    def reset(self) -> None:
        self._peak = self._now()

    @property
    def peak_rss_mb(self) -> float:
        return max(self._peak, self._now()) / 2**20
