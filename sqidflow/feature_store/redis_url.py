"""Feast's Redis online store, addressed by a URL.

Feast's own setting is a list of ``host:port,key=value``, in which a password with a comma or an equals sign cannot
be said and one of digits only becomes a number.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

from feast import FeatureView, RepoConfig
from feast.infra.online_stores.helpers import _redis_key, _redis_key_prefix
from feast.infra.online_stores.redis import RedisOnlineStore, RedisOnlineStoreConfig
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value
from pydantic import StrictStr

if TYPE_CHECKING:
    from redis import Redis

CONNECT_TIMEOUT_S = 5.0
ANSWER_TIMEOUT_S = 5.0
"""For each answer, unless the URL has a ``socket_timeout`` of its own."""


def bounded_client(url: str) -> Redis:
    """A client of a server that may hang: it waits once for an answer, and not again."""
    from redis import Redis
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    return Redis.from_url(
        url,
        socket_connect_timeout=CONNECT_TIMEOUT_S,
        socket_timeout=ANSWER_TIMEOUT_S,
        retry=Retry(NoBackoff(), 0),
    )


class UrlRedisOnlineStoreConfig(RedisOnlineStoreConfig):
    """``url``: ``redis://[:password@]host:port/db``, or ``rediss://`` for TLS."""

    type: Literal["sqidflow.feature_store.redis_url.UrlRedisOnlineStore"] = (
        "sqidflow.feature_store.redis_url.UrlRedisOnlineStore"
    )
    url: StrictStr
    # Feast drops a write whose timestamp equals the stored one: vectors made anew under the same timestamp would
    # never arrive. The engine writes the latest row of each id, once.
    skip_dedup: bool = True


_Row = tuple[datetime | None, dict[str, Value] | None]


class UrlRedisOnlineStore(RedisOnlineStore):
    """Everything is Feast's but the connection and the answer for an unknown id."""

    _client: Any = None
    _client_async: Any = None

    def _get_client(self, online_store_config: UrlRedisOnlineStoreConfig) -> Any:
        if not self._client:
            self._client = bounded_client(online_store_config.url)
        return self._client

    async def _get_client_async(self, online_store_config: UrlRedisOnlineStoreConfig) -> Any:
        if not self._client_async:
            from redis import asyncio

            self._client_async = asyncio.Redis.from_url(
                online_store_config.url, socket_connect_timeout=CONNECT_TIMEOUT_S, socket_timeout=ANSWER_TIMEOUT_S
            )
        return self._client_async

    def _get_features_for_entity(self, values: Sequence[Any], feature_view: str, requested_features: list[str]) -> _Row:
        """Feast answers an unknown id with empty values that count as present; its sqlite store, and so everyone who
        asks whether an id was found, has none for it. What was written has a timestamp beside it."""
        if dict(zip(requested_features, values)).get(f"_ts:{feature_view}") is None:
            return None, None
        return super()._get_features_for_entity(values, feature_view, requested_features)

    def keep_only(self, config: RepoConfig, view: FeatureView, keys: Iterable[EntityKey]) -> int:
        """Delete the entities of ``view`` that are not among ``keys``, and say how many there were.

        Feast only overwrites rows, so a product that left the catalogue would be served for ever.
        """
        client = self._get_client(config.online_store)
        version = config.entity_key_serialization_version
        kept = {_redis_key(config.project, key, version) for key in keys}
        gone = [key for key in self._keys(config, view) if key not in kept]
        for start in range(0, len(gone), 1000):
            client.delete(*gone[start : start + 1000])
        return len(gone)

    def count(self, config: RepoConfig, view: FeatureView) -> int:
        """How many entities of ``view`` the server has."""
        return len(set(self._keys(config, view)))

    def _keys(self, config: RepoConfig, view: FeatureView) -> Iterator[bytes]:
        pattern = b"".join([_redis_key_prefix(view.join_keys), b"*", config.project.encode()])
        return self._get_client(config.online_store).scan_iter(pattern, count=1000)
