"""Every model beside the baselines on the same pairs, from files alone."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest

from modules.model import MODELS
from sqidflow.cli.progress import show_evaluation, write_evaluation
from sqidflow.core.errors import DataError
from sqidflow.core.workdir import Workdir
from sqidflow.data.formats import ORACLE_FILE
from sqidflow.evaluation.held_out import comparison_document, comparison_figure, evaluate
from sqidflow.evaluation.names import METHOD_NAMES
from sqidflow.ranking import features, metrics
from sqidflow.ranking.model_names import DEFAULT_MODEL

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
        **{name: rng.random(count) for name in features.BASELINES},
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
    keep(tmp_path / "evaluations", DEFAULT_MODEL, gains(pairs), pairs)
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
    assert set(by_method(result)) == {*features.BASELINES, DEFAULT_MODEL, "query_mlp"}
    assert (result.pairs, result.queries, result.queries_without_relevant) == (QUERIES * EACH, QUERIES - 1, 1)
    means = [row.ndcg.mean for row in result.rows]
    assert means == sorted(means)
    assert result.rows[-1].method == DEFAULT_MODEL
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
    assert set(lift) == {DEFAULT_MODEL, "query_mlp"}
    cosine = metrics.ndcg_per_query(lists, gains(pairs), pairs["cosine"])
    assert lift[DEFAULT_MODEL] == metrics.bootstrap_interval(1.0 - cosine)
    assert lift[DEFAULT_MODEL].low > 0


def test_measures_by_the_kind_of_query(kept):
    """The first query, which has no relevant product, is the only one of its kind."""
    pairs = judged()
    ids = pairs[features.QUERY_ID]
    kinds = np.where(ids == 0, "odd", np.where(ids % 2 == 0, "plural", "typing error"))
    texts = {features.QUERY: [f"query {query}" for query in ids]}
    for folder in (kept / "evaluations").iterdir():
        table = pq.read_table(folder / "scores.parquet").append_column(features.QUERY, pa.array(texts[features.QUERY]))
        pq.write_table(table, folder / "scores.parquet")
    lines = [f"{query},{product},a title,,{kind}" for query, product, kind in zip(ids, pairs["product_id"], kinds)]
    file = kept / "pairs.csv"
    file.write_text("\n".join(["query_id,product_id,product_title,product_brand,query_kind", *lines]))
    result = evaluate(kept / "evaluations", kept / "data", file)
    assert result.kinds == {"odd": 1, "plural": (QUERIES - 1) // 2, "typing error": QUERIES // 2}
    assert by_method(result)[DEFAULT_MODEL].kinds["plural"] == {"ndcg": 1.0, "mrr": 1.0}
    assert by_method(result)["cosine"].kinds["odd"] == {"ndcg": None, "mrr": None}
    rest = by_method(result)["cosine"].kinds
    counts = np.array([result.kinds["plural"], result.kinds["typing error"]])
    means = np.array([rest["plural"]["ndcg"], rest["typing error"]["ndcg"]])
    assert by_method(result)["cosine"].ndcg.mean == pytest.approx(counts @ means / counts.sum())
    assert result.as_dict()["kinds"] == result.kinds


def test_no_kinds_where_the_judgements_name_none(kept):
    assert evaluate(kept / "evaluations", kept / "data").kinds == {}


def test_slices_rank_the_products_with_and_without_a_picture(kept):
    pairs = judged()
    row = by_method(evaluate(kept / "evaluations", kept / "data"))["cosine"]
    for name, mask in (
        ("with_picture", pairs[features.HAS_IMAGE] == 1),
        ("without_picture", pairs[features.HAS_IMAGE] == 0),
    ):
        lists = metrics.RankedLists.of(pairs[features.QUERY_ID][mask], pairs[features.PRODUCT_ID][mask])
        expected = np.nanmean(metrics.ndcg_per_query(lists, gains(pairs)[mask], pairs["cosine"][mask]))
        assert row.slices[name] == pytest.approx(expected, abs=1e-12)


def test_a_slice_without_products_is_absent_and_one_without_relevant_products_is_null(tmp_path):
    pairs = judged()
    pairs[features.HAS_IMAGE] = np.ones_like(pairs[features.RATING])
    keep(tmp_path / "all", DEFAULT_MODEL, pairs["random"], pairs)
    slices = set(evaluate(tmp_path / "all", tmp_path).rows[0].slices)
    assert {"with_picture", "all with picture"} <= slices
    assert not slices & {"without_picture", "some without", "none with picture"}

    pairs[features.HAS_IMAGE] = (pairs[features.RATING] > 0).astype(np.int64)
    keep(tmp_path / "some", DEFAULT_MODEL, pairs["random"], pairs)
    document = evaluate(tmp_path / "some", tmp_path).as_dict()
    assert document["rows"][0]["slices"]["without_picture"] is None
    json.dumps(document, allow_nan=False)


def test_models_of_other_data_are_left_out(kept):
    keep(kept / "evaluations", "older", np.zeros(QUERIES * EACH), judged(seed=9), age=500)
    assert "older" not in by_method(evaluate(kept / "evaluations", kept / "data"))


def test_the_newest_report_decides_which_data_counts(kept):
    pairs = judged(seed=9)
    keep(kept / "evaluations", "newer", gains(pairs), pairs, age=-500)
    assert set(by_method(evaluate(kept / "evaluations", kept / "data"))) == {*features.BASELINES, "newer"}


def test_a_copy_that_was_never_finished_is_no_model(kept):
    half = kept / "evaluations" / ".pointwise"
    half.mkdir()
    (half / "report.json").write_text("{}")
    assert ".pointwise" not in by_method(evaluate(kept / "evaluations", kept / "data"))


def write_oracle(kept: Path, pairs: dict[str, np.ndarray], query_type: type = int) -> None:
    write_oracle_into(kept / "data", pairs, query_type)


def write_oracle_into(data: Path, pairs: dict[str, np.ndarray], query_type: type = int) -> None:
    pq.write_table(
        pa.table(
            {
                "query_id": [query_type(number) for number in pairs[features.QUERY_ID]],
                "product_id": pairs[features.PRODUCT_ID],
                "latent_gain": gains(pairs) + 0.001,
            }
        ),
        data / ORACLE_FILE,
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
    assert {"queries", "queries_without_relevant", "pairs", "rows", "lift_over_cosine"} <= set(document)
    json.dumps(document, allow_nan=False)
    rows = {row["method"]: row for row in document["rows"]}
    assert rows[DEFAULT_MODEL]["energy_kwh"] == 0.25
    assert rows["query_mlp"]["blessed"] is False
    assert rows["cosine"]["blessed"] is None
    assert set(rows["random"]["ndcg"]) == {"mean", "low", "high"}
    assert rows["random"]["ndcg_at_5"] <= 1


def with_texts(pairs: dict[str, np.ndarray], folder: Path) -> dict[str, np.ndarray]:
    """The pairs with query texts, and a file of prepared pairs beside: each Exact repeats its query's words."""
    words = ["red kettle", "steel pan without lid", "acme garden hose 5 m long"]
    queries = np.array([words[number % 3] for number in pairs[features.QUERY_ID]])
    exact = pairs[features.RATING] == 3
    prepared = {
        **{name: pairs[name] for name in (features.QUERY_ID, features.PRODUCT_ID)},
        features.TITLE: [f"{query} new, boxed" if hit else "something else" for query, hit in zip(queries, exact)],
        features.BRAND: ["Acme" if number % 2 else "" for number in range(len(queries))],
    }
    folder.mkdir(parents=True, exist_ok=True)
    pacsv.write_csv(pa.table(prepared), folder / "pairs.csv")
    return {**pairs, features.QUERY: queries}


