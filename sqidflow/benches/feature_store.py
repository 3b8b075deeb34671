"""Benchmark of the feature store at any size: materialization, online look-ups, offline point-in-time joins."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv

from sqidflow.benches.machine import describe
from sqidflow.benches.whole import Size, write_raw
from sqidflow.core.memory import PeakMemory
from sqidflow.core.workdir import Workdir

LOOK_UPS = 200
PRODUCTS_A_LOOK_UP = 100
_TIMESTAMP = pa.timestamp("us", tz="UTC")


def bench(size: Size, workdir: Workdir, say: Callable[[str], None], redis_url: str | None = None) -> dict[str, Any]:
    """Raw data and its preparation (not counted), then every job of the feature store, in this process.

    Returns:
        the document of ``bench features --json``. ``rows_per_second`` counts products and queries in a
        materialization, pairs in the join, products in the look-ups; the resident memory is this process's.
    """
    from sqidflow.data.prepare import prepare
    from sqidflow.feature_store import names, store
    from sqidflow.ranking import features

    write_raw(workdir.data, size)
    prepared = prepare(workdir.data, workdir.artifacts, locale=None, small_version=False)
    say(f"prepared {prepared.pairs:,} pairs of {prepared.products:,} products (not counted)")
    store.apply(workdir.artifacts, redis_url=redis_url)
    rows: list[dict[str, Any]] = []

    @contextmanager
    def measured(step: str, count: int) -> Iterator[dict[str, Any]]:
        more: dict[str, Any] = {}
        with PeakMemory() as memory:
            memory.reset()
            started = time.perf_counter()
            yield more
            seconds = time.perf_counter() - started
        rows.append(
            {
                "step": step,
                "seconds": round(seconds, 3),
                "rows_per_second": round(count / seconds),
                "peak_rss_mb": round(memory.peak_rss_mb),
                **more,
            }
        )
        say(f"{step}: {seconds:.1f} s")

    ids = prepared.products + prepared.queries
    kind = "redis" if redis_url else "sqlite"
    with measured(f"materialize ({kind})", ids):
        store.materialize(workdir.artifacts, redis_url=redis_url, force=True)
    with measured(f"materialize again ({kind}), no changes", ids):
        store.materialize(workdir.artifacts, redis_url=redis_url)

    feast = store.open_store(workdir.artifacts, redis_url=redis_url)
    pairs = pacsv.read_csv(
        workdir.pairs,
        convert_options=pacsv.ConvertOptions(
            include_columns=[features.QUERY_ID, features.PRODUCT_ID, features.EVENT_TIMESTAMP],
            column_types={features.PRODUCT_ID: pa.string(), features.EVENT_TIMESTAMP: pa.string()},
        ),
    )
    with measured("point-in-time join", pairs.num_rows):
        for view, column in ((names.QUERY_VIEW, features.QUERY_ID), (names.PRODUCT_VIEW, features.PRODUCT_ID)):
            key = [column, features.EVENT_TIMESTAMP]
            keys = pairs.select(key).group_by(key).aggregate([])
            wanted = store.service_features(feast, features.FEATURE_SERVICE)[view]
            stamps = pc.cast(keys[features.EVENT_TIMESTAMP], _TIMESTAMP)
            found = store.features_as_of(feast, view, wanted, keys[column].combine_chunks(), stamps.combine_chunks())
            if not found.found.all():
                raise ValueError(f"{int((~found.found).sum())} of {len(keys)} ids of {view} were not found")
            # The result of the join is the row of each pair, gathered in batches as FeatureJoin does.
            at = pc.index_in(pairs[column], keys[column].combine_chunks()).to_numpy()
            for start in range(0, len(at), 2048):
                for matrix in found.vectors.values():
                    matrix.take(at[start : start + 2048], axis=0)
            del found

    generator = np.random.default_rng(1)
    products = pc.unique(pairs[features.PRODUCT_ID]).to_pylist()
    seconds = []
    with measured(f"online look-up of {PRODUCTS_A_LOOK_UP} products ({kind})", LOOK_UPS * PRODUCTS_A_LOOK_UP) as more:
        for _ in range(LOOK_UPS):
            asked = [products[at] for at in generator.integers(0, len(products), PRODUCTS_A_LOOK_UP)]
            started = time.perf_counter()
            store.online_features(feast, names.PRODUCT_VIEW, asked)
            seconds.append(time.perf_counter() - started)
        for share in (50, 99):
            more[f"p{share}_ms"] = round(float(np.percentile(seconds, share)) * 1000, 2)
    return {
        "machine": describe(),
        "size": {"queries": prepared.queries, "products": prepared.products, "pairs": prepared.pairs, "dim": size.dim},
        "rows": rows,
    }
