"""Held-out comparison of every trained model with the baselines, from the scores that runs saved.

Reads ``artifacts/evaluations/<model>/``; needs neither TensorFlow nor a model. A measure without a value (no relevant
product anywhere) is None, null in JSON; never NaN.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from sqidflow.core.errors import DataError
from sqidflow.data import formats
from sqidflow.evaluation import measures
from sqidflow.evaluation.bm25 import bm25_scores, product_text
from sqidflow.ranking import features, metrics
from sqidflow.ranking.model_names import DEFAULT_MODEL, TRAINED_MODELS
from sqidflow.ranking.words import DEFAULT_LANGUAGE

CUT_OFFS = (5, 10)


@dataclass(frozen=True)
class Row:
    """One method on the held-out queries: means over queries, in 0..1, None where no query has a value.

    ``slices`` are means of NDCG: ``with_picture`` and ``without_picture`` rank only those products, the other slices
    are whole queries. ``kinds``: kind of query -> its ``ndcg`` and ``mrr``. ``tied`` counts the queries whose products
    all have the same score. ``classes`` is None for baselines.
    """

    method: str
    ndcg: metrics.Interval | None
    ndcg_at: dict[int, float | None]
    precision_at: dict[int, float | None]
    mrr: float | None
    top5_accuracy: float | None
    slices: dict[str, float | None]
    kinds: dict[str, dict[str, float | None]]
    tied: int
    classes: measures.ClassMeasures | None
    card: Mapping[str, Any]

    def as_dict(self) -> dict[str, Any]:
        return {
            "method": self.method,
            "ndcg": _document(self.ndcg),
            **{f"ndcg_at_{k}": value for k, value in self.ndcg_at.items()},
            **{f"precision_at_{k}": value for k, value in self.precision_at.items()},
            "mrr": self.mrr,
            "top5_accuracy": self.top5_accuracy,
            "slices": self.slices,
            "kinds": self.kinds,
            "queries_tied": self.tied,
            "classes": self.classes.as_dict() if self.classes else None,
            "energy_kwh": self.card.get("energy_kwh"),
            "mlflow_run_id": self.card.get("mlflow_run_id"),
            "blessed": self.card.get("blessed"),
            "blocked_by": self.card.get("blocked_by"),
            "search": self.card.get("search"),
            "ladder": self.card.get("ladder"),
        }


@dataclass(frozen=True)
class Evaluation:
    """All methods on the same pairs, worst first. ``queries`` counts the queries that have an NDCG."""

    rows: list[Row]
    queries: int
    queries_without_relevant: int
    queries_without_exact: int
    queries_with_one_product: int
    pairs: int
    pairs_without_picture: int
    slices: dict[str, int]
    """Slice -> number of queries."""
    kinds: dict[str, int] = field(default_factory=dict)
    """Kind of query -> number of queries; empty where the judgements name none."""
    lift: dict[str, metrics.Interval | None] = field(default_factory=dict)
    """Each trained model's NDCG minus the zero-shot cosine's, paired by query."""
    over_default: dict[str, metrics.Interval | None] = field(default_factory=dict)
    """Each other trained model's NDCG minus the default model's; empty if the default model is not trained."""
    swapped_gains: bool = False
    unreadable: list[str] = field(default_factory=list)
    """Models whose saved files could not be read."""

    @property
    def missing(self) -> list[str]:
        """Models that have not been trained on this data."""
        return [model for model in TRAINED_MODELS if model not in self.lift]

    def as_dict(self) -> dict[str, Any]:
        return {
            "queries": self.queries,
            "queries_without_relevant": self.queries_without_relevant,
            "queries_without_exact": self.queries_without_exact,
            "queries_with_one_product": self.queries_with_one_product,
            "pairs": self.pairs,
            "pairs_without_picture": self.pairs_without_picture,
            "swapped_gains": self.swapped_gains,
            "slices": self.slices,
            "kinds": self.kinds,
            "rows": [row.as_dict() for row in self.rows],
            "lift_over_cosine": {model: _document(interval) for model, interval in self.lift.items()},
            "difference_from_default": {model: _document(interval) for model, interval in self.over_default.items()},
        }


def _document(interval: metrics.Interval | None) -> dict[str, float] | None:
    return interval.as_dict() if interval else None


def comparison_document(result: Evaluation) -> dict[str, Any]:
    """The document of ``compare --json``: every row's model or method, NDCG, kWh and MLflow run."""
    return {
        "default": DEFAULT_MODEL,
        "rows": [
            {
                "model": row.method,
                "ndcg": _document(row.ndcg),
                "energy_kwh": row.card.get("energy_kwh"),
                "mlflow_run_id": row.card.get("mlflow_run_id"),
            }
            for row in result.rows
        ],
    }


