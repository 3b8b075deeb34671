"""What is asked of other stores: it never holds up a search, and is as new as the store."""

from __future__ import annotations

import os
import shutil
import socket
import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from sqidflow.core.settings import load_settings
from sqidflow.core.workdir import Workdir
from sqidflow.search.api.app import create_app
from sqidflow.search.feature_lookup import FeatureLookup, bounded
from tests.api.conftest import problem, product_of
from tests.command_line import wait_until


@pytest.fixture
def silent_redis() -> Iterator[socket.socket]:
    """Something that accepts connections and never answers, until it is closed."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listening:
        yield listening


def asking(workdir: Path, redis: socket.socket, query: str = "") -> TestClient:
    """The application with a feature store in ``redis``."""
    url = f"redis://127.0.0.1:{redis.getsockname()[1]}/0{query}"
    settings = load_settings(workdir, ["search.cache_entries=0"], {"SQIDFLOW_REDIS_URL": url})
    return TestClient(create_app(Workdir(workdir), settings))


def test_redis_that_hangs_is_given_up(indexed_copy: Path, facets, silent_redis: socket.socket) -> None:
    product = product_of(facets["sample_pictures"][0])
    with asking(indexed_copy, silent_redis) as client:
        problem(client.get(f"/features/{product}"), 503)


def test_redis_that_hangs_stops_no_search(
    indexed_copy: Path, facets, title: str, silent_redis: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Look-ups hang until the test lets go of Redis; searches are answered meanwhile."""
    monkeypatch.setattr("sqidflow.search.api.pool._WAITING_LOOKUPS", 2)
    product = product_of(facets["sample_pictures"][0])
    hanging = "?socket_timeout=600"
    with asking(indexed_copy, silent_redis, hanging) as client, ThreadPoolExecutor(8) as threads:
        asked = [threads.submit(client.get, f"/features/{product}") for _ in range(8)]
        # More than may wait are turned away at once.
        wait_until(lambda: sum(future.done() for future in asked) >= 5, "five look-ups are turned away")
        for number in range(10):
            assert client.post("/predict", json={"query": f"{title} {number}"}).status_code == 200
        assert not all(future.done() for future in asked)
        silent_redis.close()
        answers = [future.result() for future in asked]
        assert {answer.status_code for answer in answers} == {503}
        assert sum("retry-after" in answer.headers for answer in answers) >= 5


def test_features_are_those_of_the_last_materialization(indexed: Path, facets, tmp_path: Path) -> None:
    product = product_of(facets["sample_pictures"][0])
    for name in ("features", "feast"):
        shutil.copytree(indexed / "artifacts" / name, tmp_path / name)
    lookup = FeatureLookup(tmp_path, None)
    assert lookup.read(product).text
    beside = tmp_path / "feast" / "online.db.part"
    shutil.copyfile(tmp_path / "feast" / "online.db", beside)
    with sqlite3.connect(beside) as connection:
        tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        for (table,) in tables:
            connection.execute(f'DELETE FROM "{table}"')
    connection.close()
    os.replace(beside, tmp_path / "feast" / "online.db")
    assert lookup.read(product).text is None
    lookup.close()


def test_what_reads_the_store_ends_when_it_is_idle_and_leaves_nothing(
    indexed: Path, facets, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    product = product_of(facets["sample_pictures"][0])
    lookup = FeatureLookup(indexed / "artifacts", None, idle_s=0.2)
    first = lookup.read(product)
    wait_until(lambda: lookup.process is None, "the process ends by itself")
    assert list(tmp_path.iterdir()) == []
    assert lookup.read(product) == first  # another is started
    lookup.close()
    assert lookup.process is None


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ("redis://:a%2Fb@host:6379/1", "redis://:a%2Fb@host:6379/1?socket_timeout=2.0"),
        ("rediss://host?ssl_cert_reqs=none", "rediss://host?ssl_cert_reqs=none&socket_timeout=2.0"),
        ("redis://host?socket_timeout=9", "redis://host?socket_timeout=9"),
    ],
)
def test_redis_has_a_time_limit(given: str, wanted: str) -> None:
    assert bounded(given) == wanted
