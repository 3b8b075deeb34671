"""Summary of the query log for `sqidflow queries`, and its optional MLflow run."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from sqidflow.core.errors import DataError, SqidflowError
from sqidflow.core.settings import Settings
from sqidflow.core.workdir import Workdir

_SHOWN = 10
_PARTS = ("rewrite_ms", "encode_ms", "retrieve_ms", "rank_ms", "total_ms")


def summarise(folder: Path, days: int) -> dict[str, Any]:
    """Summarise the searches of the last ``days``: counts, outcomes, latencies, and queries without a result.

    Raises:
        DataError: the log has no search in that period.
    """
    since = (datetime.now(UTC) - timedelta(days=days)).isoformat()
    outcomes: Counter[str] = Counter()
    variants: Counter[str] = Counter()
    models: Counter[str] = Counter()
    empty: Counter[str] = Counter()
    cached = damaged = 0
    times: dict[str, list[float]] = {name: [] for name in _PARTS}
    for line in _lines(folder):
        if line is None:
            damaged += 1
            continue
        if line["at"] < since:
            continue
        outcomes[line["outcome"]] += 1
        variants[line["variant"] or line["strategy"]] += 1
        models[line["model"]] += 1
        if not line["results"]:
            empty[line["query"]] += 1
        if line["cached"]:
            cached += 1
            continue
        for name in _PARTS:
            times[name].append(line["timings"][name])
    searches = sum(outcomes.values())
    if not searches:
        raise DataError(
            f"no search of the last {days} days",
            file=folder,
            hint="search first with `sqidflow serve` and search.query_log true",
        )
    return {
        "days": days,
        "searches": searches,
        "outcomes": dict(outcomes.most_common()),
        "variants": dict(variants.most_common()),
        "models": dict(models.most_common()),
        "cached_share": cached / searches,
        "without_result_share": sum(empty.values()) / searches,
        "milliseconds": {
            name: {"p50": float(np.percentile(each, 50)), "p99": float(np.percentile(each, 99))}
            for name, each in times.items()
            if each
        },
        "queries_without_result": [[query, count] for query, count in empty.most_common(_SHOWN)],
        "damaged_lines": damaged,
    }


def _lines(folder: Path) -> Iterator[dict[str, Any] | None]:
    """The log's records in the order of the files; None for a damaged line."""
    for file in sorted(folder.glob("queries-*.jsonl")):
        with file.open(encoding="utf-8", errors="replace") as stream:
            for text in stream:
                try:
                    line = json.loads(text)
                except ValueError:
                    yield None
                    continue
                yield line if isinstance(line, dict) and "timings" in line else None


def to_mlflow(summary: dict[str, Any], workdir: Workdir, settings: Settings) -> str:
    """Log a summary as a run of the experiment ``<tracking.experiment>-searches``; return the run's id.

    Raises:
        SqidflowError: MLflow is not reachable.
    """
    import mlflow

    from sqidflow.tracking.killed import PROCESS_TAG, OpenRuns
    from sqidflow.tracking.runs import EXPERIMENT_TAGS, PROCESSES, default_tracking_uri, experiment_for

    uri = settings.tracking.uri or default_tracking_uri(workdir)
    try:
        client = mlflow.MlflowClient(tracking_uri=uri)
        name = f"{settings.tracking.experiment}-searches"
        number = experiment_for(client, name) or client.create_experiment(
            name, artifact_location=(workdir.mlflow / "artifacts").as_uri(), tags=EXPERIMENT_TAGS
        )
        open_runs = OpenRuns.of(workdir.mlflow / PROCESSES)
        run_name = f"{summary['searches']} searches, {summary['days']} days"
        run = client.create_run(number, run_name=run_name, tags={PROCESS_TAG: open_runs.begin()})
        run_id = run.info.run_id
        open_runs.opened(run_id)
        client.set_tag(run_id, "models", ", ".join(summary["models"]))
        for metric in ("searches", "cached_share", "without_result_share"):
            client.log_metric(run_id, metric, summary[metric])
        for outcome, count in summary["outcomes"].items():
            client.log_metric(run_id, f"outcome_{outcome}", count)
        for part, each in summary["milliseconds"].items():
            for point, value in each.items():
                client.log_metric(run_id, f"{part.removesuffix('_ms')}_{point}_ms", value)
        client.log_text(run_id, json.dumps(summary, indent=2), "summary.json")
        client.set_terminated(run_id)
        open_runs.closed(run_id)
    except Exception as error:  # MLflow raises its own, SQLAlchemy's and requests' errors
        raise SqidflowError(
            f"MLflow: {(str(error).splitlines() or [repr(error)])[0][:200]}", where=uri, hint="see docs/tracking.md"
        ) from error
    return run_id
