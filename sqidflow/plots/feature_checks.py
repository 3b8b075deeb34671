"""Checks of the workdir's feature store: point-in-time correctness, and online values equal to offline ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from sqidflow.core import feature_files
from sqidflow.feature_store import names, store
from sqidflow.ranking import features

if TYPE_CHECKING:
    import pandas as pd
    from feast import FeatureStore
    from matplotlib.figure import Figure

LATER = timedelta(days=30)
"""Time from the first to the second version of a vector in the demonstration."""
SECOND_VERSION = 2.0
"""The second version is the first times this, so that the norm shows which version was returned."""
_VIEWS = {
    names.QUERY_VIEW: (feature_files.QUERIES, features.QUERY_ID, (features.QUERY_VEC,)),
    names.PRODUCT_VIEW: (feature_files.PRODUCTS, features.PRODUCT_ID, (features.TEXT_VEC, features.IMAGE_VEC)),
}


def definitions_table(feature_store: FeatureStore) -> pd.DataFrame:
    """Every feature in the registry: its view, entity, type, source, and the feature services that contain it."""
    import pandas as pd

    served: dict[tuple[str, str], list[str]] = {}
    for service in feature_store.list_feature_services():
        for projection in service.feature_view_projections:
            for item in projection.features:
                served.setdefault((projection.name, item.name), []).append(service.name)
    rows = [
        {
            "view": view.name,
            "entity": ", ".join(view.entities),
            "feature": item.name,
            "type": str(item.dtype),
            "source": Path(view.batch_source.path).name,
            "valid": "until replaced" if not view.ttl else str(view.ttl),
            "services": ", ".join(served.get((view.name, item.name), [])),
        }
        for view in sorted(feature_store.list_feature_views(), key=lambda view: view.name)
        for item in view.features
    ]
    return pd.DataFrame(rows).set_index(["view", "feature"])


def _span(artifacts_dir: Path, file: str) -> dict[str, Any]:
    """The "min" and "max" event timestamps of a source."""
    column = pq.read_table(store.features_dir(artifacts_dir) / file, columns=[features.EVENT_TIMESTAMP])
    return pc.min_max(column[features.EVENT_TIMESTAMP]).as_py()


def _ids(artifacts_dir: Path, view: str, count: int) -> pa.Array:
    """At most ``count`` distinct ids of a view's source, evenly spaced in file order."""
    file, key, _ = _VIEWS[view]
    known = pc.unique(pq.read_table(store.features_dir(artifacts_dir) / file, columns=[key])[key])
    return known.take(pa.array(np.unique(np.linspace(0, len(known) - 1, min(count, len(known))).astype(int))))


def _moments(moment: Any, count: int) -> pa.Array:
    return pa.array([moment] * count, pa.timestamp("us", "UTC"))


def as_of_table(feature_store: FeatureStore, artifacts_dir: Path, count: int = 200) -> pd.DataFrame:
    """Number of ids (out of ``count``) of each view that have a vector just before its first event and at its last."""
    import pandas as pd

    rows = []
    for view, (file, _, fields) in _VIEWS.items():
        ids, span = _ids(artifacts_dir, view, count), _span(artifacts_dir, file)
        for label, moment in (
            ("a microsecond before the first event", span["min"] - timedelta(microseconds=1)),
            ("at the last event", span["max"]),
        ):
            values = store.features_as_of(feature_store, view, fields[:1], ids, _moments(moment, len(ids)))
            with_vector = int(values.present[fields[0]].sum())
            rows.append({"view": view, "as of": moment, "time": label, "ids": len(ids), "with a vector": with_vector})
    return pd.DataFrame(rows).set_index("view")


@dataclass(frozen=True)
class AsOf:
    """Norms float64 [m, n] of the vectors of n queries as of m moments, NaN before the first version.

    ``days`` float64 [m] count from the first version's event; the second version's event is at ``second_day``.
    """

    days: np.ndarray
    lengths: np.ndarray
    query_ids: list[int]
    second_day: float


def as_of_demonstration(artifacts_dir: Path, folder: Path, count: int = 4) -> AsOf:
    """Create a small store in ``folder`` with two versions of a few vectors, and look them up at several moments.

    The first version is the workdir's own; the second, 30 days later, has twice the norm.
    """
    ids = _ids(artifacts_dir, names.QUERY_VIEW, count)
    sources = store.features_dir(folder)
    sources.mkdir(parents=True)
    queries = pq.read_table(
        store.features_dir(artifacts_dir) / feature_files.QUERIES, filters=pc.field(features.QUERY_ID).isin(ids)
    )
    stamp, start = features.EVENT_TIMESTAMP, pc.max(queries[features.EVENT_TIMESTAMP]).as_py()
    # A source can have several versions of an id: use the last.
    queries = queries.sort_by(stamp)
    last = {query_id: row for row, query_id in enumerate(queries[features.QUERY_ID].to_pylist())}
    queries = queries.take([last[query_id] for query_id in ids.to_pylist()])
    first = _with(queries, stamp, _moments(start, queries.num_rows))
    vectors = first[features.QUERY_VEC].combine_chunks()
    longer = pa.ListArray.from_arrays(
        vectors.offsets, pc.multiply(vectors.values, pa.scalar(SECOND_VERSION, vectors.values.type))
    )
    second = _with(_with(first, features.QUERY_VEC, longer), stamp, _moments(start + LATER, first.num_rows))
    pq.write_table(pa.concat_tables([first, second.cast(first.schema)]), sources / feature_files.QUERIES)
    products = pq.ParquetFile(store.features_dir(artifacts_dir) / feature_files.PRODUCTS)
    pq.write_table(pa.Table.from_batches([next(products.iter_batches(batch_size=1))]), sources / feature_files.PRODUCTS)
    store.apply(folder)
    small = store.open_store(folder)
    days = np.array([-10.0, -5.0, -0.01, 0.0, 5.0, 15.0, 29.99, 30.0, 35.0, 40.0])
    lengths = np.full((len(days), len(ids)), np.nan)
    for row, day in enumerate(days):
        moments = _moments(start + timedelta(days=day), len(ids))
        values = store.features_as_of(small, names.QUERY_VIEW, [features.QUERY_VEC], ids, moments)
        known = values.present[features.QUERY_VEC]
        lengths[row, known] = np.linalg.norm(values.vectors[features.QUERY_VEC][known], axis=1)
    return AsOf(days, lengths, ids.to_pylist(), LATER / timedelta(days=1))