def comparison_figure(result: Evaluation, names: dict[str, str]) -> Any:
    """NDCG with intervals, best on top, annotated with the energy of each trained model."""
    from matplotlib.figure import Figure

    shown = [(row, row.ndcg) for row in result.rows if row.ndcg is not None]
    figure = Figure(figsize=(8.5, 0.5 * len(shown) + 1.2), layout="constrained")
    axes = figure.subplots()
    for position, (row, ndcg) in enumerate(shown):
        low, high = ndcg.mean - ndcg.low, ndcg.high - ndcg.mean
        color = "tab:blue" if row.card else "0.5"
        axes.errorbar(ndcg.mean, position, xerr=[[low], [high]], fmt="o", color=color, capsize=3)
        energy = row.card.get("energy_kwh")
        if energy is not None:
            axes.annotate(
                f"{energy * 1000:.3f} Wh",
                (ndcg.high, position),
                xytext=(6, 0),
                textcoords="offset points",
                va="center",
            )
    axes.set_yticks(range(len(shown)), [names.get(row.method) or row.method for row, _ in shown])
    axes.set_xlabel(f"NDCG, {result.queries} held-out queries, 95 % intervals")
    axes.margins(x=0.18)
    axes.grid(axis="x", alpha=0.3)
    return figure


def _oracle(scores: pa.Table, data_dir: Path) -> np.ndarray | None:
    file = data_dir / formats.ORACLE_FILE
    if not file.is_file():
        return None
    latent = pq.read_table(file).to_pydict()
    gains = dict(zip(zip(map(int, latent["query_id"]), latent["product_id"]), latent["latent_gain"]))
    pairs = zip(scores[features.QUERY_ID].to_pylist(), scores[features.PRODUCT_ID].to_pylist())
    values = [gains.get(pair) for pair in pairs]
    return None if any(gain is None for gain in values) else np.asarray(values, np.float64)


def _with_texts(scores: pa.Table, pairs_file: Path | None) -> tuple[pa.Table, dict[str, str]]:
    """Add each product's brand and each query's kind to the pairs, and return every prepared product's text.

    The pairs are unchanged and the texts empty if the file is missing or is of other data.
    """
    if pairs_file is None or not pairs_file.is_file() or features.QUERY not in scores.column_names:
        return scores, {}
    columns = [features.PRODUCT_ID, features.TITLE, features.BRAND, formats.QUERY_KIND, features.QUERY_ID]
    types = dict.fromkeys(columns, pa.string()) | {features.QUERY_ID: pa.int64()}
    convert = pacsv.ConvertOptions(column_types=types, include_columns=columns, include_missing_columns=True)
    try:
        prepared = pacsv.read_csv(pairs_file, convert_options=convert)
    except (pa.ArrowInvalid, KeyError) as error:
        raise DataError(
            f"the prepared pairs are damaged ({str(error).splitlines()[0][:120]})",
            file=pairs_file,
            hint="run `sqidflow features`",
        ) from error
    catalogue, brands = {}, {}
    for product, title, brand in zip(*(prepared[name].to_pylist() for name in columns[:3])):
        if product not in catalogue:
            catalogue[product], brands[product] = product_text(title, brand), brand or ""
    products = scores[features.PRODUCT_ID].to_pylist()
    if not all(product in catalogue for product in products):
        return scores, {}
    kind_of = dict(zip(prepared[features.QUERY_ID].to_pylist(), prepared[formats.QUERY_KIND].to_pylist()))
    kinds = [kind_of.get(query) for query in scores[features.QUERY_ID].to_pylist()]
    scores = scores.append_column(features.BRAND, pa.array([brands[product] for product in products]))
    return scores.append_column(formats.QUERY_KIND, pa.array(kinds, pa.string())), catalogue


