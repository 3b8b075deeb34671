"""RankingReport: the final evaluation on the held-out queries, with intervals and baselines."""

# No `from __future__ import annotations`: TFX reads the annotations of a component function as objects.

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from tfx.dsl.component.experimental.annotations import InputArtifact, OutputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.types import artifact_utils
from tfx.types.experimental.simple_artifacts import Metrics
from tfx.types.standard_artifacts import Examples, Model, ModelBlessing

from components.ranking_report.audit_gate import blocking_text, brands_of, groups_gate, typing_gate
from components.ranking_report.champion import CHAMPION, compare
from components.ranking_report.search import blocking_line, measure_search
from sqidflow.core.model_files import MODEL_CARD
from sqidflow.evaluation.behaviour.report import Line
from sqidflow.evaluation.whole_catalogue import MEASURES
from sqidflow.ranking import features, metrics
from sqidflow.search.engine import SearchCore
from sqidflow.tracking import runs

SCORES_FILE = "scores.parquet"
REPORT_FILE = "report.json"
BATCH_PAIRS = 2048
LEAST_RECALL = 0.05


def score_split(model_dir: str, split_dir: str) -> pa.Table:
    """Score every pair of a split with an exported model.

    Returns:
        One row per pair, sorted by (query, product): ids, ``rating`` int64, ``has_image`` int64, ``query``, ``score``
        float64, ``probs`` list<float32> [4], one column per zero-shot cosine, and ``random``.
    """
    import tensorflow as tf

    signature = tf.saved_model.load(model_dir).signatures["serving_default"]
    narrow = {
        features.QUERY_ID: tf.io.FixedLenFeature([], tf.int64),
        features.PRODUCT_ID: tf.io.FixedLenFeature([], tf.string),
        features.QUERY: tf.io.FixedLenFeature([], tf.string, ""),
        features.RATING: tf.io.FixedLenFeature([], tf.int64),
        features.HAS_IMAGE: tf.io.FixedLenFeature([], tf.int64),
    }
    files = sorted(tf.io.gfile.glob(f"{split_dir}/*"))
    compression = "GZIP" if files and files[0].endswith(".gz") else ""
    columns: dict[str, list[np.ndarray]] = {}
    for records in tf.data.TFRecordDataset(files, compression).batch(BATCH_PAIRS).prefetch(1):
        outputs = {**tf.io.parse_example(records, narrow), **signature(examples=records)}
        for name in (*narrow, "score", "probs", features.COSINES):
            columns.setdefault(name, []).append(outputs[name].numpy())
    if not columns:
        raise ValueError(f"no pair in {split_dir}: nothing is held out; use data with more queries")
    stacked = {name: np.concatenate(parts) for name, parts in columns.items()}
    product_ids = np.char.decode(stacked[features.PRODUCT_ID].astype(bytes), "utf-8")
    table = {
        features.QUERY_ID: stacked[features.QUERY_ID],
        features.PRODUCT_ID: product_ids,
        features.QUERY: np.char.decode(stacked[features.QUERY].astype(bytes), "utf-8"),
        features.RATING: stacked[features.RATING],
        features.HAS_IMAGE: stacked[features.HAS_IMAGE],
        "score": stacked["score"].astype(np.float64),
        "probs": pa.FixedSizeListArray.from_arrays(pa.array(stacked["probs"].reshape(-1)), len(features.CLASSES)),
        **{name: stacked[features.COSINES][:, i].astype(np.float64) for i, name in enumerate(features.COSINE_NAMES)},
        "random": metrics.random_scores(stacked[features.QUERY_ID], product_ids),
    }
    return pa.table(table).sort_by([(features.QUERY_ID, "ascending"), (features.PRODUCT_ID, "ascending")])


