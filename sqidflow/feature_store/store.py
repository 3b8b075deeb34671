"""The feature store of a workdir: apply the definitions, materialize, look up online, join offline.

Everything stands in ``artifacts/feast``: ``registry.db`` (what is defined), ``online.db`` (the latest vectors, unless
Redis serves them), two small JSON files that say what was applied and what was materialized, each written last, and a
parquet file a store with the print and time of every row in it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sqidflow.core.errors import FeatureStoreError
from sqidflow.feature_store import names
from sqidflow.feature_store.connection import (
    FileMarker,
    RedisMarker,
    feast_dir,
    feature_view,
    features_dir,
    open_store,
    place_of,
    quietly,
    sources_digest,
    store_errors,
)  # fmt: skip
from sqidflow.feature_store.materialize import MaterializeReport, materialize
from sqidflow.feature_store.registry import apply
from sqidflow.ranking import features

if TYPE_CHECKING:
    import pyarrow as pa
    from feast import FeatureStore

__all__ = [
    "Features", "MaterializeReport", "apply", "feast_dir", "features_as_of", "features_dir", "materialize",
    "online_features", "open_store", "service_features", "sources_digest",
]  # fmt: skip


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


def online_features(store: FeatureStore, view: str, ids: Sequence[int] | Sequence[str]) -> Features:
    """The latest features of ``ids`` (query numbers or product ids) from the online store.

    Unknown ids are not an error: their ``found`` is False and their vectors are zeros.

    Raises:
        FeatureStoreError: nothing was materialized, there is no such view, or Redis cannot be reached.
    """
    redis_url = getattr(store.config.online_store, "url", None)
    folder = Path(store.config.registry.path).parent
    definition = feature_view(store, view)
    fields = [item.name for item in definition.features]
    with store_errors(redis_url, folder):
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
            marker = RedisMarker(redis_url) if redis_url else FileMarker(folder)
            if marker.read() is None:
                raise FeatureStoreError(
                    f"{view} is not materialized", where=place_of(redis_url, folder), hint=names.HINT
                )
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

    definition = feature_view(store, view)
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
        with quietly():
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


def _is_vector(item: Any) -> bool:
    from feast.types import Array

    return isinstance(item.dtype, Array)


def _stack(values: Sequence[Any], there: np.ndarray) -> np.ndarray:
    dim = next((len(value.float_list_val.val) for value, known in zip(values, there, strict=True) if known), 0)
    out = np.zeros((len(values), dim), np.float32)
    for row in np.flatnonzero(there).tolist():
        # The packed floats are the end of the serialized list; reading them one by one costs ten times as much.
        out[row] = np.frombuffer(values[row].float_list_val.SerializeToString()[-4 * dim :], "<f4")
    return out