def evaluate(
    evaluations_dir: Path,
    data_dir: Path,
    pairs_file: Path | None = None,
    *,
    swapped_gains: bool = False,
    language: str = DEFAULT_LANGUAGE,
) -> Evaluation:
    """Compare the saved held-out scores of each model's last run.

    A model is left out if its data version or its held-out pairs differ from the newest report's. A model whose files
    cannot be read is left out and named in the result. The baselines are those of the newest run.

    Args:
        evaluations_dir: the saved scores. data_dir: the raw data, for the sample's oracle.
        pairs_file: the prepared pairs, for BM25 and the slice by brand; without them both are left out.
        swapped_gains: exchange the gains of Substitute and Complement. language: the language of the texts.

    Raises:
        DataError: no run has been evaluated yet, or none of the saved files can be read.
    """
    # A folder whose name starts with a dot is an unfinished copy.
    reports = sorted(evaluations_dir.glob("[!.]*/report.json"), key=lambda file: file.stat().st_mtime, reverse=True)
    if not reports:
        raise DataError("no model has been evaluated", file=evaluations_dir, hint="run `sqidflow run` first")
    kept, unreadable = {}, []
    for report in reports:
        try:
            kept[report.parent.name] = _read_kept(report.parent)
        except (OSError, ValueError):  # truncated or missing: the next run of that model writes both files
            unreadable.append(report.parent.name)
    if not kept:
        raise DataError("no saved evaluation can be read", file=evaluations_dir, hint="run `sqidflow run --no-cache`")
    newest_card, newest = next(iter(kept.values()))
    keys = [features.QUERY_ID, features.PRODUCT_ID, features.RATING]
    pairs, catalogue = _with_texts(newest, pairs_file)

    methods = {name: Scored(newest[name].to_numpy()) for name in features.BASELINES}
    if catalogue:
        queries, products = pairs[features.QUERY].to_pylist(), pairs[features.PRODUCT_ID].to_pylist()
        methods["bm25"] = Scored(bm25_scores(queries, products, catalogue, language))
    oracle = _oracle(newest, data_dir)
    if oracle is not None:
        methods["oracle"] = Scored(oracle)
    for model, (card, scores) in kept.items():
        same_data = card.get("data_hash") == newest_card.get("data_hash") and scores.select(keys).equals(
            newest.select(keys)
        )
        # The zero-shot cosine can also be run as a model; the baseline for all others is the newest run's own column.
        if same_data and model not in features.BASELINES:
            probabilities = None
            if "probs" in scores.column_names:
                flat = np.asarray(scores["probs"].combine_chunks().flatten())
                probabilities = flat.reshape(-1, len(features.CLASSES))
            methods[model] = Scored(scores["score"].to_numpy(), probabilities, card)
    return replace(
        compare_methods(pairs, methods, swapped_gains=swapped_gains, language=language), unreadable=unreadable
    )


def _read_kept(folder: Path) -> tuple[dict[str, Any], pa.Table]:
    return json.loads((folder / "report.json").read_text()), pq.read_table(folder / "scores.parquet")


def evaluate_baselines(
    judged: pa.Table,
    cosines: Mapping[str, np.ndarray],
    data_dir: Path,
    *,
    swapped_gains: bool = False,
    language: str = DEFAULT_LANGUAGE,
) -> Evaluation:
    """Evaluate the baselines on all judged pairs: random order, zero-shot cosines, BM25, the sample's oracle.

    Args:
        judged: n rows with the columns of :func:`compare_methods` and ``product_title``.
        cosines: method -> float64 [n].
    """
    columns = (features.PRODUCT_ID, features.TITLE, features.BRAND)
    catalogue = {
        product: product_text(title, brand) for product, title, brand in zip(*(judged[c].to_pylist() for c in columns))
    }
    query_ids, product_ids = judged[features.QUERY_ID].to_numpy(), judged[features.PRODUCT_ID].to_pylist()
    methods = {"random": Scored(metrics.random_scores(query_ids, np.array(product_ids)))}
    methods |= {name: Scored(scores) for name, scores in cosines.items()}
    methods["bm25"] = Scored(bm25_scores(judged[features.QUERY].to_pylist(), product_ids, catalogue, language))
    oracle = _oracle(judged, data_dir)
    if oracle is not None:
        methods["oracle"] = Scored(oracle)
    return compare_methods(judged, methods, swapped_gains=swapped_gains, language=language)


@dataclass(frozen=True)
class Scored:
    """A method's ``scores`` float64 [n]; for a model also class probabilities float [n, 4] and its run's report."""

    scores: np.ndarray
    probabilities: np.ndarray | None = None
    card: Mapping[str, Any] = field(default_factory=dict)