def test_bm25_and_slices_by_text_come_from_the_prepared_pairs(tmp_path):
    pairs = with_texts(judged(), tmp_path / "prepared")
    keep(tmp_path / "evaluations", DEFAULT_MODEL, gains(pairs), pairs)
    result = evaluate(tmp_path / "evaluations", tmp_path, tmp_path / "prepared" / "pairs.csv")
    rows = by_method(result)
    assert rows["bm25"].precision_at[5] == rows[DEFAULT_MODEL].precision_at[5]
    assert rows["bm25"].mrr == 1.0 and rows["bm25"].top5_accuracy == 1.0
    thirds = [sum(number % 3 == which for number in range(QUERIES)) for which in range(3)]
    assert [result.slices[name] for name in ("1-2 words", "3-4 words", "5 words or more")] == thirds
    assert (result.slices["negation"], result.slices["no negation"]) == (thirds[1], QUERIES - thirds[1])
    assert (result.slices["brand named"], result.slices["no brand named"]) == (thirds[2], QUERIES - thirds[2])
    assert rows["cosine"].slices["negation"] != rows["cosine"].slices["no negation"]


@pytest.mark.parametrize("content", [b"", bytes(500), "cut"])
def test_damaged_prepared_pairs_are_one_line(tmp_path, content):
    pairs = with_texts(judged(), tmp_path / "prepared")
    keep(tmp_path / "evaluations", DEFAULT_MODEL, gains(pairs), pairs)
    file = tmp_path / "prepared" / "pairs.csv"
    file.write_bytes(file.read_bytes()[:-7].rsplit(b",", 2)[0] if content == "cut" else content)
    with pytest.raises(DataError, match=r"pairs are damaged .*run `sqidflow features`") as caught:
        evaluate(tmp_path / "evaluations", tmp_path, file)
    assert str(file) in caught.value.message and "\n" not in caught.value.message


