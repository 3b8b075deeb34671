"""How the feature store of a workdir is reached: its configuration, its errors, what says what it holds."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import logging
import os
import sys
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqidflow.core import feature_files
from sqidflow.core.digests import file_sha256
from sqidflow.core.errors import ESCAPE, DiskFullError, FeatureStoreError, shown_url
from sqidflow.core.settings import CHECKOUT
from sqidflow.feature_store import names

if TYPE_CHECKING:
    from feast import FeatureStore, FeatureView, RepoConfig

_REDIS_URL_VARIABLE = "SQIDFLOW_REDIS_URL"
_REDIS_URL_FORM = "redis://[:password@]host:port/db"
_REDIS_MARKER = f"{names.PROJECT}:materialized"


def features_dir(artifacts_dir: Path) -> Path:
    """Where the parquet sources of a workdir lie."""
    return artifacts_dir / feature_files.FOLDER


def feast_dir(artifacts_dir: Path) -> Path:
    """Where the registry and the online store of a workdir lie."""
    return artifacts_dir / "feast"


def sources_digest(artifacts_dir: Path, known: Mapping[str, str] | None = None) -> str:
    """SHA-256 over the content of both parquet sources.

    Args:
        known: SHA-256 of a source by its place in artifacts/, from a caller that has just computed it.

    Raises:
        FeatureStoreError: a source is missing.
    """
    digest = hashlib.sha256()
    for name in (feature_files.QUERIES, feature_files.PRODUCTS):
        file, of_source = source_file(artifacts_dir, name), (known or {}).get(f"{feature_files.FOLDER}/{name}")
        digest.update(bytes.fromhex(of_source or file_sha256(file)))
    return digest.hexdigest()


def open_store(artifacts_dir: Path, *, redis_url: str | None = None) -> FeatureStore:
    """The applied store of a workdir; online it reads Redis where ``redis_url`` is given, else sqlite.

    Raises:
        FeatureStoreError: the store was never applied, or its registry cannot be read.
    """
    config = store_config(artifacts_dir, redis_url)
    registry = Path(config.registry.path)
    if not registry.exists():
        raise FeatureStoreError("the feature store is not applied", where=registry, hint=names.HINT)
    if not readable_registry(registry):
        raise FeatureStoreError("the feature registry cannot be read", where=registry, hint=names.HINT)
    return feature_store(config)


def source_file(artifacts_dir: Path, name: str) -> Path:
    path = features_dir(artifacts_dir) / name
    if not path.is_file():
        raise FeatureStoreError("the source of a feature view is missing", where=path, hint=names.HINT)
    return path


def import_feast() -> None:
    """Import Feast in a quarter of the time.

    Feast has typeguard rewrite and compile a hundred of its functions at import, so that they check the types of their
    arguments: 3.2 s of 4.5 s of processor time, with every import, as the result is not kept.
    """
    if "feast" in sys.modules:
        return
    import typeguard

    def unchecked(target: Any = None, **_: Any) -> Any:
        return target if target is not None else unchecked

    checked, typeguard.typechecked = typeguard.typechecked, unchecked
    try:
        import feast  # noqa: F401
    finally:
        typeguard.typechecked = checked


def store_config(artifacts_dir: Path, redis_url: str | None) -> RepoConfig:
    import yaml

    import_feast()
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
    with quietly():
        config = RepoConfig(**settings)
    config.repo_path = repo
    return config


def feature_store(config: RepoConfig) -> FeatureStore:
    from feast import FeatureStore

    with quietly():
        return FeatureStore(config=config)


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Feast's deprecation notes are for its own developers."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextlib.contextmanager
def store_errors(redis_url: str | None, folder: Path) -> Iterator[None]:
    import sqlite3

    from redis.exceptions import RedisError

    place = place_of(redis_url, folder)
    try:
        with quietly():
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


def place_of(redis_url: str | None, folder: Path) -> str:
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


def readable_registry(registry: Path) -> bool:
    from feast.protos.feast.core.Registry_pb2 import Registry
    from google.protobuf.message import DecodeError

    try:
        return bool(Registry.FromString(registry.read_bytes()).projects)
    except (OSError, DecodeError):
        return False


def feature_view(store: FeatureStore, name: str) -> FeatureView:
    from feast.errors import FeatureViewNotFoundException

    try:
        return store.get_feature_view(name)
    except FeatureViewNotFoundException as error:
        raise FeatureStoreError(
            f"there is no feature view {name!r}", where=store.config.registry.path, hint=names.HINT
        ) from error


class FileMarker:
    """Says what ``online.db`` holds; it is written after, and taken away before, what it speaks of."""

    def __init__(self, folder: Path) -> None:
        self._path, self._store = folder / "materialized.json", folder / "online.db"

    def read(self) -> dict[str, Any] | None:
        return read_json(self._path) if self._store.exists() else None

    def clear(self) -> None:
        self._path.unlink(missing_ok=True)

    def write(self, content: Mapping[str, Any]) -> None:
        write_json(self._path, content)


class RedisMarker:
    """The same within Redis, so that a flushed or exchanged server is not taken for a filled one."""

    def __init__(self, url: str) -> None:
        from sqidflow.feature_store.redis_url import bounded_client

        self._client = bounded_client(url)

    def read(self) -> dict[str, Any] | None:
        stored: Any = self._client.get(_REDIS_MARKER)  # the stubs allow for the client that is awaited
        return json.loads(stored) if stored else None

    def clear(self) -> None:
        self._client.delete(_REDIS_MARKER)

    def write(self, content: Mapping[str, Any]) -> None:
        self._client.set(_REDIS_MARKER, json.dumps(content))


def read_json(path: Path) -> dict[str, Any] | None:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    beside = path.with_name(path.name + ".part")
    beside.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    os.replace(beside, path)
