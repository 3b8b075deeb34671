"""The feature store of a workdir: apply, materialize, online and offline look-ups."""

from __future__ import annotations

import json
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from sqidflow.core import feature_files
from sqidflow.core.errors import FeatureStoreError
from sqidflow.feature_store import materialize, names, store
from sqidflow.feature_store.connection import store_config
from sqidflow.ranking import features
from tests.unit.feature_store.conftest import NEW_YEAR, TIMESTAMP, Sources

CHECKOUT = Path(__file__).resolve().parents[3]
DYING = """
import os, pathlib, sys
from sqidflow.feature_store import engine, store
real = engine._read
def dying(view, *rest):
    for batch in real(view, *rest):
        yield batch
        if view.name == "product_embeddings":
            os.kill(os.getpid(), 9)
engine._read = dying
store.materialize(pathlib.Path(sys.argv[1]), redis_url=sys.argv[2] if len(sys.argv) > 2 else None)
"""
"""A materialization that is killed once the first batch of products is written."""
DYING_AT_COMMIT = """
import os, pathlib, sqlite3, sys
from sqidflow.feature_store import materialize, store
class Dying(sqlite3.Connection):
    def execute(self, sql, *rest):
        if sql == "COMMIT":
            os.kill(os.getpid(), 9)
        return super().execute(sql, *rest)
real = sqlite3.connect
sqlite3.connect = lambda *args, **named: real(*args, **{**named, "factory": Dying})
materialize._CHANGED_PAGES_KB = 1
store.materialize(pathlib.Path(sys.argv[1]))
"""
"""One that is killed when all rows are in the online store's file, some on the disk, and the transaction is open."""


@pytest.fixture
def filled(sources: Sources) -> Sources:
    store.apply(sources.write())
    store.materialize(sources.artifacts)
    return sources


def test_apply_declares_the_views_and_the_versioned_service(sources: Sources) -> None:
    assert store.apply(sources.write())
    feast = store.open_store(sources.artifacts)
    assert {view.name for view in feast.list_feature_views()} == {names.QUERY_VIEW, names.PRODUCT_VIEW}
    assert store.service_features(feast, features.FEATURE_SERVICE) == {
        names.QUERY_VIEW: (features.QUERY_VEC,),
        names.PRODUCT_VIEW: (features.TEXT_VEC, features.IMAGE_VEC, features.HAS_IMAGE),
    }
    assert feast.get_feature_service(features.FEATURE_SERVICE).tags["version"] == "1"


def test_apply_does_nothing_twice_and_replaces_a_damaged_registry(sources: Sources) -> None:
    store.apply(sources.write())
    registry = sources.artifacts / "feast/registry.db"
    before = registry.stat().st_mtime_ns
    assert not store.apply(sources.artifacts)
    assert registry.stat().st_mtime_ns == before
    registry.write_bytes(registry.read_bytes()[:40])
    with pytest.raises(FeatureStoreError, match="cannot be read; run `sqidflow features`"):
        store.open_store(sources.artifacts)
    assert store.apply(sources.artifacts)
    assert len(store.open_store(sources.artifacts).list_feature_views()) == 2


def test_apply_takes_out_what_is_no_longer_defined(sources: Sources) -> None:
    from feast import Entity, FeatureStore

    store.apply(sources.write())
    feast: FeatureStore = store.open_store(sources.artifacts)
    feast.apply([Entity(name="shop", join_keys=["shop_id"])])
    (sources.artifacts / "feast/applied.json").unlink()
    assert store.apply(sources.artifacts)
    found = {entity.name for entity in store.open_store(sources.artifacts).list_entities()}
    assert found == {names.QUERY_ENTITY, names.PRODUCT_ENTITY}


def test_online_gives_the_vectors_bit_for_bit(filled: Sources) -> None:
    feast = store.open_store(filled.artifacts)
    got = store.online_features(feast, names.PRODUCT_VIEW, ["P4", "P3", "nowhere", "P1"])
    assert got.found.tolist() == [True, True, False, True]
    text, image = filled.vectors(1, 4), filled.vectors(2, 4)
    zero = np.zeros(5, np.float32)
    np.testing.assert_array_equal(got.vectors[features.TEXT_VEC], np.stack([text[3], text[2], zero, text[0]]))
    np.testing.assert_array_equal(got.vectors[features.IMAGE_VEC], np.stack([image[3], zero, zero, image[0]]))
    assert got.present[features.IMAGE_VEC].tolist() == [True, False, False, True]
    assert got.scalars[features.HAS_IMAGE].tolist() == [1, 0, 0, 1]
    query = store.online_features(feast, names.QUERY_VIEW, [2])
    np.testing.assert_array_equal(query.vectors[features.QUERY_VEC], filled.vectors(0, 3)[1:2])


