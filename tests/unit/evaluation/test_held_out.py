"""Every model beside the baselines on the same pairs, from files alone."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from evaluation.held_out import BASELINES, ORACLE_FILE, evaluate
from modules import features, metrics
from pipeline.errors import DataError

QUERIES, EACH = 20, 6


def judged(seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    count = QUERIES * EACH
    rating = rng.integers(0, 4, count)
    rating[:EACH] = 0  # the first query has no relevant product
    rating[EACH::EACH] = 3
    return {
        features.QUERY_ID: np.repeat(np.arange(QUERIES), EACH),
        features.PRODUCT_ID: np.array([f"p{i:03d}" for i in range(count)]),
        features.RATING: rating,
        features.HAS_IMAGE: rng.integers(0, 2, count),
        **{name: rng.random(count) for name in BASELINES},
    }


def keep(folder: Path, model: str, scores: np.ndarray, pairs: dict[str, np.ndarray], age: int = 0, **card) -> None:
    """Keep a model's scores and report as a run does; ``age`` seconds old."""
    (folder / model).mkdir(parents=True)
    pq.write_table(pa.table({**pairs, "score": scores}), folder / model / "scores.parquet")
    report = folder / model / "report.json"
    report.write_text(json.dumps({"model": model, "blessed": True, "energy_kwh": 0.25, "mlflow_run_id": "r1", **card}))
    then = 1_700_000_000 - age
    os.utime(report, (then, then))


def gains(pairs: dict[str, np.ndarray]) -> np.ndarray:
    return features.CLASS_GAINS[pairs[features.RATING]]


@pytest.fixture
def kept(tmp_path) -> Path:
    pairs = judged()
    keep(tmp_path / "evaluations", "pointwise", gains(pairs), pairs)
    keep(tmp_path / "evaluations", "query_mlp", pairs["random"], pairs, age=100, blessed=False)
    (tmp_path / "data").mkdir()
    return tmp_path


def by_method(result) -> dict:
    return {row.method: row for row in result.rows}


def test_nothing_evaluated_yet_says_what_to_run(tmp_path):
    with pytest.raises(DataError, match="sqidflow run"):
        evaluate(tmp_path / "evaluations", tmp_path)


def test_models_and_baselines_on_the_same_queries(kept):
    result = evaluate(kept / "evaluations", kept / "data")
    assert set(by_method(result)) == {*BASELINES, "pointwise", "query_mlp"}
    assert (result.pairs, result.queries, result.queries_without_relevant) == (QUERIES * EACH, QUERIES - 1, 1)
    means = [row.ndcg.mean for row in result.rows]
    assert means == sorted(means)
    assert result.rows[-1].method == "pointwise"
    assert result.rows[-1].ndcg.mean == 1.0
    assert result.rows[-1].ndcg_at == {5: 1.0, 10: 1.0}


def test_numbers_are_the_metrics_own(kept):
    pairs = judged()
    lists = metrics.RankedLists.of(pairs[features.QUERY_ID], pairs[features.PRODUCT_ID])
    row = by_method(evaluate(kept / "evaluations", kept / "data"))["cosine"]
    whole = metrics.ndcg_per_query(lists, gains(pairs), pairs["cosine"])
    assert row.ndcg == metrics.bootstrap_interval(whole)
    assert row.ndcg_at[5] == pytest.approx(np.nanmean(metrics.ndcg_per_query(lists, gains(pairs), pairs["cosine"], 5)))


def test_lift_is_paired_by_query(kept):
    pairs = judged()
    lists = metrics.RankedLists.of(pairs[features.QUERY_ID], pairs[features.PRODUCT_ID])
    lift = evaluate(kept / "evaluations", kept / "data").lift
    assert set(lift) == {"pointwise", "query_mlp"}
    cosine = metrics.ndcg_per_query(lists, gains(pairs), pairs["cosine"])
    assert lift["pointwise"] == metrics.bootstrap_interval(1.0 - cosine)
    assert lift["pointwise"].low > 0


