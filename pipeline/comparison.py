"""The verb `compare`: every model on the same held-out queries."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from evaluation.held_out import Evaluation, Row, comparison_document, comparison_figure, evaluate
from modules import features, tracking
from modules.model import DEFAULT_MODEL, MODELS
from pipeline import versioning
from pipeline.console import METHOD_NAMES
from pipeline.local_runner import run, run_context
from pipeline.progress import RunDisplay
from pipeline.settings import Settings
from pipeline.workdir import Workdir

LAST_NODE = "RankingReport"


def compare(workdir: Workdir, settings: Settings, display: RunDisplay) -> Evaluation:
    """Run the pipeline up to the report for every model, the default last; log the table and its picture to MLflow.

    Components that have run on this data come from the cache.
    """
    models = [model for model, spec in MODELS.items() if spec.learns]
    for model in sorted(models, key=lambda name: name == DEFAULT_MODEL):
        display.heading(METHOD_NAMES.get(model, model))
        chosen = settings.model_copy(update={"train": settings.train.model_copy(update={"model": model})})
        run(workdir, chosen, to_node=LAST_NODE, listener=display.component)
    result = evaluate(workdir.evaluations, workdir.data, workdir.pairs)
    _log_to_mlflow(result, workdir, settings)
    return result


def _log_to_mlflow(result: Evaluation, workdir: Workdir, settings: Settings) -> None:
    """A run of the comparison with its picture, and below it a run for each row of the table with all its numbers."""
    data_version = versioning.data_hash(workdir)
    on = f"on {data_version[:8]}"
    logged = tracking.TrackedRun(run_context(workdir, settings, f"compare {on}", data_version))
    logged.tags({"kind": "comparison", "feature_contract": features.contract()})
    for row in result.rows:
        child = tracking.TrackedRun(
            run_context(workdir, settings, f"compare {row.method} {on}", data_version), parent_id=logged.run_id
        )
        child.metrics({f"test_{name}": value for name, value in _numbers(row, result).items() if value is not None})
        if row.card.get("energy_kwh") is not None:
            child.metrics({"energy_kwh": row.card["energy_kwh"]})
        child.tags({"kind": "comparison row", "method": row.method, "trained_by": row.card.get("mlflow_run_id") or ""})
        child.close()
    logged.metrics({f"test_ndcg_{row.method}": row.ndcg.mean for row in result.rows if row.ndcg})
    logged.figure(comparison_figure(result, METHOD_NAMES), "comparison.png")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "comparison.json"
        file.write_text(json.dumps(comparison_document(result), indent=2))
        logged.artifact(file)
    logged.close()


def _numbers(row: Row, result: Evaluation) -> dict[str, float | None]:
    """Everything the tables of ``compare`` show of a row."""
    intervals = {
        "ndcg": row.ndcg,
        "lift_over_cosine": result.lift.get(row.method),
        "difference_from_default": result.over_default.get(row.method),
    }
    return {
        **{
            f"{name}{part}": value
            for name, interval in intervals.items()
            if interval
            for part, value in (("", interval.mean), ("_low", interval.low), ("_high", interval.high))
        },
        **{f"ndcg_at_{k}": value for k, value in row.ndcg_at.items()},
        **{f"precision_at_{k}": value for k, value in row.precision_at.items()},
        "mrr": row.mrr,
        "top5_accuracy": row.top5_accuracy,
        **(row.classes.as_dict() if row.classes else {}),
    }