def _with(table: pa.Table, name: str, values: pa.Array) -> pa.Table:
    return table.set_column(table.schema.get_field_index(name), name, values)


def as_of_figure(result: AsOf) -> Figure:
    """The version returned at each moment: none before the first event, then the newest one up to that moment."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.5, 4.1), layout="constrained")
    axes = figure.subplots()
    # Offset each query's line, because equal norms would overlap.
    height = np.nanmax(result.lengths, initial=1.0)
    for number in range(len(result.query_ids)):
        own = result.lengths[:, number]
        line = np.nan_to_num(own) / height + 1.4 * number
        axes.step(result.days, line, where="post", color=f"C{number}", lw=1)
        axes.plot(result.days[~np.isnan(own)], line[~np.isnan(own)], "o", color=f"C{number}")
        axes.plot(result.days[np.isnan(own)], line[np.isnan(own)], "x", color="0.5")
    for day, label in ((0.0, "first version"), (result.second_day, f"second version ({SECOND_VERSION:g} x the norm)")):
        axes.axvline(day, color="0.6", ls="--", lw=1)
        axes.annotate(
            label,
            (day, 1.0),
            xycoords=("data", "axes fraction"),
            xytext=(4, -12),
            textcoords="offset points",
            fontsize=8,
            color="0.3",
        )
    axes.plot([], [], "x", color="0.5", label="no vector yet")
    axes.plot([], [], "o", color="0.3", label="vector returned; height is its norm")
    axes.set_yticks(
        [1.4 * number for number in range(len(result.query_ids))],
        [f"query {query_id}" for query_id in result.query_ids],
    )
    axes.set_ylim(-0.3, 1.4 * len(result.query_ids) + 0.4)
    axes.set(
        xlabel="days from the first version's event to the look-up time",
        title="Point-in-time look-ups in Feast",
    )
    figure.legend(loc="outside lower center", ncols=2, fontsize=8)
    return figure


@dataclass(frozen=True)
class Agreement:
    """One vector feature of n ids online and offline, float32 [n, d] each.

    ``same_presence``: every id has the vector in both stores or in neither.
    """

    view: str
    field: str
    online: np.ndarray
    offline: np.ndarray
    same_presence: bool

    @property
    def largest_difference(self) -> float:
        if self.online.shape != self.offline.shape:
            return float("inf")
        return float(np.abs(self.online - self.offline).max(initial=0.0))


def compare_online(feature_store: FeatureStore, artifacts_dir: Path, count: int = 200) -> list[Agreement]:
    """Fetch the vectors of ``count`` ids of each view from the online store, and offline as of the last event.

    Raises:
        FeatureStoreError: nothing has been materialized.
    """
    agreements = []
    for view, (file, _, fields) in _VIEWS.items():
        ids = _ids(artifacts_dir, view, count)
        online = store.online_features(feature_store, view, ids.to_pylist())
        moments = _moments(_span(artifacts_dir, file)["max"], len(ids))
        offline = store.features_as_of(feature_store, view, fields, ids, moments)
        for field in fields:
            same = bool(np.array_equal(online.present[field], offline.present[field]))
            agreements.append(Agreement(view, field, online.vectors[field], offline.vectors[field], same))
    return agreements


def agreement_table(agreements: Sequence[Agreement]) -> pd.DataFrame:
    """One row per vector feature: the number of compared ids and the largest difference of an entry."""
    import pandas as pd

    return pd.DataFrame(
        {
            "view": item.view,
            "feature": item.field,
            "ids": len(item.online),
            "length": item.online.shape[1],
            "same ids present": item.same_presence,
            "largest difference": item.largest_difference,
        }
        for item in agreements
    ).set_index(["view", "feature"])


def agreement_figure(agreements: Sequence[Agreement], entries: int = 3000) -> Figure:
    """Entries of the vectors, online against offline; all are on the diagonal if the stores agree."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3.6 * len(agreements), 3.7), layout="constrained")
    for axes, item in zip(figure.subplots(1, len(agreements), squeeze=False).flat, agreements):
        flat = np.linspace(0, item.offline.size - 1, min(entries, item.offline.size)).astype(int)
        offline, online = item.offline.reshape(-1)[flat], item.online.reshape(-1)[flat]
        reach = 1.08 * float(np.abs(np.concatenate([offline, online])).max(initial=1e-6))
        axes.plot([-reach, reach], [-reach, reach], color="0.8", lw=1, zorder=0)
        axes.plot(offline, online, ".", ms=3, alpha=0.6)
        axes.set(xlim=(-reach, reach), ylim=(-reach, reach), xlabel="offline", ylabel="online", aspect="equal")
        axes.set_title(f"{item.field}\nlargest difference {item.largest_difference:.2g}", fontsize=10)
        axes.tick_params(labelsize=8)
        axes.locator_params(nbins=5)
    figure.suptitle("Entries of the vectors, online store against offline store")
    return figure
