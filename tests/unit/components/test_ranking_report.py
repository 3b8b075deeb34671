"""The final evaluation: scoring with an exported model, intervals, the per-class report, and the files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

pytest.importorskip("tfx")

from tfx.types.experimental.simple_artifacts import Metrics
from tfx.types.standard_artifacts import Examples, Model, ModelBlessing

from components.ranking_report import RankingReport, component
from components.ranking_report.component import (
    REPORT_FILE,
    SCORES_FILE,
    class_report,
    confusion_figure,
    missed_classes,
    ndcg_by_method,
    score_split,
)
from sqidflow.core.model_files import MODEL_CARD
from sqidflow.evaluation.whole_catalogue import MEASURES, Searched
from sqidflow.ranking import features, metrics
from sqidflow.tracking import runs

QUERIES, EACH = 12, 5


def scores_table(rating: np.ndarray, query: np.ndarray, score: np.ndarray) -> pa.Table:
    count = len(rating)
    probs = np.eye(4, dtype=np.float32)[rating]
    return pa.table(
        {
            features.QUERY_ID: query,
            features.PRODUCT_ID: [f"p{i:03d}" for i in range(count)],
            features.RATING: rating,
            "score": score,
            "probs": pa.FixedSizeListArray.from_arrays(pa.array(probs.reshape(-1)), 4),
            **{name: np.random.default_rng(i).random(count) for i, name in enumerate(features.BASELINES)},
        }
    )


@pytest.fixture(scope="module")
def perfect() -> pa.Table:
    rating = np.tile([3, 2, 1, 0, 0], QUERIES)
    query = np.repeat(np.arange(QUERIES), EACH)
    rating[query == 4] = 0
    return scores_table(rating, query, features.CLASS_GAINS[rating])


def test_intervals_of_model_and_baselines(perfect):
    found, counted, left_out = ndcg_by_method(perfect, "mine")
    assert list(found) == [*features.BASELINES, "mine"]
    assert found["mine"].as_dict() == {"mean": 1.0, "low": 1.0, "high": 1.0}
    assert 0.3 < found["random"].low < found["random"].mean < found["random"].high < 1.0
    assert (counted, left_out) == (QUERIES - 1, 1)


def test_nothing_relevant_at_all_is_an_error(perfect):
    nothing = scores_table(np.zeros(4, np.int64), np.array([0, 0, 1, 1]), np.ones(4))
    with pytest.raises(ValueError, match="nothing to average"):
        ndcg_by_method(nothing, "mine")


def test_class_report_by_hand(perfect):
    probs = np.eye(4, dtype=np.float32)[[3, 3, 3, 0]]
    table = pa.table(
        {
            features.RATING: [3, 3, 2, 0],
            "probs": pa.FixedSizeListArray.from_arrays(pa.array(probs.reshape(-1)), 4),
        }
    )
    found = class_report(table)
    assert found["confusion"] == [[1, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 1], [0, 0, 0, 2]]
    assert found["classes"]["E"]["precision"] == pytest.approx(2 / 3)
    assert found["classes"]["E"]["recall"] == 1.0
    assert found["classes"]["C"] == {"precision": 0.0, "recall": 0.0, "f1-score": 0.0, "support": 0.0}
    assert found["classes"]["accuracy"] == 0.75
    json.dumps(found)
    # Nobody judged a Complement; the one Substitute was called an Exact.
    assert missed_classes(found) == {"S": 0.0}


def test_a_rule_lets_a_class_be_predicted():
    probs = np.array([[0.5, 0.3, 0.1, 0.1]], np.float32)
    table = pa.table({features.RATING: [1], "probs": pa.FixedSizeListArray.from_arrays(pa.array(probs.reshape(-1)), 4)})
    assert class_report(table)["confusion"][1] == [1, 0, 0, 0]
    assert class_report(table, (1.0, 2.0, 1.0, 1.0))["confusion"][1] == [0, 1, 0, 0]


def test_confusion_figure_shows_every_count():
    counts = [[7, 0, 0, 1], [0, 0, 0, 0], [0, 2, 3, 4], [1, 1, 1, 90]]
    figure = confusion_figure(counts)
    axes = figure.axes[0]
    assert [text.get_text() for text in axes.texts] == [str(count) for row in counts for count in row]
    assert [label.get_text() for label in axes.get_yticklabels()] == list(features.CLASSES)
    np.testing.assert_allclose(axes.images[0].get_array()[0], [7 / 8, 0, 0, 1 / 8])


@pytest.fixture(scope="module")
def split(tmp_path_factory) -> Path:
    """A split of examples as FeatureJoin writes them, in two files: rows shuffled, an id and a query beyond ASCII."""
    import tensorflow as tf

    folder = tmp_path_factory.mktemp("examples")
    (folder / "Split-test").mkdir()
    count = QUERIES * EACH
    writers = [tf.io.TFRecordWriter(str(folder / "Split-test" / f"data_tfrecord-{i}")) for i in range(2)]
    for i in np.random.default_rng(0).permutation(count):
        example = tf.train.Example()
        feature = example.features.feature
        feature[features.QUERY_ID].int64_list.value.append(i // EACH)
        feature[features.PRODUCT_ID].bytes_list.value.append(f"ü{i:03d}".encode())
        feature[features.QUERY].bytes_list.value.append("größe".encode())
        feature[features.RATING].int64_list.value.append(i % 4)
        feature[features.HAS_IMAGE].int64_list.value.append(i % 2)
        writers[i % 2].write(example.SerializeToString())
    for writer in writers:
        writer.close()
    return folder


@pytest.fixture(scope="module")
def exported(tmp_path_factory) -> Path:
    """A model whose probabilities name the rating outright."""
    import tensorflow as tf

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")])
    def serve(examples):
        rating = tf.io.parse_example(examples, {features.RATING: tf.io.FixedLenFeature([], tf.int64)})[features.RATING]
        probs = tf.one_hot(rating, 4)
        cosines = tf.cast(rating, tf.float32)[:, None] * tf.constant([[0.1, -0.1, 0.0, 0.2]])
        score = tf.linalg.matvec(probs, tf.constant(features.CLASS_GAINS, tf.float32))
        return {"probs": probs, "score": score, "cosines": cosines, "cosine": cosines[:, 3]}

    module = tf.Module()
    module.serve = serve
    folder = tmp_path_factory.mktemp("model")
    target = folder / "Format-Serving"
    tf.saved_model.save(module, str(target), signatures={"serving_default": serve})
    card = {"model": "mine", "mlflow_run_id": None, "energy_kwh": 0.5}
    (target / MODEL_CARD).write_text(json.dumps(card))
    return folder


def test_every_pair_is_scored_once_and_sorted(split, exported):
    table = score_split(str(exported / "Format-Serving"), str(split / "Split-test"))
    count = QUERIES * EACH
    assert table[features.PRODUCT_ID].to_pylist() == [f"ü{i:03d}" for i in range(count)]
    assert table[features.QUERY_ID].to_pylist() == [i // EACH for i in range(count)]
    assert set(table[features.QUERY].to_pylist()) == {"größe"}
    rating = np.arange(count) % 4
    assert table[features.RATING].to_pylist() == rating.tolist()
    np.testing.assert_allclose(table["score"].to_numpy(), features.CLASS_GAINS[rating], atol=1e-7)
    np.testing.assert_allclose(table["cosine"].to_numpy(), rating * 0.2, atol=1e-6)
    np.testing.assert_allclose(table["cosine_text"].to_numpy(), rating * 0.1, atol=1e-6)
    expected = metrics.random_scores(np.arange(count) // EACH, np.array(table[features.PRODUCT_ID].to_pylist()))
    np.testing.assert_array_equal(table["random"].to_numpy(), expected)


def test_an_empty_split_is_named(tmp_path, exported):
    with pytest.raises(ValueError, match="nothing is held out"):
        score_split(str(exported / "Format-Serving"), str(tmp_path))


def searched(difference: float) -> Searched:
    """Fifty queries on which the model's MRR is that of the best untrained method and ``difference``."""
    fusion = np.random.default_rng(0).uniform(0.3, 0.6, (50, len(MEASURES)))
    noise = np.random.default_rng(1).normal(0, 0.01, fusion.shape)
    return Searched({"bm25": fusion - 0.1, "fusion": fusion, "mine": fusion + difference + noise}, ("bm25", "fusion"))


