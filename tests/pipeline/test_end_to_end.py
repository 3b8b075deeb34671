"""From data to a pushed model through the real command line."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from sqidflow.ranking import features
from sqidflow.ranking.model_names import DEFAULT_MODEL

COMPONENTS = {
    "CsvExampleGen",
    "FeatureJoin",
    "StatisticsGen",
    "SchemaGen",
    "ExampleValidator",
    "Transform",
    "Trainer",
    "Evaluator",
    "Pusher",
}


def test_run_prints_the_contract(first_run: dict[str, Any]) -> None:
    assert first_run["model"] == DEFAULT_MODEL
    assert {"random", "cosine_text", "cosine_image", "cosine", DEFAULT_MODEL} == set(first_run["ndcg"])
    for interval in first_run["ndcg"].values():
        assert 0 < interval["low"] <= interval["mean"] <= interval["high"] <= 1
    assert isinstance(first_run["blessed"], bool)
    assert first_run["energy_kwh"] > 0
    names = [part["name"] for part in first_run["components"]]
    assert set(names) >= COMPONENTS
    assert not any(part["cached"] for part in first_run["components"])


def test_blessed_and_pushed_agree(first_run: dict[str, Any]) -> None:
    """The first model has to beat the zero-shot cosine alone; it does, and is pushed with what it is traced to."""
    assert first_run["ndcg"][DEFAULT_MODEL]["mean"] > first_run["ndcg"]["cosine"]["mean"]
    assert first_run["blessed"] is True
    assert (Path(first_run["pushed_model"]) / "saved_model.pb").is_file()
    card = json.loads((Path(first_run["pushed_model"]) / "sqidflow.json").read_text())
    assert card["mlflow_run_id"] == first_run["mlflow_run_id"]
    assert card["data_hash"] == first_run["data_hash"] and card["data_hash"].endswith(".dir")


def test_no_query_is_in_two_splits(prepared: Path, first_run: dict[str, Any]) -> None:
    import pyarrow.parquet as pq
    import tensorflow as tf

    seen: dict[str, set[int]] = {}
    [examples] = (prepared / "artifacts" / "tfx" / "pipeline" / "FeatureJoin" / "examples").iterdir()
    for split in ("train", "eval", "test"):
        files = sorted(map(str, (examples / f"Split-{split}").iterdir()))
        for record in tf.data.TFRecordDataset(files):
            example = tf.train.Example.FromString(record.numpy())
            seen.setdefault(split, set()).add(example.features.feature[features.QUERY_ID].int64_list.value[0])
    assert not seen["train"] & seen["eval"] and not seen["train"] & seen["test"] and not seen["eval"] & seen["test"]
    scores = pq.read_table(prepared / "artifacts" / "evaluations" / DEFAULT_MODEL / "scores.parquet")
    assert set(scores[features.QUERY_ID].to_pylist()) == seen["test"]


def test_every_pair_is_in_exactly_one_split(prepared: Path, first_run: dict[str, Any]) -> None:
    import tensorflow as tf

    with (prepared / "artifacts" / "prepared" / "pairs.csv").open(newline="") as stream:
        wanted = sorted((int(row["query_id"]), row["product_id"]) for row in csv.DictReader(stream))
    found = []
    [examples] = (prepared / "artifacts" / "tfx" / "pipeline" / "FeatureJoin" / "examples").iterdir()
    for file in examples.glob("Split-*/*"):
        for record in tf.data.TFRecordDataset(str(file)):
            columns = tf.train.Example.FromString(record.numpy()).features.feature
            found.append(
                (
                    columns[features.QUERY_ID].int64_list.value[0],
                    columns[features.PRODUCT_ID].bytes_list.value[0].decode(),
                )
            )
    assert sorted(found) == wanted


def test_mlflow_holds_the_run(prepared: Path, first_run: dict[str, Any]) -> None:
    import mlflow

    lines = (prepared / "var" / "logs" / "run.log").read_text(errors="replace").splitlines()
    assert not [line for line in lines if "MLflow: could not" in line]
    client = mlflow.MlflowClient(f"sqlite:///{prepared / 'var' / 'mlflow' / 'mlflow.db'}")
    run = client.get_run(first_run["mlflow_run_id"])
    assert run.info.status == "FINISHED"
    assert run.data.params["model"] == DEFAULT_MODEL
    assert run.data.metrics["test_ndcg"] == pytest.approx(first_run["ndcg"][DEFAULT_MODEL]["mean"])
    assert run.data.metrics["energy_kwh"] == pytest.approx(first_run["energy_kwh"])
    assert run.data.metrics["cpu_power_w"] > 0 and run.data.metrics["ram_power_w"] > 0
    assert "test_E_f1_score" in run.data.metrics
    epochs = client.get_metric_history(run.info.run_id, "val_ndcg")
    assert [point.step for point in epochs] == list(range(1, len(epochs) + 1))
    tags = run.data.tags
    assert tags["data_hash"].endswith(".dir") and tags["feature_service"] == features.FEATURE_SERVICE
    assert tags["tfx_execution"].startswith("Trainer/") and tags["tfx_execution"] != "Trainer/"
    assert "estimated" in tags["energy_method"] or "counters" in tags["energy_method"]
    files = {file.path for file in client.list_artifacts(run.info.run_id)}
    assert {"learning_curves.png", "confusion_matrix.png", "emissions.csv", "report.json", "schema"} <= files


def test_mlflow_model_loads_with_signature_and_example(prepared: Path, first_run: dict[str, Any]) -> None:
    import mlflow
    import numpy as np

    mlflow.set_tracking_uri(f"sqlite:///{prepared / 'var' / 'mlflow' / 'mlflow.db'}")
    model = mlflow.pyfunc.load_model(f"runs:/{first_run['mlflow_run_id']}/model")
    assert features.TEXT_VEC in model.metadata.get_input_schema().input_names()
    example = {name: np.asarray(value, np.float32) for name, value in model.input_example.items()}
    probabilities = np.asarray(model.predict(example))
    assert probabilities.shape == (2, len(features.CLASSES))
    assert probabilities.sum(axis=1) == pytest.approx(1, abs=1e-5)


def test_trainer_keeps_emissions_a_row_a_rung_and_the_chosen_ones_weights(
    prepared: Path, first_run: dict[str, Any]
) -> None:
    [run_dir] = (prepared / "artifacts" / "tfx" / "pipeline" / "Trainer" / "model_run").iterdir()
    with (run_dir / "emissions.csv").open(newline="") as stream:
        [row] = csv.DictReader(stream)
    assert float(row["energy_consumed"]) == pytest.approx(first_run["energy_kwh"])
    with (run_dir / "history.csv").open(newline="") as stream:
        rungs = list(csv.DictReader(stream))
    assert [int(row["epoch"]) for row in rungs] == list(range(1, len(rungs) + 1))
    tried = first_run["ladder"]["mrr"]
    assert [float(row["mrr"]) for row in rungs] == pytest.approx(list(tried.values()))
    assert first_run["ladder"]["rung"] in tried
    assert (run_dir / "checkpoints" / "ladder.weights.h5").is_file()


def test_search_is_measured_in_the_whole_catalogue(first_run: dict[str, Any]) -> None:
    search = first_run["search"]
    assert [row["method"] for row in search["rows"]] == ["bm25", "cosine", "fusion", DEFAULT_MODEL]
    assert first_run["blocked_by"] is None and search["queries"] > 0
    assert search["over_best_untrained"][DEFAULT_MODEL]["high"] >= 0


def test_evaluator_agrees_with_the_report(prepared: Path, first_run: dict[str, Any]) -> None:
    """TFMA's means over queries are the project's own, overall and for products with a picture."""
    import tensorflow_model_analysis as tfma

    [folder] = (prepared / "artifacts" / "tfx" / "pipeline" / "Evaluator" / "evaluation").iterdir()
    result = tfma.load_eval_result(str(folder))
    slices = {name: metrics for name, metrics in result.slicing_metrics}
    flat = {name: value for outputs in slices[()].values() for keys in outputs.values() for name, value in keys.items()}
    assert flat["ndcg"]["doubleValue"] == pytest.approx(first_run["ndcg"][DEFAULT_MODEL]["mean"], abs=1e-6)
    assert flat["ndcg_cosine"]["doubleValue"] == pytest.approx(first_run["ndcg"]["cosine"]["mean"], abs=1e-6)
    sliced = {name[0][0] for name in slices if name}
    assert sliced == set(features.SLICES)