def test_prepared_pairs_of_other_data_give_no_bm25(tmp_path):
    other = judged()
    other[features.PRODUCT_ID] = np.char.add("x", other[features.PRODUCT_ID])
    with_texts(other, tmp_path / "prepared")
    pairs = with_texts(judged(), tmp_path / "unused")
    keep(tmp_path / "evaluations", DEFAULT_MODEL, gains(pairs), pairs)
    assert "bm25" not in by_method(evaluate(tmp_path / "evaluations", tmp_path, tmp_path / "prepared" / "pairs.csv"))


def test_a_model_of_another_data_version_is_left_out_even_on_equal_pairs(tmp_path):
    pairs = judged()
    keep(tmp_path, DEFAULT_MODEL, gains(pairs), pairs, data_hash="new.dir")
    keep(tmp_path, "pointwise", gains(pairs), pairs, age=100, data_hash="old.dir")
    keep(tmp_path, "listwise", gains(pairs), pairs, age=100, data_hash="new.dir")
    result = evaluate(tmp_path, tmp_path)
    assert set(result.lift) == {DEFAULT_MODEL, "listwise"}
    assert "pointwise" in result.missing


def test_a_run_of_the_zero_shot_cosine_does_not_replace_the_baseline(tmp_path):
    pairs = judged()
    keep(tmp_path, DEFAULT_MODEL, gains(pairs), pairs)
    without = by_method(evaluate(tmp_path, tmp_path))["cosine"]
    keep(tmp_path, "cosine", -gains(pairs), pairs, age=100)
    result = evaluate(tmp_path, tmp_path)
    assert by_method(result)["cosine"] == without and set(result.lift) == {DEFAULT_MODEL}


@pytest.mark.parametrize("broken", ["report.json", "scores.parquet"])
@pytest.mark.parametrize("cut", [True, False])
def test_kept_files_that_cannot_be_read_hide_no_other_model(kept, capsys, broken, cut):
    folder = kept / "evaluations" / DEFAULT_MODEL
    if broken == "scores.parquet" and not cut:
        (folder / broken).unlink()
    else:
        (folder / broken).write_bytes((folder / broken).read_bytes()[:20])
    result = evaluate(kept / "evaluations", kept / "data")
    assert set(result.lift) == {"query_mlp"} and result.unreadable == [DEFAULT_MODEL]
    show_evaluation(result, Workdir(kept))
    assert f"cannot be read: {DEFAULT_MODEL}" in capsys.readouterr().err


def test_nothing_that_can_be_read_is_an_error(tmp_path):
    keep(tmp_path, DEFAULT_MODEL, gains(judged()), judged())
    (tmp_path / DEFAULT_MODEL / "scores.parquet").unlink()
    with pytest.raises(DataError, match="no saved evaluation can be read"):
        evaluate(tmp_path, tmp_path)


def test_differences_from_the_default_are_paired(kept):
    result = evaluate(kept / "evaluations", kept / "data")
    assert set(result.over_default) == {"query_mlp"}
    pairs = judged()
    lists = metrics.RankedLists.of(pairs[features.QUERY_ID], pairs[features.PRODUCT_ID])
    random = metrics.ndcg_per_query(lists, gains(pairs), pairs["random"])
    assert result.over_default["query_mlp"] == metrics.bootstrap_interval(random - 1.0)
    assert result.over_default["query_mlp"].high < 0


def test_classes_are_measured_where_a_model_kept_probabilities(tmp_path):
    pairs = judged()
    probs = np.full((len(pairs[features.RATING]), 4), 0.1, np.float32)
    probs[np.arange(len(probs)), pairs[features.RATING]] = 0.7
    listed = pa.FixedSizeListArray.from_arrays(pa.array(probs.reshape(-1)), 4)
    keep(tmp_path, DEFAULT_MODEL, gains(pairs), {**pairs, "probs": listed})
    rows = by_method(evaluate(tmp_path, tmp_path))
    assert rows[DEFAULT_MODEL].classes.micro_f1 == rows[DEFAULT_MODEL].classes.macro_f1 == 1.0
    assert rows[DEFAULT_MODEL].classes.ece == pytest.approx(0.3, abs=1e-6)
    assert rows["cosine"].classes is None