def ndcg_by_method(scores: pa.Table, model: str) -> tuple[dict[str, metrics.Interval], int, int]:
    """NDCG with its interval for each baseline and the model; the numbers of queries counted and left out.

    Raises:
        ValueError: every query's products are all irrelevant.
    """
    lists = metrics.RankedLists.of(scores[features.QUERY_ID].to_numpy(), scores[features.PRODUCT_ID].to_numpy())
    gains = features.CLASS_GAINS[scores[features.RATING].to_numpy()]
    columns = {**{name: name for name in features.BASELINES}, model: "score"}
    per_query = {
        method: metrics.ndcg_per_query(lists, gains, scores[column].to_numpy()) for method, column in columns.items()
    }
    counted = int((~np.isnan(per_query[model])).sum())
    intervals = {method: metrics.bootstrap_interval(values) for method, values in per_query.items()}
    return intervals, counted, len(lists.query_ids) - counted


def single_product_queries(scores: pa.Table) -> int:
    """Number of queries with one judged product. Their NDCG is always 1, so they only dilute differences."""
    counts = scores.group_by(features.QUERY_ID).aggregate([(features.PRODUCT_ID, "count")])
    return int(np.sum(counts[f"{features.PRODUCT_ID}_count"].to_numpy() == 1))


def class_report(scores: pa.Table, rule: Sequence[float] = features.PLAIN_RULE) -> dict[str, Any]:
    """scikit-learn's per-class precision, recall and F1, and the confusion matrix (rows: judged)."""
    from sklearn.metrics import classification_report

    actual = scores[features.RATING].to_numpy()
    probabilities = np.asarray(scores["probs"].combine_chunks().flatten()).reshape(-1, len(features.CLASSES))
    predicted = features.predicted_classes(probabilities, rule)
    return {
        "classes": classification_report(
            actual,
            predicted,
            labels=range(len(features.CLASSES)),
            target_names=list(features.CLASSES),
            output_dict=True,
            zero_division=0.0,
        ),
        "confusion": metrics.confusion_matrix(actual, predicted, len(features.CLASSES)).tolist(),
    }


def missed_classes(report: dict[str, Any]) -> dict[str, float]:
    """The judged classes whose recall is below 0.05, with it: a class that is hardly ever said is no class."""
    recalls = {label: report["classes"][label]["recall"] for label in features.CLASSES}
    judged = {label for label in features.CLASSES if report["classes"][label]["support"]}
    return {label: recall for label, recall in recalls.items() if label in judged and recall < LEAST_RECALL}


def confusion_figure(confusion: list[list[int]]) -> Any:
    """The confusion matrix as a figure: colours are shares of each judged class, numbers are counts."""
    from matplotlib.figure import Figure

    counts = np.asarray(confusion)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    figure = Figure(figsize=(4.6, 4.2), layout="constrained")
    axes = figure.subplots()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(counts):
        dark = shares[row, column] > 0.5
        axes.text(column, row, f"{count}", ha="center", va="center", color="white" if dark else "black")
    ticks = range(len(features.CLASSES))
    axes.set(xlabel="predicted", ylabel="judged", xticks=ticks, yticks=ticks)
    axes.set_xticklabels(features.CLASSES)
    axes.set_yticklabels(features.CLASSES)
    return figure


def _log_to_mlflow(report: dict[str, Any], context_file: Path, report_file: Path) -> None:
    if not report["mlflow_run_id"]:
        return
    run = runs.TrackedRun(runs.RunContext.read(context_file), run_id=report["mlflow_run_id"])
    values = {}
    for method, interval in report["ndcg"].items():
        name = "ndcg" if method == report["model"] else f"ndcg_{method}"
        values[f"test_{name}"] = interval["mean"]
        values[f"test_{name}_low"] = interval["low"]
        values[f"test_{name}_high"] = interval["high"]
    for label in features.CLASSES:
        for measure in ("precision", "recall", "f1-score"):
            values[f"test_{label}_{measure.replace('-', '_')}"] = report["classes"][label][measure]
    search = report["search"] or {"rows": (), "best_untrained": None}
    for row in search["rows"]:
        if row["method"] == search["best_untrained"]:
            values["search_untrained_mrr"] = row["mrr"]["mean"]
        name = "search" if row["method"] == report["model"] else f"search_{row['method']}"
        values |= {f"{name}_{measure}": row[measure]["mean"] for measure in MEASURES}
    for name, gain in report.get(CHAMPION, {}).get("gains", {}).items():
        values |= {f"{name}_over_champion": gain["mean"], f"{name}_over_champion_low": gain["low"]}
    run.metrics(values)
    run.tags({"blessed": str(report["blessed"]).lower()})
    run.artifact(report_file)
    run.figure(confusion_figure(report["confusion"]), "confusion_matrix.png")


