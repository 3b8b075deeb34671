"""The blessed model of a run is in MLflow's registry and ranks from raw ids, through MLflow's own command line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from sqidflow.core.settings import CHECKOUT
from sqidflow.ranking import features
from sqidflow.ranking.model_names import DEFAULT_MODEL
from sqidflow.tracking.registry import CHAMPION
from tests.pipeline.mlflow_store import REGISTERED, client_of, store_of


def test_the_pushed_model_is_the_champion(prepared: Path, first_run: dict[str, Any]) -> None:
    assert first_run["blessed"] and first_run["pushed_model"]
    version = client_of(prepared).get_model_version_by_alias(REGISTERED, CHAMPION)
    assert version.run_id == first_run["mlflow_run_id"]
    assert version.tags["model"] == DEFAULT_MODEL
    assert version.tags["data_hash"] == first_run["data_hash"]
    assert version.tags["feature_contract"] == features.contract()
    assert float(version.tags["ndcg"]) == pytest.approx(first_run["ndcg"][DEFAULT_MODEL]["mean"], abs=1e-6)
    assert version.tags["tfx_execution"].startswith("Trainer/")
    assert float(version.tags["energy_kwh"]) == pytest.approx(first_run["energy_kwh"])


def test_mlflow_predicts_the_held_out_scores_from_raw_ids(indexed_copy: Path, tmp_path: Path) -> None:
    """What the registered model says of ids is what the run's own report has kept: one computation of features."""
    kept = pq.read_table(indexed_copy / "artifacts" / "evaluations" / DEFAULT_MODEL / "scores.parquet")
    rows = kept.select([features.QUERY_ID, features.PRODUCT_ID]).to_pylist()
    data = [[row[features.QUERY_ID], row[features.PRODUCT_ID]] for row in rows]
    asked = tmp_path / "in.json"
    asked.write_text(
        json.dumps({"dataframe_split": {"columns": [features.QUERY_ID, features.PRODUCT_ID], "data": data}})
    )
    command = [sys.executable, "-m", "mlflow", "models", "predict", "-m", f"models:/{REGISTERED}@{CHAMPION}"]
    answer = tmp_path / "out.json"
    done = subprocess.run(
        [*command, "-i", str(asked), "-o", str(answer), "--env-manager", "local"],
        capture_output=True, text=True, timeout=300, cwd=tmp_path,
        env={**os.environ, "MLFLOW_TRACKING_URI": store_of(indexed_copy), "PYTHONPATH": str(CHECKOUT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    predictions = json.loads(answer.read_text())["predictions"]
    assert set(predictions[0]) == {"score", "prob_E", "prob_S", "prob_C", "prob_I", "rank"}
    np.testing.assert_allclose([row["score"] for row in predictions], kept["score"].to_numpy(), atol=1e-5)
    first = [row for row, pair in zip(predictions, rows) if pair[features.QUERY_ID] == rows[0][features.QUERY_ID]]
    assert sorted(row["rank"] for row in first) == list(range(1, len(first) + 1))
    by_rank = sorted(first, key=lambda row: row["rank"])
    assert [row["score"] for row in by_rank] == sorted((row["score"] for row in first), reverse=True)
