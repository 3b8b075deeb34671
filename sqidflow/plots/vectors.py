"""Figures of the embeddings: their norms, and a PCA projection to two dimensions."""

from __future__ import annotations

import csv
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from sqidflow.core import feature_files
from sqidflow.core.files import require
from sqidflow.ranking import features

if TYPE_CHECKING:
    from matplotlib.figure import Figure

VECTOR_LIMIT = 4000
"""Rows read of each file, evenly spaced; a figure of more points shows no more."""
POINTS = 1200
SHOWN_COLORS = 8
KIND_NAMES = {
    features.QUERY_VEC: "queries",
    features.TEXT_VEC: "product texts",
    features.IMAGE_VEC: "product pictures",
}
_KIND_COLORS = {features.QUERY_VEC: "tab:red", features.TEXT_VEC: "tab:blue", features.IMAGE_VEC: "tab:olive"}


@dataclass(frozen=True)
class Vectors:
    """``by_kind`` feature name -> float32 [n, d], not normalised; ``ids`` feature name -> the ids of the rows."""

    by_kind: dict[str, np.ndarray]
    ids: dict[str, list[Any]]


def read_vectors(features_dir: Path, limit: int = VECTOR_LIMIT) -> Vectors:
    """About ``limit`` rows of each source of the feature store; products without a picture have no picture row.

    Raises:
        MissingInputError: a source does not exist.
    """
    by_kind, ids = {}, {}
    for file, key, kinds in (
        (feature_files.QUERIES, features.QUERY_ID, (features.QUERY_VEC,)),
        (feature_files.PRODUCTS, features.PRODUCT_ID, (features.TEXT_VEC, features.IMAGE_VEC)),
    ):
        table = _evenly(require(features_dir / file), [key, *kinds], limit)
        for kind in kinds:
            known = table.filter(table[kind].is_valid())
            column = known[kind].combine_chunks()
            flat = column.flatten().to_numpy(zero_copy_only=False)
            by_kind[kind] = flat.reshape(known.num_rows, -1) if known.num_rows else np.zeros((0, 0), np.float32)
            ids[kind] = known[key].to_pylist()
    return Vectors(by_kind, ids)


def _evenly(file: Path, columns: list[str], limit: int) -> pa.Table:
    """Every k-th row, read in batches so that a large file is never in memory as a whole."""
    source = pq.ParquetFile(file)
    step, seen, sampled = max(1, -(-source.metadata.num_rows // limit)), 0, []
    for batch in source.iter_batches(batch_size=8192, columns=columns):
        rows = np.arange(-seen % step, batch.num_rows, step)
        sampled.append(batch.take(pa.array(rows)))
        seen += batch.num_rows
    return pa.Table.from_batches(sampled) if sampled else source.read(columns)


def norm_figure(vectors: Vectors) -> Figure:
    """Distribution of the norms of each kind of vector. The ranker normalises vectors; a norm of 0 is an error."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.5, 3.0), layout="constrained")
    for axes, (kind, rows) in zip(figure.subplots(1, len(vectors.by_kind)), vectors.by_kind.items()):
        norms = np.linalg.norm(rows, axis=1)
        spread = float(np.ptp(norms)) if len(norms) else 0.0
        middle = float(norms.mean()) if len(norms) else 0.0
        # Norms of vectors that the encoder normalised differ only by rounding; the axis must not magnify that.
        reach = max(spread, 0.02 * middle) or 1.0
        low, high = (norms.min() + norms.max()) / 2 + np.array([-0.55, 0.55]) * reach if len(norms) else (0.0, 1.0)
        axes.hist(norms, bins=30, range=(low, high), color=_KIND_COLORS[kind])
        axes.set_title(f"{len(norms):,} {KIND_NAMES[kind]}, d = {rows.shape[1]}", fontsize=10)
        axes.set(xlabel=f"norm (mean {middle:.3g})", ylabel="vectors")
        axes.locator_params(axis="x", nbins=5)
    figure.suptitle("Norms of the vectors in the feature store")
    return figure


def unit(rows: np.ndarray) -> np.ndarray:
    """Unit rows, float32 [n, d]; a zero row stays zero."""
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.divide(rows, norms, out=np.zeros_like(rows), where=norms > 0)


def _sample(rows: np.ndarray, count: int = POINTS) -> np.ndarray:
    return np.arange(len(rows)) if len(rows) <= count else np.linspace(0, len(rows) - 1, count).astype(int)


def product_colors(pairs_file: Path) -> dict[str, str]:
    """product id -> its colour in lower case; products without a colour are left out."""
    with require(pairs_file).open(newline="", encoding="utf-8") as stream:
        return {
            row[features.PRODUCT_ID]: row[features.COLOR].casefold()
            for row in csv.DictReader(stream)
            if row[features.COLOR]
        }


def projection_figure(vectors: Vectors, colors: dict[str, str]) -> Figure:
    """Two-dimensional PCA of the unit vectors: all kinds in one plane, then texts and pictures by product colour."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12.5, 4.6), layout="constrained")
    together, *alone = figure.subplots(1, 3)
    kinds = {kind: unit(rows[_sample(rows)]) for kind, rows in vectors.by_kind.items() if len(rows)}
    points, explained = _plane(np.concatenate(list(kinds.values())))
    begin = 0
    for kind, rows in kinds.items():
        part = points[begin : begin + len(rows)]
        begin += len(rows)
        together.scatter(*part.T, s=5, alpha=0.5, color=_KIND_COLORS[kind], label=KIND_NAMES[kind])
    together.set_title(f"queries, texts and pictures ({explained:.0%} of the variance)", fontsize=10)
    together.legend(markerscale=3, fontsize=8, loc="best")
    for axes, kind in zip(alone, (features.TEXT_VEC, features.IMAGE_VEC)):
        _by_color(axes, kind, vectors, colors)
    figure.suptitle("Projections of the unit vectors (PCA)")
    return figure


def _plane(rows: np.ndarray) -> tuple[np.ndarray, float]:
    from sklearn.decomposition import PCA

    pca = PCA(n_components=2, random_state=0)
    points = pca.fit_transform(rows)
    return points, float(np.nansum(pca.explained_variance_ratio_))


def _by_color(axes: Any, kind: str, vectors: Vectors, colors: dict[str, str]) -> None:
    from matplotlib.colors import is_color_like

    rows = vectors.by_kind[kind]
    if len(rows) < 2:
        axes.text(0.5, 0.5, f"no {KIND_NAMES[kind]}", ha="center", va="center", transform=axes.transAxes)
        axes.set_axis_off()
        return
    chosen = _sample(rows)
    named = np.array([colors.get(vectors.ids[kind][row], "") for row in chosen], dtype=object)
    points, explained = _plane(unit(rows[chosen]))
    axes.scatter(*points[named == ""].T, s=4, color="0.85", label="(no colour named)")
    common = [name for name, _ in Counter(name for name in named if name).most_common(SHOWN_COLORS)]
    for number, name in enumerate(common):
        color = name if is_color_like(name) and not name.isdecimal() else f"C{number}"
        axes.scatter(*points[named == name].T, s=12, color=color, edgecolor="0.4", linewidth=0.3, label=name)
    axes.set_title(f"{KIND_NAMES[kind]} by the product's colour ({explained:.0%})", fontsize=10)
    axes.legend(fontsize=7, markerscale=1.5, loc="best")
