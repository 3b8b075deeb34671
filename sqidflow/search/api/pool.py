"""Work in threads, at most so much at a time and so much waiting."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from fastapi import HTTPException

from sqidflow.search.api.metrics import Metrics

T = TypeVar("T")
_WAITING_LOOKUPS = 16


class Pool:
    """``threads`` at work, ``queue`` waiting; what is more is refused at once by raising what ``refusal`` makes."""

    def __init__(self, threads: int, queue: int, refusal: Callable[[], HTTPException], name: str) -> None:
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._most, self._under_way, self._refusal = threads + queue, 0, refusal

    async def run(self, work: Callable[[], T]) -> T:
        """The result of ``work``; raises the refusal where too many wait."""
        if self._under_way >= self._most:
            raise self._refusal()
        self._under_way += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._executor, work)
        finally:
            self._under_way -= 1

    @property
    def idle(self) -> bool:
        return self._under_way == 0

    def close(self) -> None:
        self._executor.shutdown(wait=True, cancel_futures=True)


def search_pool(threads: int, queue: int, metrics: Metrics) -> Pool:
    """For searches: 429 where too many wait."""

    def refusal() -> HTTPException:
        metrics.overload.inc()
        return HTTPException(429, "Too many searches are waiting.", {"Retry-After": "1"})

    return Pool(threads, queue, refusal, "search")


def lookup_pool() -> Pool:
    """For look-ups in stores of others, which may be slow or hang: one at a time, 503 where more than a few wait."""

    def refusal() -> HTTPException:
        return HTTPException(503, "The stores that are asked for this are busy.", {"Retry-After": "5"})

    return Pool(1, _WAITING_LOOKUPS, refusal, "lookup")
