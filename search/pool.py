"""Searches in threads, at most so many at a time and so many waiting."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from fastapi import HTTPException

from search.metrics import Metrics

T = TypeVar("T")


class Pool:
    """``threads`` at work, ``queue`` waiting; what is more is refused at once."""

    def __init__(self, threads: int, queue: int, metrics: Metrics) -> None:
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="search")
        self._most, self._under_way, self._metrics = threads + queue, 0, metrics

    async def run(self, work: Callable[[], T]) -> T:
        """The result of ``work``.

        Raises:
            HTTPException: 429 where too many wait.
        """
        if self._under_way >= self._most:
            self._metrics.overload.inc()
            raise HTTPException(429, "Too many searches are waiting.", {"Retry-After": "1"})
        self._under_way += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._executor, work)
        finally:
            self._under_way -= 1

    def close(self) -> None:
        self._executor.shutdown(wait=True, cancel_futures=True)