def compare_methods(
    pairs: pa.Table,
    methods: Mapping[str, Scored],
    *,
    swapped_gains: bool = False,
    language: str = DEFAULT_LANGUAGE,
) -> Evaluation:
    """Measure every method on the same pairs.

    Args:
        pairs: n rows: ``query_id``, ``product_id``, ``rating`` (class id), ``has_image``; optionally ``query``,
            ``product_brand`` and ``query_kind``, which add the slices by them.
        methods: one with a card is a trained model; it is compared with the method ``cosine`` and the default model.

    Raises:
        ValueError: a score is not finite, or lengths differ.
    """
    product_ids, ratings = pairs[features.PRODUCT_ID].to_numpy(), pairs[features.RATING].to_numpy()
    has_image = pairs[features.HAS_IMAGE].to_numpy().astype(bool)
    lists = metrics.RankedLists.of(pairs[features.QUERY_ID].to_numpy(), product_ids)
    gains = (measures.SWAPPED_GAINS if swapped_gains else features.CLASS_GAINS)[ratings]
    exact = ratings == features.CLASS_IDS["E"]
    texts = {name: pairs[name].to_pylist() for name in (features.QUERY, features.BRAND) if name in pairs.column_names}
    slices = measures.query_slices(
        lists, ratings, has_image, texts.get(features.QUERY), texts.get(features.BRAND), language
    )
    kinds: dict[str, np.ndarray] = {}
    if formats.QUERY_KIND in pairs.column_names:
        kinds = measures.query_kinds(lists, pairs[formats.QUERY_KIND].to_pylist())

    rows, per_query = [], {}
    for method, scored in methods.items():
        values = per_query[method] = metrics.ndcg_per_query(lists, gains, scored.scores)
        ranked = measures.Ranked.of(lists, scored.scores)
        rows.append(
            Row(
                method=method,
                ndcg=measures.interval(values),
                ndcg_at={k: measures.mean(metrics.ndcg_per_query(lists, gains, scored.scores, k)) for k in CUT_OFFS},
                precision_at={k: measures.mean(ranked.precision(exact, k)) for k in CUT_OFFS},
                mrr=measures.mean(ranked.reciprocal_rank(exact)),
                top5_accuracy=measures.mean(ranked.success(exact, 5)),
                slices={
                    name: measures.mean(_masked(pairs, gains, scored.scores, mask))
                    for name, mask in (("with_picture", has_image), ("without_picture", ~has_image))
                    if mask.any()
                }
                | {name: measures.mean(values[mask]) for name, mask in slices.items()},
                kinds={
                    kind: {
                        "ndcg": measures.mean(values[mask]),
                        "mrr": measures.mean(ranked.reciprocal_rank(exact)[mask]),
                    }
                    for kind, mask in kinds.items()
                },
                tied=ranked.tied(scored.scores),
                classes=(
                    measures.class_measures(
                        scored.probabilities, ratings, scored.card.get("class_rule", features.PLAIN_RULE)
                    )
                    if scored.probabilities is not None
                    else None
                ),
                card=scored.card,
            )
        )
    queries = len(lists.query_ids)
    counted = queries if not per_query else int(np.isfinite(next(iter(per_query.values()))).sum())
    models = [method for method, scored in methods.items() if scored.card]
    return Evaluation(
        rows=sorted(rows, key=lambda row: row.ndcg.mean if row.ndcg else 0.0),
        queries=counted,
        queries_without_relevant=queries - counted,
        queries_without_exact=queries - len(np.unique(pairs[features.QUERY_ID].to_numpy()[exact])),
        queries_with_one_product=int(np.sum(np.diff(np.append(lists.starts, len(ratings))) == 1)),
        pairs=len(ratings),
        pairs_without_picture=int(np.sum(~has_image)),
        slices={name: int(mask.sum()) for name, mask in slices.items()},
        kinds={kind: int(mask.sum()) for kind, mask in kinds.items()},
        lift={model: measures.interval(per_query[model] - per_query["cosine"]) for model in models},
        over_default={
            model: measures.interval(per_query[model] - per_query[DEFAULT_MODEL])
            for model in models
            if DEFAULT_MODEL in models and model != DEFAULT_MODEL
        },
        swapped_gains=swapped_gains,
    )


def _masked(scores: pa.Table, gains: np.ndarray, values: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """NDCG per query over the products where the mask is true."""
    lists = metrics.RankedLists.of(
        scores[features.QUERY_ID].to_numpy()[mask], scores[features.PRODUCT_ID].to_numpy()[mask]
    )
    return metrics.ndcg_per_query(lists, gains[mask], values[mask])
