"""Figures of one model: TFMA's slices, each query against the zero-shot cosine, the worst lists with pictures."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import sys
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from sqidflow.core.files import require
from sqidflow.ranking import features, metrics
from sqidflow.ranking.model_names import DEFAULT_MODEL

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

IMAGES_FILE = "product_images.parquet"
LABEL_COLORS = {"E": "tab:green", "S": "gold", "C": "tab:orange", "I": "tab:red"}
PROBABILITIES = [f"P({label})" for label in reversed(features.CLASSES)]


@dataclass(frozen=True)
class HeldOut:
    """A model's held-out scores as RankingReport wrote them, sorted by (query, product)."""

    report: dict[str, Any]
    scores: pa.Table

    @property
    def model(self) -> str:
        return self.report["model"]

    @property
    def ratings(self) -> np.ndarray:
        """Class ids int64 [n]."""
        return self.scores[features.RATING].to_numpy()

    @property
    def probabilities(self) -> np.ndarray:
        """float32 [n, 4], classes in the order of their ids."""
        return self.scores["probs"].combine_chunks().flatten().to_numpy().reshape(-1, len(features.CLASSES))

    def ndcg(self, column: str = "score") -> tuple[np.ndarray, np.ndarray]:
        """Query ids [q] and their NDCG [q] for a column of ``scores``; NaN if a query has no relevant product."""
        lists = metrics.RankedLists.of(
            self.scores[features.QUERY_ID].to_numpy(), self.scores[features.PRODUCT_ID].to_numpy()
        )
        gains = features.CLASS_GAINS[self.ratings]
        return lists.query_ids, metrics.ndcg_per_query(lists, gains, self.scores[column].to_numpy())


def evaluated_models(evaluations_dir: Path) -> dict[str, HeldOut]:
    """Every model with saved held-out scores, the default model first.

    Raises:
        MissingInputError: there is none.
    """
    files = sorted(evaluations_dir.glob("[!.]*/report.json"))
    if not files:
        require(evaluations_dir / DEFAULT_MODEL / "report.json")
    models = {
        file.parent.name: HeldOut(json.loads(file.read_text()), pq.read_table(file.parent / "scores.parquet"))
        for file in files
    }
    return dict(sorted(models.items(), key=lambda item: item[0] != DEFAULT_MODEL))


@dataclass(frozen=True)
class Slice:
    """TFMA's metrics of one slice; ``name`` is empty for all pairs."""

    name: str
    value: str
    ndcg: float
    ndcg_cosine: float
    accuracy: float
    pairs: int


@contextlib.contextmanager
def _stderr_aside() -> Iterator[None]:
    """Silence file descriptor 2: TensorFlow writes to it at import, below Python's streams, and notebooks show that."""
    sys.stderr.flush()
    saved, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(nowhere)


def read_slices(evaluation_dir: Path) -> list[Slice]:
    """The slices that TFMA's Evaluator wrote: all pairs first, then by feature and value."""
    import logging

    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    with _stderr_aside():
        import tensorflow_model_analysis as tfma

        result = tfma.load_eval_result(str(require(evaluation_dir)))
    slices = []
    for key, outputs in result.slicing_metrics:
        values = {
            name: value.get("doubleValue", np.nan)
            for by_class in outputs.values()
            for named in by_class.values()
            for name, value in named.items()
        }
        name, value = key[0] if key else ("", "all")
        slices.append(
            Slice(
                name=name,
                value=str(value),
                ndcg=float(values.get("ndcg", np.nan)),
                ndcg_cosine=float(values.get("ndcg_cosine", np.nan)),
                accuracy=float(values.get("sparse_categorical_accuracy", np.nan)),
                pairs=int(values.get("example_count", 0)),
            )
        )
    return sorted(slices, key=lambda item: (item.name, item.value))


