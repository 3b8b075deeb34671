"""MLflow's trainings for the page, read from its sqlite file: importing MLflow would cost seconds and 200 MB."""

from __future__ import annotations

import sqlite3
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqidflow.core.sqlite import read_only
from sqidflow.search import schemas

_KEPT_S = 20.0
_MOST = 200
_METRICS = (
    "test_ndcg", "test_ndcg_low", "test_ndcg_high", "energy_kwh",
    "search_mrr", "search_recall_at_10", "search_untrained_mrr",
)  # fmt: skip


class Runs:
    """Trainings of a store, kept for some seconds; for use by many threads."""

    def __init__(self, tracking_uri: str | None, mlflow_dir: Path, experiment: str, mlflow_url: str | None) -> None:
        uri = tracking_uri or f"sqlite:///{mlflow_dir / 'mlflow.db'}"
        scheme, separator, file = uri.partition(":///")
        self._file = Path(file.partition("?")[0]) if separator and scheme.startswith("sqlite") else None
        self._experiment, self._url = experiment, mlflow_url
        self._lock = threading.Lock()
        self._kept: tuple[float, schemas.RunsResponse] | None = None

    def read(self, serving: set[str]) -> schemas.RunsResponse:
        """The newest trainings first; ``serving``: the runs whose models answer now."""
        with self._lock:
            if self._kept is None or self._kept[0] < time.monotonic():
                self._kept = (time.monotonic() + _KEPT_S, self._read(serving))
            return self._kept[1]

    def _nothing(self, note: str) -> schemas.RunsResponse:
        return schemas.RunsResponse(runs=[], mlflow_url=self._url, note=note)

    def _read(self, serving: set[str]) -> schemas.RunsResponse:
        if self._file is None:
            return self._nothing("The tracking store is not a sqlite file; see MLflow's own page.")
        if not self._file.is_file():
            return self._nothing("There is no MLflow store yet: it comes with the first `sqidflow run`.")
        try:
            with read_only(self._file) as connection:
                return schemas.RunsResponse(runs=self._runs(connection, serving), mlflow_url=self._url, note=None)
        except sqlite3.Error as error:
            return self._nothing(f"MLflow's store could not be read ({type(error).__name__}).")

    def _runs(self, connection: sqlite3.Connection, serving: set[str]) -> list[schemas.ModelRun]:
        rows = connection.execute(
            "SELECT r.run_uuid, r.start_time, r.experiment_id, p.value FROM runs r "
            "JOIN experiments e ON e.experiment_id = r.experiment_id AND e.name = ? "
            "JOIN params p ON p.run_uuid = r.run_uuid AND p.key = 'model' "
            "WHERE r.lifecycle_stage = 'active' ORDER BY r.start_time DESC LIMIT ?",
            (self._experiment, _MOST),
        ).fetchall()
        found = []
        for run_id, started, experiment, model in rows:
            marks = ",".join("?" * len(_METRICS))
            metrics = dict(
                connection.execute(
                    f"SELECT key, value FROM latest_metrics WHERE run_uuid = ? AND is_nan = 0 AND key IN ({marks})",
                    (run_id, *_METRICS),
                ).fetchall()
            )
            tags: dict[str, Any] = dict(
                connection.execute(
                    "SELECT key, value FROM tags WHERE run_uuid = ? AND key IN ('blessed', 'data_hash')", (run_id,)
                ).fetchall()
            )
            rung = connection.execute(
                "SELECT value FROM params WHERE run_uuid = ? AND key = 'rung'", (run_id,)
            ).fetchone()
            ndcg = None
            if all(name in metrics for name in _METRICS[:3]):
                mean, low, high = (metrics[name] for name in _METRICS[:3])
                ndcg = schemas.Interval(mean=mean, low=low, high=high)
            found.append(
                schemas.ModelRun(
                    model=model,
                    run_id=run_id,
                    started=datetime.fromtimestamp((started or 0) / 1000, UTC),
                    ndcg=ndcg,
                    rung=rung[0] if rung else None,
                    **{name: metrics.get(name) for name in _METRICS if name.startswith("search_")},
                    energy_kwh=metrics.get("energy_kwh"),
                    blessed={"true": True, "false": False}.get(str(tags.get("blessed", "")).lower()),
                    serving=run_id in serving,
                    data_hash=tags.get("data_hash"),
                    mlflow_path=f"#/experiments/{experiment}/runs/{run_id}",
                )
            )
        return found
