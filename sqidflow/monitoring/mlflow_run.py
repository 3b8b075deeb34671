"""A report as a run of MLflow."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sqidflow.core.errors import SqidflowError
from sqidflow.core.settings import Settings
from sqidflow.core.workdir import Workdir


def to_mlflow(report: Mapping[str, Any], page: Path, workdir: Workdir, settings: Settings) -> str:
    """Log a report and its page as a run of the experiment ``<tracking.experiment>-searches``; return the run's id.

    Raises:
        SqidflowError: MLflow is not reachable.
    """
    from sqidflow.tracking.killed import PROCESS_TAG, OpenRuns
    from sqidflow.tracking.runs import PROCESSES, default_tracking_uri, open_experiment

    uri = settings.tracking.uri or default_tracking_uri(workdir)
    try:
        name = f"{settings.tracking.experiment}-searches"
        client, number = open_experiment(uri, name, (workdir.mlflow / "artifacts").as_uri())
        open_runs = OpenRuns.of(workdir.mlflow / PROCESSES)
        alarms = len(report["alarms"])
        run_name = f"{report['searches']} searches, {alarms} alarm{'' if alarms == 1 else 's'}"
        run = client.create_run(number, run_name=run_name, tags={PROCESS_TAG: open_runs.begin()})
        run_id = run.info.run_id
        open_runs.opened(run_id)
        client.set_tag(run_id, "models", ", ".join(report["models"]))
        client.set_tag(run_id, "alarms", ", ".join(alarm["name"] for alarm in report["alarms"]))
        for name, value in metrics_of(report).items():
            client.log_metric(run_id, name, value)
        client.log_artifact(run_id, str(page))
        client.log_text(run_id, json.dumps(report, indent=2), "report.json")
        client.set_terminated(run_id)
        open_runs.closed(run_id)
    except Exception as error:  # MLflow raises its own, SQLAlchemy's and requests' errors
        raise SqidflowError(
            f"MLflow: {(str(error).splitlines() or [repr(error)])[0][:200]}", where=uri, hint="see docs/tracking.md"
        ) from error
    return run_id


def metrics_of(report: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of a report, by the names that they have in MLflow."""
    metrics: dict[str, float | None] = {
        name: report[name]
        for name in (
            "searches", "different_queries", "nothing_fits_share", "without_result_share", "cached_share",
            "abandoned_share",
        )
    }  # fmt: skip
    metrics |= {f"outcome_{outcome.replace(' ', '_')}": count for outcome, count in report["outcomes"].items()}
    for part, points in report["latency_ms"].items():
        metrics |= {f"{part.removesuffix('_ms')}_{point}_ms": value for point, value in points.items()}
    for check in report["drift"]:
        metrics |= {f"drift_{check['name']}": check["value"], f"threshold_{check['name']}": check["threshold"]}
    metrics["alarms"] = len(report["alarms"])
    return {name: float(value) for name, value in metrics.items() if value is not None}
