"""The feature store of a workdir: apply the definitions, materialize, look up online, join offline.

Everything stands in ``artifacts/feast``: ``registry.db`` (what is defined), ``online.db`` (the latest vectors, unless
Redis serves them), two small JSON files that say what was applied and what was materialized, each written last, and a
parquet file a store with the fingerprint of every row in it.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import logging
import os
import shutil
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sqidflow.core import feature_files
from sqidflow.core.errors import ESCAPE, DiskFullError, FeatureStoreError, shown_url
from sqidflow.core.settings import CHECKOUT
from sqidflow.feature_store import names
from sqidflow.ranking import features

if TYPE_CHECKING:
    import pyarrow as pa
    from feast import FeatureStore, FeatureView, RepoConfig

_logger = logging.getLogger(__name__)

_BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)
_REDIS_URL_VARIABLE = "SQIDFLOW_REDIS_URL"
_REDIS_URL_FORM = "redis://[:password@]host:port/db"
_REDIS_MARKER = f"{names.PROJECT}:materialized"


@dataclass(frozen=True)
class MaterializeReport:
    """What stands in the online store: ``rows`` by view, the sources' ``digest``, and whether it was there before.
    ``written``: rows by view that had changed and were written now."""

    online_store: str
    digest: str
    rows: Mapping[str, int]
    seconds: float
    cached: bool
    written: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Features:
    """The features of n ids, in the order in which they were asked for.

    ``found`` bool [n]; ``vectors`` name -> float32 [n, d], zeros where there is none; ``present`` name -> bool [n],
    whether there is one (a product without a picture is found, its picture vector is not present); ``scalars``
    name -> int64 [n], zero where there is none.
    """

    found: np.ndarray
    vectors: Mapping[str, np.ndarray]
    present: Mapping[str, np.ndarray]
    scalars: Mapping[str, np.ndarray] = field(default_factory=dict)


def features_dir(artifacts_dir: Path) -> Path:
    """Where the parquet sources of a workdir lie."""
    return artifacts_dir / feature_files.FOLDER


def feast_dir(artifacts_dir: Path) -> Path:
    """Where the registry and the online store of a workdir lie."""
    return artifacts_dir / "feast"


def sources_digest(artifacts_dir: Path) -> str:
    """SHA-256 over the content of both parquet sources.

    Raises:
        FeatureStoreError: a source is missing.
    """
    digest = hashlib.sha256()
    for name in (feature_files.QUERIES, feature_files.PRODUCTS):
        with _source(artifacts_dir, name).open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def open_store(artifacts_dir: Path, *, redis_url: str | None = None) -> FeatureStore:
    """The applied store of a workdir; online it reads Redis where ``redis_url`` is given, else sqlite.

    Raises:
        FeatureStoreError: the store was never applied, or its registry cannot be read.
    """
    config = _config(artifacts_dir, redis_url)
    registry = Path(config.registry.path)
    if not registry.exists():
        raise FeatureStoreError("the feature store is not applied", where=registry, hint=names.HINT)
    if not _readable(registry):
        raise FeatureStoreError("the feature registry cannot be read", where=registry, hint=names.HINT)
    return _feature_store(config)


def apply(artifacts_dir: Path, *, redis_url: str | None = None) -> bool:
    """Make the registry say what ``definitions()`` says; definitions that are no longer there are taken out.

    The registry is written beside and renamed, so that a killed run leaves the old one.

    Returns:
        False where nothing had changed and nothing was written.

    Raises:
        FeatureStoreError: a source is missing, or Redis cannot be reached.
    """
    from sqidflow.feature_store.definitions import definitions

    for name in (feature_files.QUERIES, feature_files.PRODUCTS):
        _source(artifacts_dir, name)
    folder = feast_dir(artifacts_dir)
    folder.mkdir(parents=True, exist_ok=True)
    config = _config(artifacts_dir, redis_url)
    defined = definitions(features_dir(artifacts_dir))
    registry, marker = Path(config.registry.path), folder / "applied.json"
    stamp = {"definitions": _definitions_digest(defined.objects), "online_store": config.online_store.type}
    if _read_json(marker) == stamp and _readable(registry):
        return False
    marker.unlink(missing_ok=True)
    with _registry_written_beside(config) as beside, _store_errors(redis_url, folder):
        store = _feature_store(beside)
        store.apply(defined.objects, objects_to_delete=_gone(store, defined.objects), partial=False)
    _write_json(marker, stamp)
    return True


def materialize(artifacts_dir: Path, *, redis_url: str | None = None, force: bool = False) -> MaterializeReport:
    """Bring the latest vectors of all views into the online store, unless they are there already.

    sqlite is written beside and renamed: readers see the old vectors or the new ones, never both, and a killed run
    leaves the old. Redis is written in place; ids that left the sources are deleted. Memory is bounded by the ids
    and one batch of rows. Where the store holds an older state whole, only rows that differ from it are written; with
    ``force`` all of them.

    Raises:
        FeatureStoreError: the store is not applied, a source is missing, or Redis cannot be reached.
        DiskFullError: no room for the online store.
    """
    started = time.monotonic()
    store = open_store(artifacts_dir, redis_url=redis_url)
    digest = sources_digest(artifacts_dir)
    folder = feast_dir(artifacts_dir)
    kind = "redis" if redis_url else "sqlite"
    with _store_errors(redis_url, folder):
        marker = _RedisMarker(redis_url) if redis_url else _FileMarker(folder)
        done = marker.read()
        if done is not None and done["digest"] == digest and not force:
            return MaterializeReport(kind, digest, done["rows"], time.monotonic() - started, cached=True)
        views = store.list_feature_views()
        state = folder / f"materialized_{kind}.parquet"
        before = None if force or done is None else _read_state(state, done.get("state"))
        now = {view.name: _state_of(view) for view in views}
        changes = {view.name: _changes(now[view.name], (before or {}).get(view.name)) for view in views}
        marker.clear()
        if redis_url:
            _into_redis(store, views, changes)
        else:
            _into_sqlite(store, views, changes, keep=before is not None)
        rows = {name: len(held.keys) for name, held in now.items()}
        with _registry_written_beside(store.config) as beside:
            registry = _feature_store(beside).registry
            for view in views:
                registry.apply_materialization(view, store.project, _BEGINNING, _newest(view))
        marker.write({"digest": digest, "rows": rows, "state": _write_state(state, now)})
    written = {name: int(change.rows.sum()) for name, change in changes.items()}
    return MaterializeReport(kind, digest, rows, time.monotonic() - started, cached=False, written=written)


def online_features(store: FeatureStore, view: str, ids: Sequence[int] | Sequence[str]) -> Features:
    """The latest features of ``ids`` (query numbers or product ids) from the online store.

    Unknown ids are not an error: their ``found`` is False and their vectors are zeros.

    Raises:
        FeatureStoreError: nothing was materialized, there is no such view, or Redis cannot be reached.
    """
    redis_url = getattr(store.config.online_store, "url", None)
    folder = Path(store.config.registry.path).parent
    definition = _view(store, view)
    fields = [item.name for item in definition.features]
    with _store_errors(redis_url, folder):
        answer = store.get_online_features(
            features=[f"{view}:{name}" for name in fields], entity_rows={definition.join_keys[0]: list(ids)}
        ).proto
        columns = dict(zip(answer.metadata.feature_names.val, answer.results))
        found = np.zeros(len(ids), bool)
        vectors, present, scalars = {}, {}, {}
        for item in definition.features:
            values = columns[item.name].values
            there = np.fromiter((value.WhichOneof("val") not in (None, "null_val") for value in values), bool, len(ids))
            found |= there
            if _is_vector(item):
                vectors[item.name], present[item.name] = _stack(values, there), there
            else:
                scalars[item.name] = np.fromiter((value.int64_val for value in values), np.int64, len(ids))
        if len(ids) and not found.any():
            marker = _RedisMarker(redis_url) if redis_url else _FileMarker(folder)
            if marker.read() is None:
                raise FeatureStoreError(f"{view} is not materialized", where=_place(redis_url, folder), hint=names.HINT)
    return Features(found, vectors, present, scalars)


def service_features(store: FeatureStore, service: str) -> dict[str, tuple[str, ...]]:
    """The features of a versioned service by view, in the order of their declaration.

    Raises:
        FeatureStoreError: the registry has no such service.
    """
    from feast.errors import FeatureServiceNotFoundException

    try:
        found = store.get_feature_service(service)
    except FeatureServiceNotFoundException as error:
        known = ", ".join(sorted(item.name for item in store.list_feature_services())) or "none"
        raise FeatureStoreError(
            f"there is no feature service {service!r} (known: {known})",
            where=store.config.registry.path,
            hint=names.HINT,
        ) from error
    return {view.name: tuple(item.name for item in view.features) for view in found.feature_view_projections}


def features_as_of(
    store: FeatureStore,
    view: str,
    fields: Sequence[str],
    ids: pa.Array,
    timestamps: pa.Array,
    *,
    ids_per_fetch: int = 32768,
) -> Features:
    """The features that were known of each id at its timestamp: Feast's point-in-time join, offline.

    Args:
        fields: features of ``view``.
        ids: n query numbers (int64) or product ids (string); ask for each (id, timestamp) once.
        timestamps: n ``timestamp[us, UTC]``.
        ids_per_fetch: how many ids one query of the offline store takes; bounds what is held besides the answer.

    Raises:
        FeatureStoreError: there is no such view, or its source is missing.
    """
    import pyarrow as pa

    definition = _view(store, view)
    if not Path(definition.batch_source.path).is_file():
        raise FeatureStoreError("the view's source is missing", where=definition.batch_source.path, hint=names.HINT)
    items = {item.name: item for item in definition.features}
    count = len(ids)
    found = np.zeros(count, bool)
    vectors: dict[str, np.ndarray] = {}
    present = {name: np.zeros(count, bool) for name in fields if _is_vector(items[name])}
    scalars = {name: np.zeros(count, np.int64) for name in fields if not _is_vector(items[name])}
    for start in range(0, count, ids_per_fetch):
        chunk = pa.table(
            {
                definition.join_keys[0]: ids[start : start + ids_per_fetch],
                features.EVENT_TIMESTAMP: timestamps[start : start + ids_per_fetch],
                "row": np.arange(start, min(start + ids_per_fetch, count)),
            }
        )
        with _quietly():
            job = store.get_historical_features(chunk.to_pandas(), features=[f"{view}:{name}" for name in fields])
            answer = job.to_arrow()
        rows = answer["row"].to_numpy()
        for name in fields:
            begin = 0
            # Chunk by chunk: putting the chunks together first would copy every vector once more.
            for column in answer[name].chunks:
                there = column.is_valid().to_numpy(zero_copy_only=False)
                at = rows[begin : begin + len(column)][there]
                begin += len(column)
                found[at] = True
                if name in scalars:
                    scalars[name][at] = column.drop_null().to_numpy()
                elif len(at):
                    present[name][at] = True
                    matrix = column.flatten().to_numpy().reshape(len(at), -1)
                    if name not in vectors:
                        vectors[name] = np.zeros((count, matrix.shape[1]), np.float32)
                    vectors[name][at] = matrix
    for name in present:
        vectors.setdefault(name, np.zeros((count, 0), np.float32))
    return Features(found, vectors, present, scalars)


def _source(artifacts_dir: Path, name: str) -> Path:
    path = features_dir(artifacts_dir) / name
    if not path.is_file():
        raise FeatureStoreError("the source of a feature view is missing", where=path, hint=names.HINT)
    return path


def _config(artifacts_dir: Path, redis_url: str | None) -> RepoConfig:
    import yaml
    from feast import RepoConfig

    # Feast tells of each look into its registry.
    logging.getLogger("feast").setLevel(logging.WARNING)
    repo = CHECKOUT / "feature_repo"
    folder = feast_dir(artifacts_dir).resolve()
    settings: dict[str, Any] = yaml.safe_load((repo / "feature_store.yaml").read_text(encoding="utf-8"))
    settings["registry"] = str(folder / "registry.db")
    if redis_url:
        _check_redis_url(redis_url)
        settings["online_store"] = {"type": "sqidflow.feature_store.redis_url.UrlRedisOnlineStore", "url": redis_url}
    else:
        settings["online_store"]["path"] = str(folder / "online.db")
    with _quietly():
        config = RepoConfig(**settings)
    config.repo_path = repo
    return config


def _feature_store(config: RepoConfig) -> FeatureStore:
    from feast import FeatureStore

    with _quietly():
        return FeatureStore(config=config)


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Feast's deprecation notes are for its own developers."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextlib.contextmanager
def _store_errors(redis_url: str | None, folder: Path) -> Iterator[None]:
    import sqlite3

    from redis.exceptions import RedisError

    place = _place(redis_url, folder)
    try:
        with _quietly():
            yield
    except RedisError as error:
        raise FeatureStoreError(
            f"Redis cannot be reached ({type(error).__name__}: {error})",
            where=place,
            hint=f"start it, correct {_REDIS_URL_VARIABLE} ({_REDIS_URL_FORM}), or unset it to use sqlite",
        ) from error
    except sqlite3.OperationalError as error:
        if "full" in str(error):
            raise _disk_full(place) from error
        if "no such table" in str(error):
            raise FeatureStoreError("the online store is not materialized", where=place, hint=names.HINT) from error
        raise FeatureStoreError(f"the online store cannot be used ({error})", where=place, hint=names.HINT) from error
    except sqlite3.DatabaseError as error:
        hint = f"delete the file and {names.HINT}"
        raise FeatureStoreError(f"the online store is damaged ({error})", where=place, hint=hint) from error
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise _disk_full(place) from error
        raise


def _disk_full(place: str | Path) -> DiskFullError:
    return DiskFullError("no room left for the online store", where=place, hint="free some disk space and run it again")


def _place(redis_url: str | None, folder: Path) -> str:
    """Where the online store is, without the password."""
    return shown_url(redis_url, _REDIS_URL_VARIABLE) if redis_url else str(folder / "online.db")


def _check_redis_url(url: str) -> None:
    """Raises FeatureStoreError where it cannot be read; what the reader of it says may hold a part of the password."""
    from redis.connection import parse_url

    try:
        parse_url(url)
    except ValueError as error:
        raise FeatureStoreError(
            "not a Redis address",
            where=shown_url(url, _REDIS_URL_VARIABLE),
            hint=f"{_REDIS_URL_VARIABLE} is {_REDIS_URL_FORM}; {ESCAPE}",
        ) from error


def _readable(registry: Path) -> bool:
    from feast.protos.feast.core.Registry_pb2 import Registry
    from google.protobuf.message import DecodeError

    try:
        return bool(Registry.FromString(registry.read_bytes()).projects)
    except (OSError, DecodeError):
        return False


@contextlib.contextmanager
def _registry_written_beside(config: RepoConfig) -> Iterator[RepoConfig]:
    """A configuration whose registry is a copy that takes the real one's place when the block ends well.

    Feast writes its registry in place; a process killed meanwhile would leave half a file.
    """
    registry = Path(config.registry.path)
    beside = registry.with_name("registry.db.part")
    beside.unlink(missing_ok=True)
    if _readable(registry):
        shutil.copyfile(registry, beside)
    copied = config.model_copy(deep=True)
    copied.registry.path = str(beside)
    try:
        yield copied
        os.replace(beside, registry)
    finally:
        beside.unlink(missing_ok=True)


def _definitions_digest(objects: Sequence[Any]) -> str:
    from google.protobuf.json_format import MessageToDict

    content = [_without_times(MessageToDict(item.to_proto())) for item in objects]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _without_times(value: Any) -> Any:
    """A definition less the moment at which its Python object was made."""
    if isinstance(value, dict):
        return {k: _without_times(v) for k, v in value.items() if k not in ("createdTimestamp", "lastUpdatedTimestamp")}
    return [_without_times(item) for item in value] if isinstance(value, list) else value


def _gone(store: FeatureStore, objects: Sequence[Any]) -> list[Any]:
    """What the registry has and the definitions no longer have; services first, for they name views."""
    kept = {(type(item), item.name) for item in objects}
    try:
        registered = [
            *store.list_feature_services(),
            *store.list_feature_views(),
            *store.list_data_sources(),
            *store.list_entities(),
        ]
    # A registry that was never applied to has no project to list.
    except KeyError:
        return []
    return [item for item in registered if (type(item), item.name) not in kept and item.name != "__dummy"]


def _view(store: FeatureStore, name: str) -> FeatureView:
    from feast.errors import FeatureViewNotFoundException

    try:
        return store.get_feature_view(name)
    except FeatureViewNotFoundException as error:
        raise FeatureStoreError(
            f"there is no feature view {name!r}", where=store.config.registry.path, hint=names.HINT
        ) from error


def _is_vector(item: Any) -> bool:
    from feast.types import Array

    return isinstance(item.dtype, Array)


def _stack(values: Sequence[Any], there: np.ndarray) -> np.ndarray:
    dim = next((len(value.float_list_val.val) for value, known in zip(values, there, strict=True) if known), 0)
    out = np.zeros((len(values), dim), np.float32)
    for row in np.flatnonzero(there):
        # The packed floats are the end of the serialized list; reading them one by one costs ten times as much.
        out[row] = np.frombuffer(values[row].float_list_val.SerializeToString()[-4 * dim :], "<f4")
    return out


def _newest(view: FeatureView) -> datetime:
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    stamp = view.batch_source.timestamp_field
    newest = pc.max(pq.read_table(view.batch_source.path, columns=[stamp])[stamp]).as_py()
    return newest or _BEGINNING


@dataclass(frozen=True)
class _State:
    """What of a view is to stand in the online store: ``kept`` bool [rows of its file], the latest row of each id; of
    these m rows the ``keys`` binary [m] and ``prints`` uint64 [m]."""

    kept: np.ndarray
    keys: pa.Array
    prints: np.ndarray


@dataclass(frozen=True)
class _Change:
    """``rows`` bool [rows of the view's file], to be written; ``gone``: serialized keys to be deleted."""

    rows: np.ndarray
    gone: Sequence[bytes]


def _state_of(view: FeatureView) -> _State:
    from sqidflow.feature_store.engine import fingerprints, latest_rows

    kept = latest_rows(view, None, _newest(view))
    return _State(kept, *fingerprints(view, kept))


def _changes(now: _State, before: Mapping[bytes, int] | None) -> _Change:
    """What differs from what the store holds; everything, where that is not known."""
    if before is None:
        return _Change(now.kept, ())
    keys = now.keys.to_pylist()
    differs = np.fromiter(
        (before.get(key) != print_ for key, print_ in zip(keys, now.prints.tolist())), bool, len(keys)
    )
    rows = np.zeros(len(now.kept), bool)
    rows[np.flatnonzero(now.kept)[differs]] = True
    return _Change(rows, sorted(before.keys() - set(keys)))


def _write_state(file: Path, now: Mapping[str, _State]) -> str:
    """Remember what was written; returns the file's SHA-256, by which the store's marker knows it again."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    beside = file.with_name(f"{file.name}.part")
    parts = [
        pa.table({"view": pa.array([name] * len(held.keys), pa.string()), "key": held.keys, "print": held.prints})
        for name, held in now.items()
    ]
    pq.write_table(pa.concat_tables(parts), beside)
    with beside.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    os.replace(beside, file)
    return digest


def _read_state(file: Path, digest: str | None) -> dict[str, dict[bytes, int]] | None:
    """View -> key -> fingerprint of what the store holds; None where the file is not the one the marker speaks of."""
    import pyarrow.parquet as pq

    if digest is None or not file.is_file():
        return None
    with file.open("rb") as stream:
        if hashlib.file_digest(stream, "sha256").hexdigest() != digest:
            return None
    found: dict[str, dict[bytes, int]] = {}
    table = pq.read_table(file)
    for view, key, print_ in zip(*(table[name].to_pylist() for name in ("view", "key", "print"))):
        found.setdefault(view, {})[key] = print_
    return found


def _write_views(
    config: RepoConfig, store: FeatureStore, views: Sequence[FeatureView], changes: Mapping[str, _Change], prepare=None
) -> Any:
    from feast.infra.provider import get_provider

    provider = get_provider(config)
    provider.update_infra(config.project, [], views, [], store.list_entities(), partial=False)
    if prepare is not None:
        prepare(provider.online_store)
    provider.batch_engine.only = {name: change.rows for name, change in changes.items()}
    for view in views:
        if changes[view.name].rows.any():
            provider.materialize_single_feature_view(
                config, view, _BEGINNING, _newest(view), store.registry, config.project, None
            )
    return provider


def _into_sqlite(
    store: FeatureStore, views: Sequence[FeatureView], changes: Mapping[str, _Change], *, keep: bool
) -> None:
    """``keep``: what the store holds stays but for the changes."""
    final = Path(store.config.online_store.path)
    beside = final.with_name("online.db.part")
    beside.unlink(missing_ok=True)
    if keep:
        shutil.copyfile(final, beside)
    config = store.config.model_copy(deep=True)
    config.online_store.path = str(beside)
    connection = None

    def without_journal(online_store: Any) -> None:
        nonlocal connection
        connection = online_store._get_conn(config)
        # The file is thrown away if anything happens before it is renamed.
        connection.execute("PRAGMA journal_mode=OFF")
        connection.execute("PRAGMA synchronous=OFF")

    try:
        _write_views(config, store, views, changes, without_journal)
        for view in views:
            _delete_from_sqlite(connection, config, view, changes[view.name].gone)
        connection.commit()
        connection.close()
        with beside.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(beside, final)
    finally:
        if connection is not None:
            connection.close()
        beside.unlink(missing_ok=True)


def _delete_from_sqlite(connection: Any, config: RepoConfig, view: FeatureView, gone: Sequence[bytes]) -> None:
    from feast.infra.key_encoding_utils import serialize_entity_key
    from feast.infra.online_stores.helpers import compute_table_id
    from feast.protos.feast.types.EntityKey_pb2 import EntityKey

    table = compute_table_id(config.project, view, config.registry.enable_online_feature_view_versioning)
    version = config.entity_key_serialization_version
    keys = (serialize_entity_key(EntityKey.FromString(key), entity_key_serialization_version=version) for key in gone)
    connection.executemany(f'DELETE FROM "{table}" WHERE entity_key = ?', ((key,) for key in keys))


def _into_redis(store: FeatureStore, views: Sequence[FeatureView], changes: Mapping[str, _Change]) -> None:
    from sqidflow.feature_store.engine import entity_keys

    provider = _write_views(store.config, store, views, changes)
    for view in views:
        gone = provider.online_store.keep_only(store.config, view, entity_keys(view))
        if gone:
            _logger.info("%s: %d ids that left the sources were deleted from Redis", view.name, gone)


class _FileMarker:
    """Says what ``online.db`` holds; it is written after, and taken away before, what it speaks of."""

    def __init__(self, folder: Path) -> None:
        self._path, self._store = folder / "materialized.json", folder / "online.db"

    def read(self) -> dict[str, Any] | None:
        return _read_json(self._path) if self._store.exists() else None

    def clear(self) -> None:
        self._path.unlink(missing_ok=True)

    def write(self, content: Mapping[str, Any]) -> None:
        _write_json(self._path, content)


class _RedisMarker:
    """The same within Redis, so that a flushed or exchanged server is not taken for a filled one."""

    def __init__(self, url: str) -> None:
        from redis import Redis

        from sqidflow.feature_store.redis_url import CONNECT_TIMEOUT_S

        self._client = Redis.from_url(url, socket_connect_timeout=CONNECT_TIMEOUT_S)

    def read(self) -> dict[str, Any] | None:
        stored = self._client.get(_REDIS_MARKER)
        return json.loads(stored) if stored else None

    def clear(self) -> None:
        self._client.delete(_REDIS_MARKER)

    def write(self, content: Mapping[str, Any]) -> None:
        self._client.set(_REDIS_MARKER, json.dumps(content))


def _read_json(path: Path) -> dict[str, Any] | None:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    beside = path.with_name(path.name + ".part")
    beside.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    os.replace(beside, path)