def test_online_serves_the_newest_vector_of_an_id(sources: Sources) -> None:
    sources.product_ids = ["P1", "P2", "P1", "P1"]
    sources.product_times = [NEW_YEAR, NEW_YEAR, NEW_YEAR + timedelta(days=2), NEW_YEAR + timedelta(days=1)]
    store.apply(sources.write())
    report = store.materialize(sources.artifacts)
    assert report.rows == {names.QUERY_VIEW: 3, names.PRODUCT_VIEW: 2}
    got = store.online_features(store.open_store(sources.artifacts), names.PRODUCT_VIEW, ["P1"])
    np.testing.assert_array_equal(got.vectors[features.TEXT_VEC][0], sources.vectors(1, 4)[2])


def test_offline_knows_only_what_was_known_then(sources: Sources) -> None:
    sources.product_ids = ["P1", "P2", "P1", "P3"]
    sources.product_times = [NEW_YEAR, NEW_YEAR, NEW_YEAR + timedelta(days=1), NEW_YEAR]
    store.apply(sources.write())
    feast = store.open_store(sources.artifacts)
    moment = timedelta(microseconds=1)
    times = [
        NEW_YEAR - moment,
        NEW_YEAR,
        NEW_YEAR + timedelta(days=1) - moment,
        NEW_YEAR + timedelta(days=1),
        NEW_YEAR + timedelta(days=9),
    ]
    ids = pa.array(["P1"] * 5 + ["P3", "P9"])
    fields = (features.TEXT_VEC, features.IMAGE_VEC, features.HAS_IMAGE)
    stamps = pa.array([*times, NEW_YEAR, NEW_YEAR], TIMESTAMP)
    whole = store.features_as_of(feast, names.PRODUCT_VIEW, fields, ids, stamps)
    text = sources.vectors(1, 4)
    zero = np.zeros(5, np.float32)
    expected = np.stack([zero, text[0], text[0], text[2], text[2], text[3], zero])
    assert whole.found.tolist() == [False, True, True, True, True, True, False]
    np.testing.assert_array_equal(whole.vectors[features.TEXT_VEC], expected)
    assert whole.present[features.IMAGE_VEC].tolist() == [False, True, True, True, True, False, False]
    assert whole.scalars[features.HAS_IMAGE].tolist() == [0, 1, 1, 1, 1, 0, 0]
    in_pieces = store.features_as_of(feast, names.PRODUCT_VIEW, fields, ids, stamps, ids_per_fetch=2)
    np.testing.assert_array_equal(in_pieces.vectors[features.TEXT_VEC], expected)
    assert in_pieces.scalars[features.HAS_IMAGE].tolist() == whole.scalars[features.HAS_IMAGE].tolist()


def test_materialize_is_skipped_until_the_sources_change(filled: Sources) -> None:
    online = filled.artifacts / "feast/online.db"
    before = online.stat().st_mtime_ns
    again = store.materialize(filled.artifacts)
    assert again.cached
    assert again.rows == {names.QUERY_VIEW: 3, names.PRODUCT_VIEW: 4}
    assert online.stat().st_mtime_ns == before
    filled.seed, filled.product_ids = 1, ["P1", "P2", "P3", "P5"]
    store.apply(filled.write())
    assert not store.materialize(filled.artifacts).cached
    got = store.online_features(store.open_store(filled.artifacts), names.PRODUCT_VIEW, ["P1", "P4", "P5"])
    assert got.found.tolist() == [True, False, True]
    np.testing.assert_array_equal(got.vectors[features.TEXT_VEC][0], filled.vectors(1, 4)[0])