def test_swapped_gains_pay_complements_more_than_substitutes(tmp_path):
    pairs = judged()
    keep(tmp_path, DEFAULT_MODEL, gains(pairs), pairs)
    swapped = evaluate(tmp_path, tmp_path, swapped_gains=True)
    lists = metrics.RankedLists.of(pairs[features.QUERY_ID], pairs[features.PRODUCT_ID])
    paid = np.array([0.0, 0.1, 0.01, 1.0])[pairs[features.RATING]]
    expected = metrics.bootstrap_interval(metrics.ndcg_per_query(lists, paid, gains(pairs)))
    assert swapped.swapped_gains and by_method(swapped)[DEFAULT_MODEL].ndcg == expected
    assert expected.mean < 1.0


# --- degenerate input: defined, counted, never NaN --------------------------------------------------------------------


def measured(tmp_path: Path, pairs: dict[str, np.ndarray], scores: np.ndarray):
    probs = pa.FixedSizeListArray.from_arrays(pa.array(np.full(len(scores) * 4, 0.25, np.float32)), 4)
    keep(tmp_path / "evaluations", DEFAULT_MODEL, scores, {**pairs, "probs": probs})
    result = evaluate(tmp_path / "evaluations", tmp_path)
    json.dumps(result.as_dict(), allow_nan=False)
    comparison_figure(result, {})
    json.dumps(comparison_document(result), allow_nan=False)
    workdir = Workdir(tmp_path)
    write_evaluation(result, workdir)
    show_evaluation(result, workdir)
    assert "nan" not in (workdir.metrics / "evaluation.json").read_text().lower()
    return result


def rows_of(pairs: dict[str, np.ndarray], mask: np.ndarray) -> dict[str, np.ndarray]:
    return {name: values[mask] for name, values in pairs.items()}


def test_only_irrelevant_products(tmp_path, capsys):
    pairs = judged()
    pairs[features.RATING][:] = 0
    result = measured(tmp_path, pairs, pairs["random"])
    assert (result.queries, result.queries_without_relevant, result.queries_without_exact) == (0, QUERIES, QUERIES)
    row = by_method(result)[DEFAULT_MODEL]
    assert row.ndcg is None and row.mrr is None and row.top5_accuracy is None
    assert result.lift == {DEFAULT_MODEL: None}
    shown = capsys.readouterr().err
    assert f"{QUERIES} queries have no relevant product" in shown and "nan" not in shown.lower()


def test_one_query_with_one_candidate(tmp_path):
    pairs = rows_of(judged(), np.arange(QUERIES * EACH) == EACH)
    result = measured(tmp_path, pairs, np.zeros(1))
    assert (result.queries, result.queries_with_one_product) == (1, 1)
    row = by_method(result)[DEFAULT_MODEL]
    assert (row.ndcg.mean, row.ndcg.low, row.ndcg.high) == (1.0, 1.0, 1.0)
    assert (row.mrr, row.precision_at[5], row.tied) == (1.0, 0.2, 0)


def test_no_picture_anywhere(tmp_path):
    pairs = judged()
    pairs[features.HAS_IMAGE][:] = 0
    pairs["cosine_image"][:] = 0.0
    result = measured(tmp_path, pairs, gains(pairs))
    assert result.pairs_without_picture == result.pairs
    assert by_method(result)["cosine_image"].tied == QUERIES
    assert "with_picture" not in by_method(result)["cosine"].slices


def test_all_vectors_equal(tmp_path, capsys):
    pairs = judged()
    for name in ("cosine", "cosine_text", "cosine_image"):
        pairs[name][:] = 1.0
    result = measured(tmp_path, pairs, np.ones(len(pairs["cosine"])))
    rows = by_method(result)
    assert rows["cosine"].ndcg == rows[DEFAULT_MODEL].ndcg and rows["cosine"].tied == QUERIES
    assert result.lift[DEFAULT_MODEL].mean == 0.0
    assert "ordered by id" in capsys.readouterr().err


def test_the_tables_fit_118_columns(tmp_path, capsys):
    pairs = with_texts(judged(), tmp_path / "prepared")
    probs = pa.FixedSizeListArray.from_arrays(pa.array(np.full(len(pairs["random"]) * 4, 0.25, np.float32)), 4)
    for model in MODELS:
        keep(tmp_path / "evaluations", model, pairs["random"], {**pairs, "probs": probs})
    write_oracle_into(tmp_path, judged())
    result = evaluate(tmp_path / "evaluations", tmp_path, tmp_path / "prepared" / "pairs.csv")
    show_evaluation(result, Workdir(tmp_path))
    lines = capsys.readouterr().err.splitlines()
    assert max(len(line.rstrip()) for line in lines if str(tmp_path) not in line) <= 118
    for row in result.rows:
        assert any(METHOD_NAMES.get(row.method, row.method) in line and "[" in line for line in lines), row.method
    assert not any("…" in line for line in lines)