@pytest.mark.parametrize("blessed", [0, 1])
@pytest.mark.parametrize("found", [searched(-0.1), searched(0.0), None], ids=["worse", "as good", "not measured"])
def test_the_component_writes_scores_and_report(tmp_path, split, exported, blessed, found, monkeypatch):
    monkeypatch.setattr(component, "measure_search", lambda *given: found)
    model, examples, blessing, report, gate = Model(), Examples(), ModelBlessing(), Metrics(), ModelBlessing()
    model.uri, examples.uri, report.uri = str(exported), str(split), str(tmp_path / "report")
    gate.uri = str(tmp_path / "gate")
    examples.split_names = '["train", "test"]'
    blessing.set_int_custom_property("blessed", blessed)
    RankingReport.EXECUTOR_SPEC.executor_class._FUNCTION(
        model=model,
        examples=examples,
        blessing=blessing,
        report=report,
        gate=gate,
        catalogue="{}",
        split="test",
        context_file=str(tmp_path / "no context"),
        code="digest",
    )
    written = json.loads((tmp_path / "report" / REPORT_FILE).read_text())
    assert written["model"] == "mine"
    worse = found is not None and found.is_worse("mine")
    passes = bool(blessed) and not worse
    assert written["blessed"] is passes and written["blessed_on_lists"] is bool(blessed)
    assert gate.get_int_custom_property("blessed") == int(passes)
    assert [file.name for file in (tmp_path / "gate").iterdir()] == ["BLESSED" if passes else "NOT_BLESSED"]
    if worse:
        assert "MRR" in written["blocked_by"] and "of fusion, which needs no training" in written["blocked_by"]
    else:
        assert written["blocked_by"] is None
    assert written["search"] is None or written["search"]["queries"] == 50
    assert written["ndcg"]["mine"]["mean"] == 1.0
    assert (written["pairs"], written["queries"], written["energy_kwh"]) == (60, 12, 0.5)
    assert pq.read_table(tmp_path / "report" / SCORES_FILE).num_rows == 60