def test_a_run_killed_while_it_materializes_leaves_the_old_vectors(filled: Sources) -> None:
    old = filled.vectors(1, 4)[0]
    filled.seed = 1
    store.apply(filled.write())
    killed = subprocess.run([sys.executable, "-c", DYING, str(filled.artifacts)], cwd=CHECKOUT, capture_output=True)
    assert killed.returncode == -9, killed.stderr.decode()
    feast = store.open_store(filled.artifacts)
    got = store.online_features(feast, names.PRODUCT_VIEW, ["P1"])
    np.testing.assert_array_equal(got.vectors[features.TEXT_VEC][0], old)
    report = store.materialize(filled.artifacts)
    assert not report.cached
    got = store.online_features(store.open_store(filled.artifacts), names.PRODUCT_VIEW, ["P1"])
    np.testing.assert_array_equal(got.vectors[features.TEXT_VEC][0], filled.vectors(1, 4)[0])
    assert not list((filled.artifacts / "feast").glob("*.part*"))


def test_what_is_missing_is_said_with_what_to_do(sources: Sources) -> None:
    with pytest.raises(FeatureStoreError, match=r"queries\.parquet: the source .* is missing; run `sqidflow features`"):
        store.apply(sources.artifacts)
    with pytest.raises(FeatureStoreError, match="not applied; run `sqidflow features`"):
        store.open_store(sources.write())
    store.apply(sources.artifacts)
    feast = store.open_store(sources.artifacts)
    with pytest.raises(FeatureStoreError, match="product_embeddings is not materialized; run `sqidflow features`"):
        store.online_features(feast, names.PRODUCT_VIEW, ["P1"])
    with pytest.raises(FeatureStoreError, match=r"no feature service 'ranker_v9' \(known: ranker_v1\)"):
        store.service_features(feast, "ranker_v9")
    with pytest.raises(FeatureStoreError, match="no feature view 'pictures'"):
        store.online_features(feast, "pictures", ["P1"])
    (sources.artifacts / feature_files.FOLDER / feature_files.QUERIES).unlink()
    with pytest.raises(FeatureStoreError, match="source is missing"):
        store.features_as_of(
            feast, names.QUERY_VIEW, (features.QUERY_VEC,), pa.array([1]), pa.array([NEW_YEAR], TIMESTAMP)
        )


def test_the_digest_is_of_the_content(sources: Sources) -> None:
    first = store.sources_digest(sources.write())
    time.sleep(0.01)
    assert store.sources_digest(sources.write()) == first
    sources.seed = 1
    assert store.sources_digest(sources.write()) != first


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("redis://:secret@127.0.0.1:1/0", r"redis://127\.0\.0\.1:1/0: Redis cannot be reached .*SQIDFLOW_REDIS_URL"),
        ("localhost:6379", "not a Redis address"),
        ("redis://:secret/more@127.0.0.1:6379/0", "SQIDFLOW_REDIS_URL: not a Redis address; .*%2F"),
        ("redis://:secret#more@127.0.0.1:6379/0", "SQIDFLOW_REDIS_URL: not a Redis address; .*%23"),
        ("redis://:[secret@127.0.0.1:6379/0", "SQIDFLOW_REDIS_URL: not a Redis address"),
    ],
)
def test_a_redis_that_is_not_there_is_one_line_without_the_password(sources: Sources, url: str, message: str) -> None:
    store.apply(sources.write(), redis_url=url if "cannot be reached" in message else None)
    with pytest.raises(FeatureStoreError, match=message) as caught:
        store.materialize(sources.artifacts, redis_url=url)
    assert "secret" not in str(caught.value) and "more" not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.fixture(scope="module")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    server = shutil.which("redis-server")
    if server is None:
        pytest.skip("no redis-server on this machine")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    folder = tmp_path_factory.mktemp("redis")
    options = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--requirepass", "a,b=1", "--dir", str(folder)]
    process = subprocess.Popen([server, *options], stdout=subprocess.DEVNULL)
    try:
        for _ in range(100):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        yield f"redis://:a%2Cb%3D1@127.0.0.1:{port}/3"
    finally:
        process.terminate()
        process.wait()


