"""Answers that were given before: in Redis where it is configured, else in this process; never a reason to fail."""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections import OrderedDict
from typing import Any, Protocol

from sqidflow.core.errors import SettingsError
from sqidflow.core.settings import CACHE_URL_VARIABLE, Settings

_LOG = logging.getLogger(__name__)
_PREFIX = "sqidflow:search:"
_REDIS_TIMEOUT_S = 0.1
_PAUSE_S = 5.0


def key_of(*parts: object) -> str:
    """A key over all that decides an answer; the versions of model and index are to be among it."""
    return hashlib.sha256("\0".join(map(repr, parts)).encode("utf-8", "surrogatepass")).hexdigest()


class AnswerCache(Protocol):
    """Bytes by key. ``get`` is None for what is not there, whatever the reason."""

    name: str

    def get(self, key: str) -> bytes | None: ...

    def put(self, key: str, value: bytes) -> None: ...

    def close(self) -> None: ...


class MemoryCache:
    """The most recent answers, in this process."""

    name = "memory"

    def __init__(self, entries: int, seconds: float) -> None:
        self._entries, self._seconds = entries, seconds
        self._kept: OrderedDict[str, tuple[float, bytes]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: str) -> bytes | None:
        with self._lock:
            found = self._kept.get(key)
            if found is None:
                return None
            if found[0] < time.monotonic():
                del self._kept[key]
                return None
            self._kept.move_to_end(key)
            return found[1]

    def put(self, key: str, value: bytes) -> None:
        if not self._entries:
            return
        with self._lock:
            self._kept[key] = (time.monotonic() + self._seconds, value)
            self._kept.move_to_end(key)
            while len(self._kept) > self._entries:
                self._kept.popitem(last=False)

    def close(self) -> None:
        self._kept.clear()


class RedisCache:
    """Answers that all workers share. While Redis is away, after each failure for some seconds, memory serves."""

    name = "redis"

    def __init__(self, url: str, seconds: int, fallback: MemoryCache) -> None:
        """Raises SettingsError where ``url`` is none of Redis."""
        import redis

        try:
            self._client: Any = redis.Redis.from_url(
                url, socket_timeout=_REDIS_TIMEOUT_S, socket_connect_timeout=_REDIS_TIMEOUT_S, retry=None
            )
        except ValueError:
            # Not "from": the original quotes what it took for a port, which may be a part of the password.
            raise SettingsError(
                "this is not the URL of a Redis",
                where=CACHE_URL_VARIABLE,
                hint="write redis://[:password@]host:port/db, in the password %2F for a slash, %40 for an @",
            ) from None
        self._failures = (redis.RedisError, OSError)
        self._seconds, self._fallback = seconds, fallback
        self._away_until = 0.0

    def get(self, key: str) -> bytes | None:
        if time.monotonic() >= self._away_until:
            try:
                answer: bytes | None = self._client.get(_PREFIX + key)
                return answer
            except self._failures as error:
                self._gone(error)
        return self._fallback.get(key)

    def put(self, key: str, value: bytes) -> None:
        if time.monotonic() >= self._away_until:
            try:
                self._client.set(_PREFIX + key, value, ex=self._seconds)
                return
            except self._failures as error:
                self._gone(error)
        self._fallback.put(key, value)

    def _gone(self, error: Exception) -> None:
        self._away_until = time.monotonic() + _PAUSE_S
        _LOG.warning("cache: Redis is away (%s): answers are kept in memory", type(error).__name__)

    def close(self) -> None:
        self._client.close()


def open_cache(settings: Settings) -> AnswerCache:
    """The cache that the settings ask for; connects to nothing yet. Raises SettingsError where its URL is none."""
    memory = MemoryCache(settings.search.cache_entries, settings.search.cache_seconds)
    if settings.cache_url is None or not settings.search.cache_entries:
        return memory
    return RedisCache(settings.cache_url.get_secret_value(), settings.search.cache_seconds, memory)
