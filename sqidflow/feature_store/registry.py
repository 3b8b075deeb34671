"""Feast's registry: make it say what the definitions say, whole or not at all."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqidflow.core import feature_files
from sqidflow.feature_store.connection import (
    feast_dir,
    feature_store,
    features_dir,
    read_json,
    readable_registry,
    source_file,
    store_config,
    store_errors,
    write_json,
)  # fmt: skip

if TYPE_CHECKING:
    from feast import FeatureStore, RepoConfig


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
        source_file(artifacts_dir, name)
    folder = feast_dir(artifacts_dir)
    folder.mkdir(parents=True, exist_ok=True)
    config = store_config(artifacts_dir, redis_url)
    defined = definitions(features_dir(artifacts_dir))
    registry, marker = Path(config.registry.path), folder / "applied.json"
    stamp = {"definitions": _definitions_digest(defined.objects), "online_store": config.online_store.type}
    if read_json(marker) == stamp and readable_registry(registry):
        return False
    marker.unlink(missing_ok=True)
    if redis_url is None:
        _drop_unreadable(folder / "online.db")
    with registry_written_beside(config) as beside, store_errors(redis_url, folder):
        store = feature_store(beside)
        store.apply(defined.objects, objects_to_delete=_gone(store, defined.objects), partial=False)
    write_json(marker, stamp)
    return True


def _drop_unreadable(online: Path) -> None:
    """Feast makes tables in the online store, which it cannot in a damaged file; ``materialize`` fills a new one."""
    try:
        with contextlib.closing(sqlite3.connect(online)) as connection:
            connection.execute("SELECT COUNT(*) FROM sqlite_master")
    except sqlite3.DatabaseError as error:
        if not isinstance(error, sqlite3.OperationalError):
            online.unlink(missing_ok=True)


@contextlib.contextmanager
def registry_written_beside(config: RepoConfig) -> Iterator[RepoConfig]:
    """A configuration whose registry is a copy that takes the real one's place when the block ends well.

    Feast writes its registry in place; a process killed meanwhile would leave half a file.
    """
    registry = Path(config.registry.path)
    beside = registry.with_name("registry.db.part")
    beside.unlink(missing_ok=True)
    if readable_registry(registry):
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