def test_redis_serves_the_same_and_forgets_what_left(sources: Sources, redis_url: str) -> None:
    from redis import Redis

    client = Redis.from_url(redis_url)
    client.flushdb()
    store.apply(sources.write(), redis_url=redis_url)
    feast = store.open_store(sources.artifacts, redis_url=redis_url)
    with pytest.raises(FeatureStoreError, match="not materialized"):
        store.online_features(feast, names.PRODUCT_VIEW, ["P1"])
    assert store.materialize(sources.artifacts, redis_url=redis_url).online_store == "redis"
    got = store.online_features(feast, names.PRODUCT_VIEW, ["P3", "P4"])
    np.testing.assert_array_equal(got.vectors[features.TEXT_VEC], sources.vectors(1, 4)[2:])
    assert got.present[features.IMAGE_VEC].tolist() == [False, True]
    assert store.materialize(sources.artifacts, redis_url=redis_url).cached

    # Other vectors under the same timestamps, and a product that is gone.
    sources.seed, sources.product_ids = 1, ["P1", "P2", "P3", "P5"]
    store.apply(sources.write(), redis_url=redis_url)
    assert not store.materialize(sources.artifacts, redis_url=redis_url).cached
    got = store.online_features(feast, names.PRODUCT_VIEW, ["P1", "P4", "P5"])
    assert got.found.tolist() == [True, False, True]
    np.testing.assert_array_equal(got.vectors[features.TEXT_VEC][0], sources.vectors(1, 4)[0])
    assert store.online_features(feast, names.QUERY_VIEW, [1]).found.all()

    client.flushdb()
    assert not store.materialize(sources.artifacts, redis_url=redis_url).cached


def test_both_online_stores_answer_the_same_byte_for_byte(sources: Sources, redis_url: str) -> None:
    """``get_online_features`` of every view, as a client gets it: known, unknown and picture-less ids."""
    from redis import Redis

    Redis.from_url(redis_url).flushdb()
    asked = {
        names.QUERY_VIEW: [{features.QUERY_ID: number} for number in (3, 1, 99, 2)],
        names.PRODUCT_VIEW: [{features.PRODUCT_ID: name} for name in ("P4", "P3", "nowhere", "P1", "P1")],
    }
    answers: dict[str | None, list[bytes]] = {}
    for url in (None, redis_url):
        store.apply(sources.write(), redis_url=url)
        store.materialize(sources.artifacts, redis_url=url)
        feast = store.open_store(sources.artifacts, redis_url=url)
        answers[url] = []
        for view, rows in asked.items():
            wanted = [f"{view}:{item.name}" for item in feast.get_feature_view(view).features]
            answer = feast.get_online_features(features=wanted, entity_rows=rows).proto
            assert sum(len(column.values) for column in answer.results) == len(rows) * (len(wanted) + 1)
            answers[url].append(answer.SerializeToString(deterministic=True))
    assert answers[None] == answers[redis_url]
    assert len(answers[None][1]) > 200, "vectors were answered"


@pytest.fixture(params=["sqlite", "redis"])
def either_store(request: pytest.FixtureRequest) -> str | None:
    """The URL of an empty Redis, or None for sqlite."""
    if request.param == "sqlite":
        return None
    from redis import Redis

    url = request.getfixturevalue("redis_url")
    Redis.from_url(url).flushdb()
    return url


