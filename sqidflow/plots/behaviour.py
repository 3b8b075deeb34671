"""Figures of what a search does: cosines of queries and products, both in the plane, and what would turn an order."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sqidflow.core.settings import load_settings
from sqidflow.core.workdir import Workdir
from sqidflow.evaluation.behaviour.asking import JudgedQuery, chosen_queries, judged_queries
from sqidflow.evaluation.behaviour.audit import kept_scores
from sqidflow.evaluation.behaviour.explanations import counter_examples, plane, similarity_map
from sqidflow.search.engine import SearchCore
from sqidflow.search.state import choose, find_index, open_core

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


def open_search(root: Path, queries: int = 100) -> tuple[SearchCore, list[JudgedQuery]]:
    """What answers in a workdir, and some of the held-out queries of its model.

    Raises:
        SqidflowError: no model, no index of it, or no held-out scores.
    """
    place, settings = Workdir(root), load_settings(root)
    version, _ = choose(place, settings)
    index = find_index(place, settings, version)
    core = open_core(place, version, index, settings, settings.search.retrieval_a, dict(os.environ))
    _, scores = kept_scores(place, version)
    return core, chosen_queries(judged_queries(scores), queries, settings.audit.seed)


def similarity_figure(core: SearchCore, queries: Sequence[JudgedQuery], most: int = 10) -> Figure:
    """Cosine of each query with the products nearest to any of them."""
    from matplotlib.figure import Figure

    texts = [query.text for query in queries[:most]]
    titles, values = similarity_map(core, texts)
    figure = Figure(figsize=(10, 0.4 * len(texts) + 2.8), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(values, cmap="viridis", aspect="auto")
    for (row, column), value in np.ndenumerate(values):
        axes.text(column, row, f"{value:.2f}", ha="center", va="center", color="white", fontsize=8)
    axes.set_xticks(range(len(titles)), [title[:24] for title in titles], rotation=35, ha="right", fontsize=8)
    axes.set_yticks(range(len(texts)), texts, fontsize=8)
    figure.colorbar(image, label="cosine")
    return figure


def plane_figure(core: SearchCore, queries: Sequence[JudgedQuery], seed: int = 17) -> Figure:
    """Queries and as many products in the plane by t-SNE on cosines."""
    from matplotlib.figure import Figure

    points, kinds, _ = plane(core, queries, seed)
    figure = Figure(figsize=(9, 6), layout="constrained")
    axes = figure.subplots()
    labels = np.array(kinds)
    for kind, color in (("product", "tab:orange"), ("query", "tab:blue")):
        axes.scatter(points[labels == kind, 0], points[labels == kind, 1], s=18, color=color, label=kind, alpha=0.8)
    axes.set(xticks=[], yticks=[])
    axes.legend()
    return figure


def importance_figure(core: SearchCore, queries: Sequence[JudgedQuery], most: int = 25) -> Figure:
    """Mean size of each Shapley part over the first products of some answers."""
    from matplotlib.figure import Figure

    from sqidflow.search.engine import Request

    sizes: dict[str, list[float]] = {}
    for query in queries[:most]:
        for hit in core.search(Request(query.text, k=3, explain=True)).hits:
            for part in hit.explanation.parts if hit.explanation else ():
                sizes.setdefault(part.label, []).append(abs(part.contribution))
    rows = sorted(((float(np.mean(values)), label) for label, values in sizes.items()), reverse=False)
    figure = Figure(figsize=(9, 0.35 * len(rows) + 1), layout="constrained")
    axes = figure.subplots()
    axes.barh([label for _, label in rows], [size for size, _ in rows], color="tab:blue")
    axes.set_xlabel("mean size of the part in a score")
    return figure


def counter_example_table(core: SearchCore, queries: Sequence[JudgedQuery]) -> pd.DataFrame:
    """The fewest groups of the first product's features that would bring the second above it."""
    import pandas as pd

    columns: list[Any] = ["query", "product", "would rank above", "if it had the other's"]
    return pd.DataFrame(counter_examples(core, queries), columns=columns)
