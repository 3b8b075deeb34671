"""Answers that are kept: how many, how long, and what happens when Redis goes."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest

from sqidflow.core.errors import SettingsError
from sqidflow.core.settings import load_settings
from sqidflow.search.cache import MemoryCache, RedisCache, key_of, open_cache


def test_keys_differ_with_every_part() -> None:
    keys = {key_of("a", 1), key_of("a", "1"), key_of("a1"), key_of("a", 1, None), key_of("b", 1), key_of("\ud800")}
    assert len(keys) == 6 and key_of("a", 1) in keys


def test_the_oldest_unused_answer_goes_first() -> None:
    cache = MemoryCache(2, 60)
    cache.put("1", b"one")
    cache.put("2", b"two")
    assert cache.get("1") == b"one"
    cache.put("3", b"three")
    assert (cache.get("1"), cache.get("2"), cache.get("3")) == (b"one", None, b"three")


def test_an_answer_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    cache = MemoryCache(2, 60)
    cache.put("1", b"one")
    later = time.monotonic() + 61
    monkeypatch.setattr("sqidflow.search.cache.time.monotonic", lambda: later)
    assert cache.get("1") is None


def test_nothing_is_kept_where_none_is_wanted() -> None:
    cache = MemoryCache(0, 60)
    cache.put("1", b"one")
    assert cache.get("1") is None


@pytest.mark.parametrize("url", ["localhost:6379", "redis://:zeb/ra@host", "redis://host:port", "http://host"])
def test_a_url_that_is_none_is_a_setting_to_mend(tmp_path: Path, url: str) -> None:
    settings = load_settings(tmp_path, (), {"SQIDFLOW_CACHE_URL": url})
    with pytest.raises(SettingsError) as caught:
        open_cache(settings)
    told = "".join(traceback.format_exception(caught.value))
    assert "SQIDFLOW_CACHE_URL" in caught.value.message and "zeb" not in told and url not in told


@pytest.fixture
def redis_server(tmp_path: Path) -> Callable[[], tuple[str, subprocess.Popen]]:
    if shutil.which("redis-server") is None:
        pytest.skip("no redis-server on this machine")
    started: list[subprocess.Popen] = []

    def start() -> tuple[str, subprocess.Popen]:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        process = subprocess.Popen(
            ["redis-server", "--port", str(port), "--save", "", "--dir", str(tmp_path)], stdout=subprocess.DEVNULL
        )
        started.append(process)
        for _ in range(100):
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                return f"redis://127.0.0.1:{port}/0", process
            except OSError:
                time.sleep(0.05)
        raise AssertionError("redis-server did not start")

    yield start
    for process in started:
        process.kill()
        process.wait()


def test_redis_keeps_answers_for_all_and_its_end_costs_nothing(redis_server) -> None:
    url, process = redis_server()
    first, second = (RedisCache(url, 60, MemoryCache(10, 60)) for _ in range(2))
    first.put("k", b"answer")
    assert second.get("k") == b"answer" and second.get("other") is None
    process.kill()
    process.wait()
    assert first.get("k") is None  # gone with Redis, no error
    first.put("k2", b"again")
    assert first.get("k2") == b"again"  # kept in memory meanwhile


def test_redis_that_was_never_there() -> None:
    cache = RedisCache("redis://127.0.0.1:1/0", 60, MemoryCache(10, 60))
    cache.put("k", b"answer")
    assert cache.get("k") == b"answer"
