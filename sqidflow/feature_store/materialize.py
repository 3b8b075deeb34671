"""Bring the latest vectors into the online store: what it has is counted, what differs is written."""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import sqlite3
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sqidflow.core.sqlite import read_only
from sqidflow.feature_store.connection import (
    FileMarker,
    RedisMarker,
    feast_dir,
    feature_store,
    open_store,
    sources_digest,
    store_errors,
)  # fmt: skip
from sqidflow.feature_store.registry import registry_written_beside

if TYPE_CHECKING:
    import pyarrow as pa
    from feast import FeatureStore, FeatureView, RepoConfig

_logger = logging.getLogger(__name__)

_BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class MaterializeReport:
    """Contents of the online store: ``rows`` by view, the sources' ``digest``, and whether it was up to date already.
    ``written``: rows by view that had changed and were written now."""

    online_store: str
    digest: str
    rows: Mapping[str, int]
    seconds: float
    cached: bool
    written: Mapping[str, int] = field(default_factory=dict)


def materialize(
    artifacts_dir: Path,
    *,
    redis_url: str | None = None,
    force: bool = False,
    digests: Mapping[str, str] | None = None,
) -> MaterializeReport:
    """Bring the latest vectors of all views into the online store, unless it has them already.

    That it has them is what its own marker says and what is counted in it: a store that lost rows, was deleted or
    cannot be read is filled anew.

    sqlite is written beside and renamed: readers see the old vectors or the new ones, never both, and a killed run
    leaves the old. Redis is written in place; ids that left the sources are deleted. Memory is bounded by the ids
    and one batch of rows. Where the store holds an older state whole, only rows that differ from it are written; with
    ``force`` all of them.

    Args:
        digests: SHA-256 of the sources, as :func:`sources_digest` takes them.

    Raises:
        FeatureStoreError: the store is not applied, a source is missing, or Redis cannot be reached.
        DiskFullError: no room for the online store.
    """
    started = time.monotonic()
    store = open_store(artifacts_dir, redis_url=redis_url)
    digest = sources_digest(artifacts_dir, digests)
    folder = feast_dir(artifacts_dir)
    kind = "redis" if redis_url else "sqlite"
    with store_errors(redis_url, folder):
        marker = RedisMarker(redis_url) if redis_url else FileMarker(folder)
        done = marker.read()
        views = store.list_feature_views()
        if done is not None and _rows_held(store, views, redis_url) != done["rows"]:
            done = None
        if done is not None and done["digest"] == digest and not force:
            return MaterializeReport(kind, digest, done["rows"], time.monotonic() - started, cached=True)
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
        with registry_written_beside(store.config) as beside:
            registry = feature_store(beside).registry
            for view in views:
                registry.apply_materialization(view, store.project, _BEGINNING, _newest(view))
        marker.write({"digest": digest, "rows": rows, "state": _write_state(state, now)})
    written = {name: int(change.rows.sum()) for name, change in changes.items()}
    return MaterializeReport(kind, digest, rows, time.monotonic() - started, cached=False, written=written)


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


def _rows_held(store: FeatureStore, views: Sequence[FeatureView], redis_url: str | None) -> dict[str, int] | None:
    """How many ids of each view the online store has; None where it cannot be read."""
    if redis_url:
        from feast.infra.provider import get_provider

        online_store = get_provider(store.config).online_store
        return {view.name: online_store.count(store.config, view) for view in views}
    from feast.infra.online_stores.helpers import compute_table_id

    file = Path(store.config.online_store.path)
    versioned = store.config.registry.enable_online_feature_view_versioning
    try:
        with read_only(file, wait_s=5) as connection:
            pages, page_bytes = (
                connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "page_size")
            )
            if pages * page_bytes != file.stat().st_size:
                return None
            tables = {view.name: compute_table_id(store.config.project, view, versioned) for view in views}
            counts = {
                name: connection.execute(f'SELECT COUNT(DISTINCT entity_key) FROM "{table}"').fetchone()[0]
                for name, table in tables.items()
            }
    except (sqlite3.Error, OSError):
        return None
    return counts


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
    connection: Any = None

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


def _newest(view: FeatureView) -> datetime:
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    stamp = view.batch_source.timestamp_field
    newest = pc.max(pq.read_table(view.batch_source.path, columns=[stamp])[stamp]).as_py()
    return newest or _BEGINNING
