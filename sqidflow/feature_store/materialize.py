"""Bring the latest vectors into the online store: what it has is counted, what differs is written."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
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
    from feast import FeatureStore, FeatureView, RepoConfig

    from sqidflow.feature_store.engine import Held

_logger = logging.getLogger(__name__)

_BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)
_PATIENCE_S = 30.0
"""For a reader or another writer of the online store to let go of it."""
_CHANGED_IN_PLACE, _ALWAYS_IN_PLACE = 0.2, 10_000
"""Share of the ids, and how many of them, up to which sqlite is changed in place; above both it is written anew beside,
since readers would wait for too long."""
_CHANGED_PAGES_KB = 512 << 10
"""Memory that the changed pages of the online store may take before some are written early."""


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

    sqlite is written beside and renamed or, where it holds an older state whole, changed in one transaction: readers
    see the old vectors or the new ones, never both. Where a run is killed in the middle of the transaction, the next
    reader undoes it; one that may not write there cannot, and gets an error until the next materialization. Redis is
    written in place; ids that left the sources are deleted. Memory is bounded by the ids, one batch of rows and the
    changed rows. Where the store holds an older state whole, only rows that differ from it are written; with ``force``
    all of them.

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
        if not redis_url:
            _undo_killed_change(Path(store.config.online_store.path))
        marker = RedisMarker(redis_url) if redis_url else FileMarker(folder)
        done = marker.read()
        views = store.list_feature_views()
        if done is not None and _rows_held(store, views, redis_url) != done["rows"]:
            done = None
        if done is not None and done["digest"] == digest and not force:
            return MaterializeReport(kind, digest, done["rows"], time.monotonic() - started, cached=True)
        state = folder / f"materialized_{kind}.parquet"
        fields = {view.name: [[field.name, str(field.dtype)] for field in view.features] for view in views}
        before = None
        if done is not None and done.get("fields") == fields and not force:
            before = _read_state(state, done.get("state"))
        now = {view.name: _state_of(view) for view in views}
        changes = {view.name: _changes(view, now[view.name], (before or {}).get(view.name)) for view in views}
        if not redis_url and _too_many(now, changes):
            before = None
            changes = {view.name: _changes(view, now[view.name], None) for view in views}
        marker.clear()
        if redis_url:
            _into_redis(store, views, changes)
        else:
            _into_sqlite(store, views, changes, keep=before is not None)
        rows = {name: len(state.held.ids) for name, state in now.items()}
        with registry_written_beside(store.config) as beside:
            registry = feature_store(beside).registry
            for view in views:
                registry.apply_materialization(view, store.project, _BEGINNING, _newest(view))
        marker.write({"digest": digest, "rows": rows, "state": _write_state(state, now), "fields": fields})
    written = {name: int(change.rows.sum()) for name, change in changes.items()}
    return MaterializeReport(kind, digest, rows, time.monotonic() - started, cached=False, written=written)


@dataclass(frozen=True)
class _State:
    """What of a view is to stand in the online store: ``kept`` bool [rows of its file], the latest row of each id, and
    what these rows hold."""

    kept: np.ndarray
    held: Held


@dataclass(frozen=True)
class _Change:
    """``rows`` bool [rows of the view's file], to be written; ``gone``: serialized keys to be deleted."""

    rows: np.ndarray
    gone: Sequence[bytes]


def _state_of(view: FeatureView) -> _State:
    from sqidflow.feature_store.engine import held, latest_rows

    kept = latest_rows(view, None, _newest(view))
    return _State(kept, held(view, kept))


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


def _changes(view: FeatureView, now: _State, before: Held | None) -> _Change:
    """What differs from what the store holds; everything, where that is not known."""
    import pyarrow as pa
    import pyarrow.compute as pc

    from sqidflow.feature_store.engine import serialized_keys

    if before is None:
        return _Change(now.kept, ())
    place = pc.fill_null(pc.index_in(now.held.ids, before.ids), -1).to_numpy(zero_copy_only=False)
    known = place >= 0
    same = known.copy()
    same[known] = (now.held.prints[known] == before.prints[place[known]]) & (
        now.held.stamps[known] == before.stamps[place[known]]
    )
    rows = np.zeros(len(now.kept), bool)
    rows[np.flatnonzero(now.kept)[~same]] = True
    stays = np.zeros(len(before.ids), bool)
    stays[place[known]] = True
    return _Change(rows, sorted(serialized_keys(view, before.ids.filter(pa.array(~stays)))))


def _too_many(now: Mapping[str, _State], changes: Mapping[str, _Change]) -> bool:
    """Whether so many ids are written or deleted that a store is better written anew."""
    changed = sum(int(change.rows.sum()) + len(change.gone) for change in changes.values())
    return changed > max(_ALWAYS_IN_PLACE, _CHANGED_IN_PLACE * sum(len(state.held.ids) for state in now.values()))


def _write_state(file: Path, now: Mapping[str, _State]) -> str:
    """Remember what was written; returns the file's SHA-256, by which the store's marker knows it again."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    beside = file.with_name(f"{file.name}.part")
    parts = []
    for name, state in now.items():
        view = pa.array([name] * len(state.held.ids), pa.string())
        columns = {"view": view, "id": state.held.ids, "stamp": state.held.stamps, "print": state.held.prints}
        parts.append(pa.table(columns))
    pq.write_table(pa.concat_tables(parts), beside)
    with beside.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    os.replace(beside, file)
    return digest


def _read_state(file: Path, digest: str | None) -> dict[str, Held] | None:
    """What the store holds of each view; None where the file is not the one the marker speaks of, or of an older
    form."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    from sqidflow.feature_store.engine import Held

    if digest is None or not file.is_file():
        return None
    with file.open("rb") as stream:
        if hashlib.file_digest(stream, "sha256").hexdigest() != digest:
            return None
    table = pq.read_table(file)
    if table.column_names != ["view", "id", "stamp", "print"]:
        return None
    found: dict[str, Held] = {}
    for view in pc.unique(table["view"]).to_pylist():
        part = table.filter(pc.equal(table["view"], view))
        found[view] = Held(part["id"].combine_chunks(), part["stamp"].to_numpy(), part["print"].to_numpy())
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
    config = store.config.model_copy(deep=True)
    config.online_store.path = str(beside)
    connection: Any = None

    def without_journal(online_store: Any) -> None:
        nonlocal connection
        connection = online_store._get_conn(config)
        # The file is thrown away if anything happens before it is renamed or copied from.
        connection.execute("PRAGMA journal_mode=OFF")
        connection.execute("PRAGMA synchronous=OFF")

    try:
        _write_views(config, store, views, changes, without_journal)
        connection.commit()
        connection.close()
        if keep:
            gone = {_table(config, view): changes[view.name].gone for view in views}
            _change_in_place(final, beside, gone, config.entity_key_serialization_version)
        else:
            with beside.open("rb+") as file:
                os.fsync(file.fileno())
            os.replace(beside, final)
    finally:
        if connection is not None:
            connection.close()
        beside.unlink(missing_ok=True)


def _table(config: RepoConfig, view: FeatureView) -> str:
    from feast.infra.online_stores.helpers import compute_table_id

    table: str = compute_table_id(config.project, view, config.registry.enable_online_feature_view_versioning)
    return table


def _change_in_place(final: Path, fresh: Path, gone: Mapping[str, Sequence[bytes]], key_version: int) -> None:
    """Take the rows of ``fresh`` over and delete those of ``gone`` (table -> serialized keys) in one transaction: of
    the hundreds of megabytes of a large catalogue's store, pages without a change are neither read nor written.

    SQLite undoes what a killed process began when the file is opened next. All changed pages are held until the end, so
    that readers are kept waiting for that moment alone.
    """
    from feast.infra.key_encoding_utils import serialize_entity_key
    from feast.protos.feast.types.EntityKey_pb2 import EntityKey

    opened = sqlite3.connect(final.resolve().as_uri(), timeout=_PATIENCE_S, isolation_level=None, uri=True)
    with contextlib.closing(opened) as connection:
        connection.execute(f"PRAGMA cache_size=-{_CHANGED_PAGES_KB}")
        # Read-only: for two files that may be written SQLite keeps a journal of both, which names them by where they
        # are; a killed transaction could not be undone in a folder that has moved.
        connection.execute("ATTACH ? AS fresh", (f"{fresh.resolve().as_uri()}?mode=ro",))
        connection.execute("BEGIN IMMEDIATE")
        for table, keys in gone.items():
            as_stored = (
                serialize_entity_key(EntityKey.FromString(key), entity_key_serialization_version=key_version)
                for key in keys
            )
            connection.executemany(f'DELETE FROM main."{table}" WHERE entity_key = ?', ((key,) for key in as_stored))
            columns = ", ".join(f'"{row[1]}"' for row in connection.execute(f'PRAGMA fresh.table_info("{table}")'))
            connection.execute(
                f'INSERT OR REPLACE INTO main."{table}" ({columns}) SELECT {columns} FROM fresh."{table}"'
            )
        connection.execute("COMMIT")


def _undo_killed_change(online: Path) -> None:
    """Let SQLite undo what a killed process began; what is beyond that is deleted with its journal, which SQLite would
    take for that of the file that is written next."""
    journal = online.with_name(f"{online.name}-journal")
    if not journal.exists():
        return
    try:
        with contextlib.closing(sqlite3.connect(online, timeout=_PATIENCE_S)) as connection:
            connection.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()
    except sqlite3.DatabaseError as error:
        if isinstance(error, sqlite3.OperationalError):
            raise
        online.unlink(missing_ok=True)
    if not online.exists():
        journal.unlink(missing_ok=True)


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
