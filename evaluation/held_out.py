"""The held-out queries: every trained model beside the baselines, from the scores that runs have kept.

Reads ``artifacts/evaluations/<model>/`` and needs neither TensorFlow nor a model.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from modules import features, metrics
from modules.model import DEFAULT_MODEL, MODELS
from pipeline.errors import DataError

BASELINES = ("random", "cosine_text", "cosine_image", "cosine")
ORACLE_FILE = "sample_oracle.parquet"
CUT_OFFS = (5, 10)


@dataclass(frozen=True)
class Row:
    """One method on the held-out queries. ``ndcg_at`` holds the means at ranks 5 and 10; a slice without any
    relevant product is NaN, in JSON null."""

    method: str
    ndcg: metrics.Interval
    ndcg_at: dict[int, float]
    slices: dict[str, float]
    card: dict[str, Any]

    def as_dict(self) -> dict[str, Any]:
        return {
            "method": self.method,
            "ndcg": self.ndcg.as_dict(),
            **{f"ndcg_at_{k}": value for k, value in self.ndcg_at.items()},
            "slices": {name: None if np.isnan(value) else value for name, value in self.slices.items()},
            "energy_kwh": self.card.get("energy_kwh"),
            "mlflow_run_id": self.card.get("mlflow_run_id"),
            "blessed": self.card.get("blessed"),
        }


@dataclass(frozen=True)
class Evaluation:
    """All methods on the same held-out pairs, the worst first."""

    rows: list[Row]
    queries: int
    queries_without_relevant: int
    pairs: int
    lift: dict[str, metrics.Interval]
    """Each trained model's NDCG less the zero-shot cosine's, paired by query."""

    @property
    def missing(self) -> list[str]:
        """Models that have not been trained on this data."""
        return [model for model in MODELS if model not in self.lift]

    def as_dict(self) -> dict[str, Any]:
        return {
            "queries": self.queries,
            "queries_without_relevant": self.queries_without_relevant,
            "pairs": self.pairs,
            "rows": [row.as_dict() for row in self.rows],
            "lift_over_cosine": {model: interval.as_dict() for model, interval in self.lift.items()},
        }


def comparison_document(result: Evaluation) -> dict[str, Any]:
    """The document of ``compare --json``: every row's model or method, NDCG, kWh and MLflow run."""
    return {
        "default": DEFAULT_MODEL,
        "rows": [
            {
                "model": row.method,
                "ndcg": row.ndcg.as_dict(),
                "energy_kwh": row.card.get("energy_kwh"),
                "mlflow_run_id": row.card.get("mlflow_run_id"),
            }
            for row in result.rows
        ],
    }


def comparison_figure(result: Evaluation, names: dict[str, str]) -> Any:
    """NDCG with intervals, the best on top, each trained model's kWh written beside it."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.5, 0.5 * len(result.rows) + 1.2), layout="constrained")
    axes = figure.subplots()
    for position, row in enumerate(result.rows):
        low, high = row.ndcg.mean - row.ndcg.low, row.ndcg.high - row.ndcg.mean
        color = "tab:blue" if row.card else "0.5"
        axes.errorbar(row.ndcg.mean, position, xerr=[[low], [high]], fmt="o", color=color, capsize=3)
        energy = row.card.get("energy_kwh")
        if energy is not None:
            axes.annotate(
                f"{energy * 1000:.3f} Wh",
                (row.ndcg.high, position),
                xytext=(6, 0),
                textcoords="offset points",
                va="center",
            )
    axes.set_yticks(range(len(result.rows)), [names.get(row.method, row.method) for row in result.rows])
    axes.set_xlabel(f"NDCG, {result.queries} held-out queries, 95 % intervals")
    axes.margins(x=0.18)
    axes.grid(axis="x", alpha=0.3)
    return figure


def _mean(values: np.ndarray) -> float:
    return float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")


def _oracle(scores: pa.Table, data_dir: Path) -> np.ndarray | None:
    file = data_dir / ORACLE_FILE
    if not file.is_file():
        return None
    latent = pq.read_table(file).to_pydict()
    gains = dict(zip(zip(map(int, latent["query_id"]), latent["product_id"]), latent["latent_gain"]))
    pairs = zip(scores[features.QUERY_ID].to_pylist(), scores[features.PRODUCT_ID].to_pylist())
    found = [gains.get(pair) for pair in pairs]
    return None if any(gain is None for gain in found) else np.asarray(found, np.float64)


def evaluate(evaluations_dir: Path, data_dir: Path) -> Evaluation:
    """Compare what is kept of each model's last run.

    Models whose held-out pairs differ from the newest report's (another data version or split) are left out.

    Raises:
        DataError: no run has been evaluated yet.
    """
    # A folder whose name begins with a dot is a copy that was never finished.
    reports = sorted(evaluations_dir.glob("[!.]*/report.json"), key=lambda file: file.stat().st_mtime, reverse=True)
    if not reports:
        raise DataError("no model has been evaluated", file=evaluations_dir, mend="run `sqidflow run` first")
    newest = pq.read_table(reports[0].parent / "scores.parquet")
    keys = [features.QUERY_ID, features.PRODUCT_ID, features.RATING]
    lists = metrics.RankedLists.of(newest[features.QUERY_ID].to_numpy(), newest[features.PRODUCT_ID].to_numpy())
    gains = features.CLASS_GAINS[newest[features.RATING].to_numpy()]
    has_image = newest[features.HAS_IMAGE].to_numpy().astype(bool)

    scored: dict[str, tuple[np.ndarray, dict[str, Any]]] = {name: (newest[name].to_numpy(), {}) for name in BASELINES}
    oracle = _oracle(newest, data_dir)
    if oracle is not None:
        scored["oracle"] = (oracle, {})
    for report in reports:
        scores = pq.read_table(report.parent / "scores.parquet")
        if scores.select(keys).equals(newest.select(keys)):
            scored[report.parent.name] = (scores["score"].to_numpy(), json.loads(report.read_text()))

    rows, per_query = [], {}
    for method, (values, card) in scored.items():
        per_query[method] = metrics.ndcg_per_query(lists, gains, values)
        rows.append(
            Row(
                method=method,
                ndcg=metrics.bootstrap_interval(per_query[method]),
                ndcg_at={k: _mean(metrics.ndcg_per_query(lists, gains, values, k)) for k in CUT_OFFS},
                slices={
                    name: _mean(_masked(newest, gains, values, mask))
                    for name, mask in (("with_picture", has_image), ("without_picture", ~has_image))
                    if mask.any()
                },
                card=card,
            )
        )
    counted = int(np.isfinite(per_query["random"]).sum())
    return Evaluation(
        rows=sorted(rows, key=lambda row: row.ndcg.mean),
        queries=counted,
        queries_without_relevant=len(lists.query_ids) - counted,
        pairs=newest.num_rows,
        lift={
            method: metrics.bootstrap_interval(per_query[method] - per_query["cosine"])
            for method, (_, card) in scored.items()
            if card
        },
    )


def _masked(scores: pa.Table, gains: np.ndarray, values: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """NDCG per query over the products that the mask keeps."""
    lists = metrics.RankedLists.of(
        scores[features.QUERY_ID].to_numpy()[mask], scores[features.PRODUCT_ID].to_numpy()[mask]
    )
    return metrics.ndcg_per_query(lists, gains[mask], values[mask])