def slices_figure(slices: Sequence[Slice], model: str) -> Figure:
    """NDCG of the model and of the zero-shot cosine in every slice, and the classification accuracy."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10.5, 0.36 * len(slices) + 1.9), layout="constrained")
    ranking, classes = figure.subplots(1, 2, sharey=True, width_ratios=(3, 2))
    rows = np.arange(len(slices))[::-1]
    for row, item in zip(rows, slices):
        ranking.plot([item.ndcg_cosine, item.ndcg], [row, row], color="0.75", lw=2, zorder=0)
    ranking.plot([item.ndcg_cosine for item in slices], rows, "o", color="0.5", label="zero-shot cosine")
    ranking.plot([item.ndcg for item in slices], rows, "o", color="tab:blue", label=model)
    classes.barh(rows, [item.accuracy for item in slices], color="tab:blue", alpha=0.6)
    for row, item in zip(rows, slices):
        classes.annotate(
            f"{item.accuracy:.2f}",
            (item.accuracy, row),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
        )
    names = [f"{item.name}: {item.value}" if item.name else "all held-out pairs" for item in slices]
    ranking.set_yticks(rows, [f"{name} ({item.pairs:,} pairs)" for name, item in zip(names, slices)], fontsize=9)
    ranking.set(xlabel="NDCG", title="Ranking")
    ranking.grid(axis="x", alpha=0.3)
    ranking.margins(x=0.08)
    ranking.legend(fontsize=8)
    classes.set(xlabel="accuracy", title="Classes", xlim=(0, 1.12))
    figure.suptitle("TFMA's slices of the held-out queries")
    return figure


def queries_figure(held_out: HeldOut) -> Figure:
    """NDCG of each held-out query: the model against the zero-shot cosine, and both distributions."""
    from matplotlib.figure import Figure

    _, model = held_out.ndcg()
    _, cosine = held_out.ndcg("cosine")
    known = ~np.isnan(model)
    model, cosine = model[known], cosine[known]
    figure = Figure(figsize=(10, 4.4), layout="constrained")
    against, spread = figure.subplots(1, 2)
    low = min(model.min(), cosine.min()) - 0.03
    against.plot([low, 1], [low, 1], color="0.7", ls="--", lw=1)
    against.plot(cosine, model, "o", ms=5, alpha=0.5)
    better, worse = int((model > cosine).sum()), int((model < cosine).sum())
    against.set(
        xlabel="NDCG by the zero-shot cosine",
        ylabel=f"NDCG by {held_out.model}",
        xlim=(low, 1.02),
        ylim=(low, 1.02),
        title=f"Queries: {better} better, {worse} worse, {len(model) - better - worse} equal",
    )
    bins = np.linspace(low, 1.0, 21)
    spread.hist(cosine, bins, color="0.5", alpha=0.6, label=f"zero-shot cosine, mean {cosine.mean():.3f}")
    spread.hist(model, bins, color="tab:blue", alpha=0.6, label=f"{held_out.model}, mean {model.mean():.3f}")
    spread.set(xlabel="NDCG", ylabel="held-out queries", title="Distribution over the queries")
    spread.legend(fontsize=8, loc="upper left")
    return figure


def worst_queries(held_out: HeldOut, count: int = 4) -> list[int]:
    """The query ids with the lowest NDCG, worst first; queries without a relevant product are left out."""
    query_ids, ndcg = held_out.ndcg()
    order = np.argsort(ndcg, kind="stable")  # NaN goes last
    return [int(query_ids[row]) for row in order[:count] if not np.isnan(ndcg[row])]


def read_titles(pairs_file: Path, product_ids: set[str]) -> dict[str, str]:
    """product id -> title, for the given products."""
    with require(pairs_file).open(newline="", encoding="utf-8") as stream:
        return {
            row[features.PRODUCT_ID]: row[features.TITLE]
            for row in csv.DictReader(stream)
            if row[features.PRODUCT_ID] in product_ids
        }


def read_pictures(data_dir: Path, product_ids: set[str]) -> dict[str, np.ndarray]:
    """product id -> picture uint8 [height, width, 3]; without products that have no picture; empty without the file."""
    from PIL import Image

    file = data_dir / IMAGES_FILE
    if not file.is_file():
        return {}
    table = pq.read_table(file, filters=pc.field(features.PRODUCT_ID).isin(sorted(product_ids)))
    return {
        product_id: np.asarray(Image.open(BytesIO(image)).convert("RGB"))
        for product_id, image in zip(table[features.PRODUCT_ID].to_pylist(), table["image"].to_pylist())
        if image is not None
    }


def ranked(held_out: HeldOut, query_id: int) -> pa.Table:
    """One query's products in the model's order, ties by product id."""
    own = held_out.scores.filter(pc.field(features.QUERY_ID) == query_id)
    return own.sort_by([("score", "descending"), (features.PRODUCT_ID, "ascending")])


def worst_queries_figure(
    held_out: HeldOut, query_ids: Sequence[int], data_dir: Path, pairs_file: Path, top: int = 7
) -> Figure:
    """The model's top results of each query as users see them, framed in the colour of the judgement."""
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    lists = {query_id: ranked(held_out, query_id) for query_id in query_ids}
    shown = {product for own in lists.values() for product in own[features.PRODUCT_ID][:top].to_pylist()}
    titles, pictures = read_titles(pairs_file, shown), read_pictures(data_dir, shown)
    ndcg = dict(zip(*(values.tolist() for values in held_out.ndcg())))
    figure = Figure(figsize=(1.75 * top, 2.75 * len(lists) + 0.6), layout="constrained")
    for part, (query_id, own) in zip(figure.subfigures(len(lists), 1, squeeze=False).flat, lists.items()):
        exact = int((own[features.RATING].to_numpy() == features.CLASS_IDS["E"]).sum())
        part.suptitle(
            f"“{own[features.QUERY][0].as_py()}”  NDCG {ndcg[query_id]:.3f}, {exact} of {own.num_rows} judged Exact",
            fontsize=11,
            x=0.01,
            ha="left",
            parse_math=False,
        )
        rows = own.slice(0, top).to_pylist()
        for rank, axes in enumerate(part.subplots(1, top, squeeze=False).flat):
            axes.set(xticks=[], yticks=[])
            if rank >= len(rows):
                axes.set_axis_off()
                continue
            row = rows[rank]
            label = features.CLASSES[row[features.RATING]]
            picture = pictures.get(row[features.PRODUCT_ID])
            if picture is None:
                picture = np.full((64, 64, 3), 235, np.uint8)
                axes.text(31.5, 31.5, "no picture", ha="center", va="center", fontsize=8, color="0.4")
            axes.imshow(picture)
            for side in axes.spines.values():
                side.set(color=LABEL_COLORS[label], linewidth=4)
            title = textwrap.shorten(titles.get(row[features.PRODUCT_ID], ""), 62, placeholder=" …")
            axes.set_xlabel("\n".join(textwrap.wrap(title, 21)[:3]), fontsize=7, parse_math=False)
            axes.set_title(f"{rank + 1}. {label}, score {row['score']:.2f}", fontsize=9)
    figure.legend(
        handles=[Patch(color=color, label=f"judged {label}") for label, color in LABEL_COLORS.items()],
        loc="outside lower center",
        ncols=4,
        fontsize=9,
    )
    return figure


def confident_errors(held_out: HeldOut, pairs_file: Path, count: int = 10) -> pd.DataFrame:
    """The pairs whose judged class got the lowest probability: errors of the model, or of the judgement."""
    import pandas as pd

    ratings, probabilities = held_out.ratings, held_out.probabilities
    given = probabilities[np.arange(len(ratings)), ratings]
    rows = np.argsort(given, kind="stable")[:count]
    chosen = held_out.scores.take(rows)
    products = chosen[features.PRODUCT_ID].to_pylist()
    titles = read_titles(pairs_file, set(products))
    table = pd.DataFrame(
        {
            "query": chosen[features.QUERY].to_pylist(),
            "product": [textwrap.shorten(titles.get(product, product), 70, placeholder=" …") for product in products],
            "judged": [features.CLASSES[rating] for rating in ratings[rows]],
            "predicted": [features.CLASSES[class_id] for class_id in probabilities[rows].argmax(axis=1)],
        }
    )
    table[PROBABILITIES] = probabilities[rows][:, ::-1].round(3)
    return table
