"""Feast's Redis online store, addressed by a URL.

Feast's own setting is a list of ``host:port,key=value``, in which a password with a comma or an equals sign cannot
be said and one of digits only becomes a number.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from feast import FeatureView, RepoConfig
from feast.infra.online_stores.helpers import _redis_key, _redis_key_prefix
from feast.infra.online_stores.redis import RedisOnlineStore, RedisOnlineStoreConfig
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from pydantic import StrictStr

CONNECT_TIMEOUT_S = 5.0


class UrlRedisOnlineStoreConfig(RedisOnlineStoreConfig):
    """``url``: ``redis://[:password@]host:port/db``, or ``rediss://`` for TLS."""

    type: Literal["feature_repo.redis_url.UrlRedisOnlineStore"] = "feature_repo.redis_url.UrlRedisOnlineStore"
    url: StrictStr
    # Feast drops a write whose timestamp equals the stored one: vectors made anew under the same timestamp would
    # never arrive. The engine writes the latest row of each id, once.
    skip_dedup: bool = True


class UrlRedisOnlineStore(RedisOnlineStore):
    """Everything but the connection is Feast's."""

    def _get_client(self, online_store_config: UrlRedisOnlineStoreConfig):
        if not self._client:
            from redis import Redis

            self._client = Redis.from_url(online_store_config.url, socket_connect_timeout=CONNECT_TIMEOUT_S)
        return self._client

    async def _get_client_async(self, online_store_config: UrlRedisOnlineStoreConfig):
        if not self._client_async:
            from redis import asyncio

            self._client_async = asyncio.Redis.from_url(
                online_store_config.url, socket_connect_timeout=CONNECT_TIMEOUT_S
            )
        return self._client_async

    def keep_only(self, config: RepoConfig, view: FeatureView, keys: Iterable[EntityKey]) -> int:
        """Delete the entities of ``view`` that are not among ``keys``, and say how many there were.

        Feast writes over what is there, so that a product which left the catalogue would be served for ever.
        """
        client = self._get_client(config.online_store)
        version = config.entity_key_serialization_version
        kept = {_redis_key(config.project, key, version) for key in keys}
        pattern = b"".join([_redis_key_prefix(view.join_keys), b"*", config.project.encode()])
        gone = [key for key in client.scan_iter(pattern, count=1000) if key not in kept]
        for start in range(0, len(gone), 1000):
            client.delete(*gone[start : start + 1000])
        return len(gone)