def test_slices_rank_the_products_with_and_without_a_picture(kept):
    pairs = judged()
    row = by_method(evaluate(kept / "evaluations", kept / "data"))["cosine"]
    for name, mask in (
        ("with_picture", pairs[features.HAS_IMAGE] == 1), ("without_picture", pairs[features.HAS_IMAGE] == 0)
    ):
        lists = metrics.RankedLists.of(pairs[features.QUERY_ID][mask], pairs[features.PRODUCT_ID][mask])
        expected = np.nanmean(metrics.ndcg_per_query(lists, gains(pairs)[mask], pairs["cosine"][mask]))
        assert row.slices[name] == pytest.approx(expected, abs=1e-12)


def test_a_slice_without_products_is_absent_and_one_without_relevant_products_is_null(tmp_path):
    pairs = judged()
    pairs[features.HAS_IMAGE] = np.ones_like(pairs[features.RATING])
    keep(tmp_path / "all", "pointwise", pairs["random"], pairs)
    assert set(evaluate(tmp_path / "all", tmp_path).rows[0].slices) == {"with_picture"}

    pairs[features.HAS_IMAGE] = (pairs[features.RATING] > 0).astype(np.int64)
    keep(tmp_path / "some", "pointwise", pairs["random"], pairs)
    document = evaluate(tmp_path / "some", tmp_path).as_dict()
    assert document["rows"][0]["slices"]["without_picture"] is None
    json.dumps(document, allow_nan=False)


def test_models_of_other_data_are_left_out(kept):
    keep(kept / "evaluations", "older", np.zeros(QUERIES * EACH), judged(seed=9), age=500)
    assert "older" not in by_method(evaluate(kept / "evaluations", kept / "data"))


def test_the_newest_report_decides_which_data_counts(kept):
    pairs = judged(seed=9)
    keep(kept / "evaluations", "newer", gains(pairs), pairs, age=-500)
    assert set(by_method(evaluate(kept / "evaluations", kept / "data"))) == {*BASELINES, "newer"}


def test_a_copy_that_was_never_finished_is_no_model(kept):
    half = kept / "evaluations" / ".pointwise"
    half.mkdir()
    (half / "report.json").write_text("{}")
    assert ".pointwise" not in by_method(evaluate(kept / "evaluations", kept / "data"))


def write_oracle(kept: Path, pairs: dict[str, np.ndarray], query_type: type = int) -> None:
    pq.write_table(
        pa.table(
            {
                "query_id": [query_type(number) for number in pairs[features.QUERY_ID]],
                "product_id": pairs[features.PRODUCT_ID],
                "latent_gain": gains(pairs) + 0.001,
            }
        ),
        kept / "data" / ORACLE_FILE,
    )


@pytest.mark.parametrize("query_type", [int, str])
def test_the_samples_oracle_has_a_row_of_its_own(kept, query_type):
    assert "oracle" not in by_method(evaluate(kept / "evaluations", kept / "data"))
    write_oracle(kept, judged(), query_type)
    result = evaluate(kept / "evaluations", kept / "data")
    assert by_method(result)["oracle"].ndcg.mean == 1.0
    assert "oracle" not in result.lift


def test_an_oracle_of_other_pairs_is_none(kept):
    pairs = {**judged(), features.PRODUCT_ID: np.array([f"q{i:03d}" for i in range(QUERIES * EACH)])}
    write_oracle(kept, pairs)
    assert "oracle" not in by_method(evaluate(kept / "evaluations", kept / "data"))


def test_document(kept):
    document = evaluate(kept / "evaluations", kept / "data").as_dict()
    assert set(document) == {"queries", "queries_without_relevant", "pairs", "rows", "lift_over_cosine"}
    rows = {row["method"]: row for row in document["rows"]}
    assert rows["pointwise"]["energy_kwh"] == 0.25
    assert rows["query_mlp"]["blessed"] is False
    assert rows["cosine"]["blessed"] is None
    assert set(rows["random"]["ndcg"]) == {"mean", "low", "high"}
    assert rows["random"]["ndcg_at_5"] <= 1