def test_the_numbers_reach_the_trainings_mlflow_run(tmp_path, split, exported):
    mlflow = pytest.importorskip("mlflow")
    context = runs.RunContext(
        f"sqlite:///{tmp_path}/mlflow.db", (tmp_path / "artifacts").as_uri(), "e", "r", "c", "d", "ranker_v1", "DEU"
    )
    context.write(tmp_path / "context.json")
    run_id = runs.TrackedRun(context).run_id
    folder = tmp_path / "model" / "Format-Serving"
    folder.parent.mkdir()
    folder.symlink_to(exported / "Format-Serving")
    from components.ranking_report.component import _log_to_mlflow

    table = score_split(str(folder), str(split / "Split-test"))
    intervals, _, _ = ndcg_by_method(table, "mine")
    report = {
        "model": "mine",
        "mlflow_run_id": run_id,
        "blessed": True,
        "ndcg": {name: interval.as_dict() for name, interval in intervals.items()},
        "search": searched(0.1).as_dict(),
        **class_report(table),
    }
    (tmp_path / REPORT_FILE).write_text(json.dumps(report))
    _log_to_mlflow(report, tmp_path / "context.json", tmp_path / REPORT_FILE)
    client = mlflow.MlflowClient(tracking_uri=context.tracking_uri)
    run = client.get_run(run_id)
    assert run.data.metrics["test_ndcg"] == 1.0
    assert run.data.metrics["test_ndcg_random_low"] == pytest.approx(intervals["random"].low)
    assert run.data.metrics["test_E_recall"] == 1.0
    assert run.data.metrics["search_mrr"] > run.data.metrics["search_fusion_mrr"] > 0
    assert run.data.tags["blessed"] == "true"
    assert {item.path for item in client.list_artifacts(run_id)} == {REPORT_FILE, "confusion_matrix.png"}
