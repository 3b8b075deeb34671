"""The verb `compare`: every model on the same held-out queries."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from evaluation.held_out import Evaluation, comparison_document, comparison_figure, evaluate
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
    for model in sorted(MODELS, key=lambda name: name == DEFAULT_MODEL):
        display.heading(METHOD_NAMES.get(model, model))
        chosen = settings.model_copy(update={"train": settings.train.model_copy(update={"model": model})})
        run(workdir, chosen, to_node=LAST_NODE, listener=display.component)
    result = evaluate(workdir.evaluations, workdir.data, workdir.pairs)
    _log_to_mlflow(result, workdir, settings)
    return result


def _log_to_mlflow(result: Evaluation, workdir: Workdir, settings: Settings) -> None:
    data_version = versioning.data_hash(workdir)
    logged = tracking.TrackedRun(run_context(workdir, settings, f"compare on {data_version[:8]}", data_version))
    for row in result.rows:
        values = {
            "ndcg": row.ndcg.mean if row.ndcg else None,
            **{f"ndcg_at_{k}": value for k, value in row.ndcg_at.items()},
            **{f"precision_at_{k}": value for k, value in row.precision_at.items()},
            "mrr": row.mrr,
            "top5_accuracy": row.top5_accuracy,
            **(row.classes.as_dict() if row.classes else {}),
        }
        logged.metrics({f"test_{name}_{row.method}": value for name, value in values.items() if value is not None})
    logged.metrics({f"lift_{model}": interval.mean for model, interval in result.lift.items() if interval})
    logged.tags({"kind": "comparison", "feature_contract": features.contract()})
    logged.figure(comparison_figure(result, METHOD_NAMES), "comparison.png")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "comparison.json"
        file.write_text(json.dumps(comparison_document(result), indent=2))
        logged.artifact(file)
    logged.close()