@component
def RankingReport(
    model: InputArtifact[Model],
    examples: InputArtifact[Examples],
    blessing: InputArtifact[ModelBlessing],
    report: OutputArtifact[Metrics],
    gate: OutputArtifact[ModelBlessing],
    split: Parameter[str],
    context_file: Parameter[str],
    catalogue: Parameter[str],
    code: Parameter[str],
) -> None:
    """Score the held-out split, search the whole catalogue with its queries, and write ``scores.parquet`` and
    ``report.json``; log the numbers to the model's run.

    ``gate`` is the last word on the blessing: the Evaluator's, unless the model is worse in search than the best method
    that needs no training, a line of the audit blocks it, or, where `sqidflow retrain` names the served model, its gain
    over that is not sure. ``catalogue`` is JSON of what FeatureJoin is told, with
    the encoder, the settings of search and those of the audit. ``code`` is a digest of the code that computes the
    report, so that a code change misses the cache.
    """
    from tfx.utils import path_utils

    model_dir = path_utils.serving_model_path(model.uri)
    card = json.loads((Path(model_dir) / MODEL_CARD).read_text())
    scores = score_split(model_dir, artifact_utils.get_split_uri([examples], split))
    intervals, counted, left_out = ndcg_by_method(scores, card["model"])
    rule = card.get("class_rule", features.PLAIN_RULE)
    config = json.loads(catalogue)
    audited: list[Line] = []
    look = None
    if config.get("audit"):
        audited += groups_gate(scores, rule, config["audit"], brands_of(Path(config["artifacts_dir"])))

        def look(core: SearchCore) -> None:
            audited.extend(typing_gate(core, scores, config["audit"]))

    searched = measure_search(Path(model_dir), card["model"], config, scores, look)
    reasons = [blocking_line(searched, card["model"]), blocking_text(audited)]
    against = None
    if config.get(CHAMPION):
        split_dir = artifact_utils.get_split_uri([examples], split)
        against = compare(
            config[CHAMPION],
            card.get("mlflow_run_id"),
            scores,
            searched,
            card["model"],
            lambda folder: score_split(str(folder), split_dir),
            lambda folder: measure_search(folder, CHAMPION, config, scores),
        )
        reasons.append(against.blocking_line())
    blocked = " | ".join(reason for reason in reasons if reason) or None
    blessed = bool(blessing.get_int_custom_property("blessed")) and blocked is None
    classes = class_report(scores, rule)
    written = {
        **card,
        "split": split,
        "pairs": scores.num_rows,
        "queries": counted,
        "queries_without_relevant": left_out,
        "queries_with_one_product": single_product_queries(scores),
        "ndcg": {method: interval.as_dict() for method, interval in intervals.items()},
        "blessed": blessed,
        "blessed_on_lists": bool(blessing.get_int_custom_property("blessed")),
        "search": searched.as_dict() if searched else None,
        "blocked_by": blocked,
        "audit": [line.as_dict() for line in audited],
        **({CHAMPION: against.as_dict()} if against else {}),
        "classes_missed": missed_classes(classes),
        **classes,
    }
    folder = Path(report.uri)
    folder.mkdir(parents=True, exist_ok=True)
    gate.set_int_custom_property("blessed", int(blessed))
    Path(gate.uri).mkdir(parents=True, exist_ok=True)
    # As the Evaluator leaves word of its own blessing.
    (Path(gate.uri) / ("BLESSED" if blessed else "NOT_BLESSED")).touch()
    pq.write_table(scores, folder / SCORES_FILE)
    (folder / REPORT_FILE).write_text(json.dumps(written, indent=2))
    _log_to_mlflow(written, Path(context_file), folder / REPORT_FILE)
