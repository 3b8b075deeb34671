"""`sqidflow compare`: train every model and evaluate all on the same held-out queries."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from pathlib import Path

from modules.model import MODELS
from pipeline.local_runner import Listener, run, run_context
from sqidflow.core import digests
from sqidflow.core.settings import Settings
from sqidflow.core.workdir import Workdir
from sqidflow.evaluation.held_out import Evaluation, Row, comparison_document, comparison_figure, evaluate
from sqidflow.evaluation.names import METHOD_NAMES
from sqidflow.ranking import features
from sqidflow.ranking.languages import language_of
from sqidflow.ranking.model_names import DEFAULT_MODEL
from sqidflow.tracking import runs

LAST_NODE = "RankingReport"


def compare(workdir: Workdir, settings: Settings, heading: Callable[[str], None], listener: Listener) -> Evaluation:
    """Run the pipeline up to RankingReport for every model, the default last; log the table and figure to MLflow.

    Components that already ran on this data come from the cache.
    """
    models = [model for model, spec in MODELS.items() if spec.learns]
    for model in sorted(models, key=lambda name: name == DEFAULT_MODEL):
        heading(METHOD_NAMES.get(model, model))
        chosen = settings.model_copy(update={"train": settings.train.model_copy(update={"model": model})})
        run(workdir, chosen, to_node=LAST_NODE, listener=listener)
    result = evaluate(
        workdir.evaluations,
        workdir.data,
        workdir.pairs,
        language=language_of(settings.data.language, settings.data.locale),
    )
    _log_to_mlflow(result, workdir, settings)
    return result


def _log_to_mlflow(result: Evaluation, workdir: Workdir, settings: Settings) -> None:
    """Log a run for the comparison with its figure, and a nested run per row of the table with all its numbers."""
    data_version = digests.data_hash(workdir)
    on = f"on {data_version[:8]}"
    logged = runs.TrackedRun(run_context(workdir, settings, f"compare {on}", data_version))
    logged.tags({"kind": "comparison", "feature_contract": features.contract()})
    for row in result.rows:
        child = runs.TrackedRun(
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
    """All numbers that the tables of ``compare`` show for a row."""
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
