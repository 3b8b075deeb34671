"""Benchmark of all steps at any size: raw data in the published formats, then every step to the pushed model."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from sqidflow.benches.machine import describe
from sqidflow.benches.measure import measure_verb
from sqidflow.data import formats

CHUNK_ROWS = 8192
CLUSTERS = 512
"""Number of cluster centres of products and queries; real vectors are clustered, too."""
_WORDS_PER_CLUSTER = 6
_STRIDE = 7919  # a prime, so that the walk through all products visits none twice
_COLORS = ("black", "white", "red", "green", "blue", "brown", "pink", "gray")


@dataclass(frozen=True)
class Size:
    """Size of the raw data: counts, and the length of each vector."""

    queries: int
    products: int
    pairs: int
    dim: int

    def __post_init__(self) -> None:
        if self.pairs < self.queries or self.pairs > self.queries * self.products:
            raise ValueError(f"{self.pairs} pairs do not fit {self.queries} queries and {self.products} products")


def write_raw(data_dir: Path, size: Size) -> None:
    """Write the four files in chunks, with a fixed seed. Synthetic and without meaning, in the published formats."""
    data_dir.mkdir(parents=True, exist_ok=True)
    centres = _rng(0).standard_normal((CLUSTERS, size.dim)).astype(np.float32)
    _write(data_dir / formats.QUERY_FEATURES_FILE, _query_vectors(size, centres))
    _write(data_dir / formats.PRODUCT_FEATURES_FILE, _product_vectors(size, centres))
    _write(data_dir / formats.PRODUCTS_FILE, products(size))
    _write(data_dir / formats.EXAMPLES_FILE, judgements(size))


def _rng(*key: int) -> np.random.Generator:
    return np.random.default_rng([20240613, *key])


def _chunks(rows: int) -> Iterator[tuple[int, np.ndarray]]:
    for number, start in enumerate(range(0, rows, CHUNK_ROWS)):
        yield number, np.arange(start, min(start + CHUNK_ROWS, rows))


def _write(file: Path, batches: Iterator[pa.Table]) -> None:
    writer = None
    try:
        for batch in batches:
            writer = writer or pq.ParquetWriter(file, batch.schema, compression="NONE", use_dictionary=False)
            writer.write_table(batch, row_group_size=CHUNK_ROWS)
    finally:
        if writer is not None:
            writer.close()


def _lists(vectors: np.ndarray, present: np.ndarray | None = None) -> pa.ListArray:
    rows, dim = vectors.shape
    counts = np.full(rows, dim) if present is None else np.where(present, dim, 0)
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
    values = vectors if present is None else vectors[present]
    mask = None if present is None else pa.array(~present)
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(values.reshape(-1)), mask=mask)


def _around(centres: np.ndarray, clusters: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    noise = rng.standard_normal((len(clusters), centres.shape[1]), dtype=np.float32)
    return centres[clusters] + np.float32(1.2) * noise


def _query_vectors(size: Size, centres: np.ndarray) -> Iterator[pa.Table]:
    for number, ids in _chunks(size.queries):
        vectors = _around(centres, ids % CLUSTERS, _rng(1, number))
        yield pa.table({"query_id": pa.array(ids.astype(str)), formats.TEXT_VECTOR: _lists(vectors)})


def _product_vectors(size: Size, centres: np.ndarray) -> Iterator[pa.Table]:
    for number, ids in _chunks(size.products):
        rng = _rng(2, number)
        text, image = (_around(centres, ids % CLUSTERS, rng) for _ in range(2))
        yield pa.table(
            {
                "product_id": pa.array(_product_ids(ids)),
                formats.TEXT_VECTOR: _lists(text),
                formats.IMAGE_VECTOR: _lists(image, rng.random(len(ids)) > 0.05),
            }
        )


def _product_ids(ids: np.ndarray) -> list[str]:
    return [f"B{number:09d}" for number in ids.tolist()]


def _word(cluster: int, word: int) -> str:
    return f"{chr(97 + word)}kind{cluster}"


def products(size: Size) -> Iterator[pa.Table]:
    """The file of products, some rows at a time."""
    for number, ids in _chunks(size.products):
        rng = _rng(3, number)
        words = rng.integers(0, _WORDS_PER_CLUSTER, (len(ids), 4))
        colors = rng.integers(0, len(_COLORS), len(ids))
        brands = rng.integers(0, 500, len(ids))
        titles = [
            f"Brand{brand} {_COLORS[color]} "
            + " ".join(_word(i % CLUSTERS, w) for w in row)
            + " for home and travel, new"
            for i, row, color, brand in zip(ids.tolist(), words.tolist(), colors.tolist(), brands.tolist())
        ]
        empty = pa.nulls(len(ids), pa.string())
        yield pa.table(
            {
                "product_id": pa.array(_product_ids(ids)),
                "product_title": pa.array(titles),
                "product_description": empty,
                "product_bullet_point": empty,
                "product_brand": pa.array([f"Brand{brand}" for brand in brands.tolist()]),
                "product_color": pa.array([_COLORS[color] for color in colors.tolist()]),
                "product_locale": pa.array(["us"] * len(ids)),
            }
        )


def judgements(size: Size) -> Iterator[pa.Table]:
    """Half of a query's products are in its cluster; near products are more often Exact."""
    per_query = np.full(size.queries, size.pairs // size.queries)
    per_query[: size.pairs % size.queries] += 1
    example = 0
    for number, ids in _chunks(size.queries):
        rng = _rng(4, number)
        counts = per_query[ids]
        query = np.repeat(ids, counts)
        position = np.arange(len(query)) - np.repeat(np.cumsum(counts) - counts, counts)
        # Walk from a random start, so that no product comes twice; half of the walk is through the query's cluster.
        cluster = query % CLUSTERS
        members = np.maximum(-(-(size.products - cluster) // CLUSTERS), 0)
        start = np.repeat(rng.integers(0, size.products, len(ids)), counts)
        near = position < np.minimum(np.repeat(counts // 2, counts), members)
        in_cluster = (start + position) % np.maximum(members, 1) * CLUSTERS + cluster
        product = np.where(near, in_cluster, (start + position * _STRIDE) % size.products)
        _, first = np.unique(query * size.products + product, return_index=True)
        query, product = query[np.sort(first)], product[np.sort(first)]
        exact = np.where(query % CLUSTERS == product % CLUSTERS, 0.8, 0.15)
        draw = rng.random(len(query))
        label = np.where(draw < exact, "E", np.where(draw < exact + 0.15, "S", np.where(draw < exact + 0.18, "C", "I")))
        words = rng.integers(0, _WORDS_PER_CLUSTER, (len(ids), 2)).tolist()
        texts = {i: " ".join(_word(i % CLUSTERS, w) for w in row) + f" {i}" for i, row in zip(ids.tolist(), words)}
        ones = pa.array(np.ones(len(query), np.int64))
        yield pa.table(
            {
                "example_id": pa.array(np.arange(example, example + len(query))),
                "query": pa.array([texts[i] for i in query.tolist()]),
                "query_id": pa.array(query),
                "product_id": pa.array(_product_ids(product)),
                "product_locale": pa.array(["us"] * len(query)),
                "esci_label": pa.array(label),
                "small_version": ones,
                "large_version": ones,
                "split": pa.array(["test"] * len(query)),
            }
        )
        example += len(query)


def bench(size: Size, workdir: Path, say: Callable[[str], None]) -> dict[str, Any]:
    """Generate the raw data in ``workdir``, run every step, and return the document of ``bench pipeline --json``.

    Seconds of a component are its own; the resident memory beside it is the highest while it ran, what the process
    had loaded before included.
    """
    rows: list[dict[str, Any]] = []

    def add(step: str, seconds: float, peak_rss_mb: float | None, count: int) -> None:
        say(f"{step}: {seconds:.1f} s")
        rows.append(
            {
                "step": step,
                "seconds": round(seconds, 2),
                "rows_per_second": round(count / seconds) if seconds > 0.005 else None,
                "peak_rss_mb": round(peak_rss_mb) if peak_rss_mb is not None else None,
            }
        )

    started = time.perf_counter()
    write_raw(workdir / "data", size)
    say(f"raw data in {workdir / 'data'}: {time.perf_counter() - started:.0f} s (not counted)")
    verb = measure_verb(("features", "--json"), workdir)
    pairs = json.loads(verb.out)["prepared"]["pairs"]
    add("features", verb.seconds, verb.peak_rss_mb, pairs)
    verb = measure_verb(("run", "--json"), workdir)
    document = json.loads(verb.out)
    for part in document["components"]:
        add(part["name"], part["seconds"], part["peak_rss_mb"], pairs)
    add("run, whole", verb.seconds, verb.peak_rss_mb, pairs)
    total = sum(row["seconds"] for row in rows if row["step"] in ("features", "run, whole"))
    return {
        "machine": describe(),
        "size": {"queries": size.queries, "products": size.products, "pairs": pairs, "dim": size.dim},
        "rows": rows,
        "total_seconds": round(total, 1),
        "peak_rss_mb": max(row["peak_rss_mb"] for row in rows if row["peak_rss_mb"] is not None),
        "ndcg": {method: interval["mean"] for method, interval in document["ndcg"].items()},
        "pushed_model": document["pushed_model"] is not None,
    }