def test_only_what_changed_is_written(
    sources: Sources, either_store: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sqidflow.feature_store import engine

    store.apply(sources.write(), redis_url=either_store)
    first = store.materialize(sources.artifacts, redis_url=either_store)
    assert first.written == first.rows == {names.QUERY_VIEW: 3, names.PRODUCT_VIEW: 4}
    before = sources.vectors(1, 4)

    # P2 has another vector under its old time, P4 is gone, P5 is new; queries as they were.
    sources.product_ids = ["P1", "P2", "P3", "P5"]
    after = before.copy()
    after[1] += 1
    monkeypatch.setattr(sources, "vectors", lambda kind, n: after if kind == 1 else Sources.vectors(sources, kind, n))
    sources.write()
    written = []
    to_protos = engine._to_protos
    monkeypatch.setattr(
        engine, "_to_protos", lambda batch, view: written.extend(batch.column(0).to_pylist()) or to_protos(batch, view)
    )
    second = store.materialize(sources.artifacts, redis_url=either_store)
    assert second.written == {names.QUERY_VIEW: 0, names.PRODUCT_VIEW: 2} and not second.cached
    assert written == ["P2", "P5"]
    assert second.rows == {names.QUERY_VIEW: 3, names.PRODUCT_VIEW: 4}
    feast = store.open_store(sources.artifacts, redis_url=either_store)
    got = store.online_features(feast, names.PRODUCT_VIEW, ["P1", "P2", "P3", "P4", "P5"])
    assert got.found.tolist() == [True, True, True, False, True]
    np.testing.assert_array_equal(got.vectors[features.TEXT_VEC][[0, 1, 2, 4]], after)
    assert store.online_features(feast, names.QUERY_VIEW, [1, 2, 3]).found.all()

    # A state that is not the store's own is not believed: everything is written.
    state = next((sources.artifacts / "feast").glob("materialized_*.parquet"))
    state.write_bytes(state.read_bytes() + b" ")
    sources.seed = 1
    sources.write()
    assert store.materialize(sources.artifacts, redis_url=either_store).written == second.rows


def _many(sources: Sources, changed: bool) -> np.ndarray:
    """Write 400 products, ten of them with other vectors than before; their text vectors."""
    sources.product_ids, sources.product_times = [f"P{at}" for at in range(400)], [NEW_YEAR] * 400
    texts = Sources.vectors(sources, 1, 400)
    texts[100:110] += changed
    sources.vectors = lambda kind, count: texts if kind == 1 else Sources.vectors(sources, kind, count)
    sources.write()
    return texts


@pytest.fixture
def held(sources: Sources) -> np.ndarray:
    """Text vectors of 400 products, which the online store holds."""
    store.apply(sources.write())
    texts = _many(sources, changed=False)
    store.materialize(sources.artifacts)
    return texts.copy()


def test_a_change_leaves_the_file_of_the_online_store_in_its_place(sources: Sources, held: np.ndarray) -> None:
    online = sources.artifacts / "feast/online.db"
    before = online.stat()
    after = _many(sources, changed=True)
    assert store.materialize(sources.artifacts).written[names.PRODUCT_VIEW] == 10
    assert online.stat().st_ino == before.st_ino and online.stat().st_size == before.st_size
    got = store.online_features(store.open_store(sources.artifacts), names.PRODUCT_VIEW, sources.product_ids)
    np.testing.assert_array_equal(got.vectors[features.TEXT_VEC], after)
    assert sorted(file.name for file in online.parent.glob("online.db*")) == ["online.db"]


def test_many_changes_are_written_beside_so_that_readers_need_not_wait(
    sources: Sources, held: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(materialize, "_ALWAYS_IN_PLACE", 5)
    monkeypatch.setattr(materialize, "_CHANGED_IN_PLACE", 0.01)
    online = sources.artifacts / "feast/online.db"
    before = online.stat()
    after = _many(sources, changed=True)
    report = store.materialize(sources.artifacts)
    assert report.written == report.rows and online.stat().st_ino != before.st_ino
    got = store.online_features(store.open_store(sources.artifacts), names.PRODUCT_VIEW, sources.product_ids)
    np.testing.assert_array_equal(got.vectors[features.TEXT_VEC], after)


def test_what_a_store_of_other_features_holds_is_not_believed(filled: Sources) -> None:
    marker = filled.artifacts / "feast/materialized.json"
    said = json.loads(marker.read_text())
    marker.write_text(json.dumps({**said, "digest": "of before", "fields": {**said["fields"], names.PRODUCT_VIEW: []}}))
    report = store.materialize(filled.artifacts)
    assert report.written == report.rows


def test_killed_within_the_change_the_old_vectors_are_served_and_the_next_run_brings_the_new(
    sources: Sources, held: np.ndarray
) -> None:
    marker = sources.artifacts / "feast/materialized.json"
    said = marker.read_bytes()
    new = _many(sources, changed=True)
    command = [sys.executable, "-c", DYING_AT_COMMIT, str(sources.artifacts)]
    for read_between in (True, False):
        killed = subprocess.run(command, cwd=CHECKOUT, capture_output=True)
        assert killed.returncode == -9, killed.stderr.decode()
        assert (sources.artifacts / "feast/online.db-journal").exists()
        if read_between:
            feast = store.open_store(sources.artifacts)
            got = store.online_features(feast, names.PRODUCT_VIEW, sources.product_ids)
            np.testing.assert_array_equal(got.vectors[features.TEXT_VEC], held)
            marker.write_bytes(said)
    store.materialize(sources.artifacts)
    feast = store.open_store(sources.artifacts)
    got = store.online_features(feast, names.PRODUCT_VIEW, sources.product_ids)
    np.testing.assert_array_equal(got.vectors[features.TEXT_VEC], new)
    assert not list((sources.artifacts / "feast").glob("online.db?*"))


def test_the_transaction_spans_one_file_so_that_it_is_undone_wherever_the_folder_is(
    sources: Sources, held: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two files that may be written SQLite keeps a journal that names them by their paths."""
    refused: list[str] = []

    class Trying(sqlite3.Connection):
        def execute(self, sql: str, *rest: object) -> sqlite3.Cursor:
            if sql == "COMMIT":
                try:
                    super().execute("CREATE TABLE fresh.probe (value)")
                except sqlite3.OperationalError as error:
                    refused.append(str(error))
            return super().execute(sql, *rest)

    _many(sources, changed=True)
    real = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda *args, **named: real(*args, **{**named, "factory": Trying}))
    store.materialize(sources.artifacts)
    assert refused == ["attempt to write a readonly database"]


def test_a_state_of_an_older_form_is_not_believed(filled: Sources) -> None:
    import pyarrow.parquet as pq

    from sqidflow.core.digests import file_sha256

    folder = filled.artifacts / "feast"
    state = folder / "materialized_sqlite.parquet"
    older = pq.read_table(state).drop_columns(["stamp"]).rename_columns(["view", "key", "print"])
    pq.write_table(older, state)
    marker = json.loads((folder / "materialized.json").read_text())
    (folder / "materialized.json").write_text(json.dumps({**marker, "state": file_sha256(state)}))
    filled.seed = 1
    filled.write()
    report = store.materialize(filled.artifacts)
    assert report.written == report.rows


def test_redis_killed_halfway_is_filled_by_the_next_run(sources: Sources, redis_url: str) -> None:
    from redis import Redis

    Redis.from_url(redis_url).flushdb()
    store.apply(sources.write(), redis_url=redis_url)
    store.materialize(sources.artifacts, redis_url=redis_url)
    sources.seed = 1
    sources.write()
    killed = subprocess.run(
        [sys.executable, "-c", DYING, str(sources.artifacts), redis_url], cwd=CHECKOUT, capture_output=True
    )
    assert killed.returncode == -9, killed.stderr.decode()
    report = store.materialize(sources.artifacts, redis_url=redis_url)
    assert not report.cached, "half of it must not pass for all"
    feast = store.open_store(sources.artifacts, redis_url=redis_url)
    got = store.online_features(feast, names.PRODUCT_VIEW, ["P1", "P2", "P3", "P4"])
    np.testing.assert_array_equal(got.vectors[features.TEXT_VEC], sources.vectors(1, 4))


@pytest.mark.parametrize("yaml", ["feature_store.yaml", "feature_store_redis.yaml"])
def test_both_yaml_files_are_the_store_that_the_code_opens(
    sources: Sources, yaml: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from feast.repo_config import load_repo_config

    url = "redis://localhost:6379/0"
    monkeypatch.setenv("SQIDFLOW_REDIS_URL", url)
    repo = CHECKOUT / "feature_repo"
    written = load_repo_config(repo, repo / yaml)
    opened = store_config(sources.artifacts, url if "redis" in yaml else None)
    assert written.online_store.type == opened.online_store.type
    assert getattr(written.online_store, "url", None) == getattr(opened.online_store, "url", None)
    assert written.project == opened.project == names.PROJECT
    assert written.offline_store.type == opened.offline_store.type == "duckdb"
    assert written.batch_engine_config == opened.batch_engine_config
    assert (repo / written.registry.path).resolve() == CHECKOUT / "artifacts/feast/registry.db"


def test_feast_commands_work_from_the_repository_folder(sources: Sources, tmp_path: Path) -> None:
    workdir = tmp_path / "checkout"
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(CHECKOUT / "feature_repo", workdir / "feature_repo", ignore=ignored)
    sources.artifacts = workdir / "artifacts"
    sources.write()
    environment = {
        **os.environ,
        "SQIDFLOW_WORKDIR": str(workdir),
        "PYTHONPATH": str(CHECKOUT),
        "PYTHONWARNINGS": "ignore",
    }
    # One process for all commands: each start of Feast takes seconds.
    code = (
        "import sys\n"
        "from click.testing import CliRunner\n"
        "from feast.cli.cli import cli\n"
        "for line in sys.argv[1:]:\n"
        "    answer = CliRunner().invoke(cli, line.split(), catch_exceptions=False)\n"
        "    print(answer.output)\n"
        "    assert answer.exit_code == 0, line\n"
    )
    commands = [
        "apply",
        "feature-views list",
        "feature-services list",
        "materialize-incremental 2030-01-01T00:00:00",
        "get-online-features -f product_embeddings:has_image -e product_id=P1 -e product_id=P3",
    ]
    run = subprocess.run(
        [sys.executable, "-c", code, *commands],
        cwd=workdir / "feature_repo",
        env=environment,
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert "product_embeddings:product_text_vec" in run.stdout
    assert (workdir / "artifacts/feast/registry.db").is_file()
    feast = store.open_store(workdir / "artifacts")
    got = store.online_features(feast, names.PRODUCT_VIEW, ["P2", "P3"])
    np.testing.assert_array_equal(got.vectors[features.TEXT_VEC], sources.vectors(1, 4)[1:3])
    assert got.scalars[features.HAS_IMAGE].tolist() == [1, 0]


def test_the_markers_speak_of_what_is_there(filled: Sources) -> None:
    folder = filled.artifacts / "feast"
    marker = json.loads((folder / "materialized.json").read_text())
    assert marker["digest"] == store.sources_digest(filled.artifacts)
    (folder / "online.db").unlink()
    assert not store.materialize(filled.artifacts).cached


def test_a_store_whose_files_were_deleted_is_filled_again(filled: Sources) -> None:
    for file in (filled.artifacts / "feast").glob("*.db"):
        file.unlink()
    assert store.apply(filled.artifacts)
    report = store.materialize(filled.artifacts)
    assert not report.cached and report.written == report.rows == {names.QUERY_VIEW: 3, names.PRODUCT_VIEW: 4}
    got = store.online_features(store.open_store(filled.artifacts), names.PRODUCT_VIEW, ["P1", "P2", "P3", "P4"])
    assert got.found.all()
    assert store.materialize(filled.artifacts).cached


@pytest.mark.parametrize("damage", ["cut", "head", "row", "emptied"])
def test_a_damaged_online_store_heals(filled: Sources, damage: str) -> None:
    """Also by the advice of the error that reading it gives: delete the file and run `sqidflow features`."""
    import sqlite3

    online = filled.artifacts / "feast/online.db"
    content = online.read_bytes()
    if damage == "row":
        with sqlite3.connect(online) as connection:
            (table,) = connection.execute("SELECT name FROM sqlite_master WHERE name LIKE '%product%'").fetchone()
            key = connection.execute(f'SELECT entity_key FROM "{table}"').fetchone()
            connection.execute(f'DELETE FROM "{table}" WHERE entity_key = ?', key)
        connection.close()
    else:
        online.write_bytes(
            {"cut": content[: len(content) // 2], "head": b"x" * 200 + content[200:], "emptied": b""}[damage]
        )
    store.apply(filled.artifacts)
    report = store.materialize(filled.artifacts)
    assert not report.cached and report.rows == {names.QUERY_VIEW: 3, names.PRODUCT_VIEW: 4}
    got = store.online_features(store.open_store(filled.artifacts), names.PRODUCT_VIEW, ["P1", "P2", "P3", "P4"])
    assert got.found.all()
    np.testing.assert_array_equal(got.vectors[features.TEXT_VEC], filled.vectors(1, 4))


def test_a_damaged_online_store_keeps_no_registry_from_being_applied(filled: Sources) -> None:
    folder = filled.artifacts / "feast"
    (folder / "online.db").write_bytes(b"no database at all, but long enough to be taken for one" * 20)
    (folder / "registry.db").unlink()
    assert store.apply(filled.artifacts)
    assert not store.materialize(filled.artifacts).cached


def test_redis_that_lost_a_row_is_filled_again(sources: Sources, redis_url: str) -> None:
    from redis import Redis

    client = Redis.from_url(redis_url)
    client.flushdb()
    store.apply(sources.write(), redis_url=redis_url)
    store.materialize(sources.artifacts, redis_url=redis_url)
    key = next(key for key in client.scan_iter() if client.type(key) == b"hash")
    client.delete(key)
    assert not store.materialize(sources.artifacts, redis_url=redis_url).cached
    assert client.exists(key)


def test_a_redis_that_hangs_is_one_line(sources: Sources, monkeypatch: pytest.MonkeyPatch) -> None:
    from sqidflow.feature_store import redis_url as bounds

    monkeypatch.setattr(bounds, "ANSWER_TIMEOUT_S", 0.2)
    store.apply(sources.write())
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes connections and never answers
        url = f"redis://127.0.0.1:{silent.getsockname()[1]}/0"
        with pytest.raises(FeatureStoreError, match="Redis cannot be reached .*Timeout") as caught:
            store.materialize(sources.artifacts, redis_url=url)
    assert "\n" not in caught.value.message
