"""A product's features as Feast's online store has them; kept apart from searching, which waits for nobody's store."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit, urlunsplit

from pydantic import SecretStr

if TYPE_CHECKING:
    from sqidflow.feature_store.store import Features

_REDIS_TIMEOUT_S = 2.0


class FeatureLookup:
    """The feature store of a workdir, opened by the first look-up; for one thread.

    Feast takes seconds to import: the first look-up pays, the start does not.
    """

    def __init__(self, artifacts_dir: Path, redis_url: SecretStr | None) -> None:
        self._artifacts = artifacts_dir
        self._redis_url = bounded(redis_url.get_secret_value()) if redis_url else None
        self._store: Any = None
        self._opened: tuple[tuple[int, int] | None, ...] = ()

    def read(self, product_id: str) -> Features:
        """The latest features of a product.

        Raises:
            SqidflowError: the store is not applied or not materialized, or does not answer.
        """
        from sqidflow.feature_store import names, store

        stamp = self._stamp()
        if self._store is None or stamp != self._opened:
            self._store = store.open_store(self._artifacts, redis_url=self._redis_url)
            self._opened = stamp
        return store.online_features(self._store, names.PRODUCT_VIEW, [product_id])

    def _stamp(self) -> tuple[tuple[int, int] | None, ...]:
        """What changes when the store is written beside and renamed: an open connection keeps the deleted file."""
        from sqidflow.feature_store import store

        return tuple(_stamp(store.feast_dir(self._artifacts) / name) for name in ("online.db", "registry.db"))


def _stamp(file: Path) -> tuple[int, int] | None:
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns


def bounded(url: str) -> str:
    """A Redis URL with a time limit for each answer, unless it has one."""
    parts = urlsplit(url)
    if "socket_timeout" in parse_qs(parts.query):
        return url
    return urlunsplit(parts._replace(query="&".join(filter(None, (parts.query, f"socket_timeout={_REDIS_TIMEOUT_S}")))))
