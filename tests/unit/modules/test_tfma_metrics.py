"""What the Evaluator computes equals the project's own NDCG, and it blesses when it should."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pytest

from sqidflow.ranking import features
from sqidflow.ranking.metrics import RankedLists, ndcg_per_query

QUERIES, EACH = 7, 5


@pytest.fixture(scope="module")
def tfma(tf):
    from tfx import components  # noqa: F401  tfma.EvalConfig exists only afterwards

    return pytest.importorskip("tensorflow_model_analysis")


@pytest.fixture(scope="module")
def judged():
    """Pairs of several queries, the last without a relevant product; ids beyond ASCII; many equal cosines."""
    rng = np.random.default_rng(8)
    count = QUERIES * EACH
    rating = rng.integers(0, 4, count)
    rating[:QUERIES] = 3
    query = np.arange(count) % QUERIES
    rating[query == QUERIES - 1] = 0
    probs = rng.dirichlet(np.ones(4), count)
    return {
        features.QUERY_ID: query,
        features.PRODUCT_ID: np.array([f"ü{i}" for i in rng.permutation(count)]),
        features.RATING: rating,
        features.HAS_IMAGE: rng.integers(0, 2, count),
        "probs": probs,
        "score": rng.random(count),
        "cosine": np.round(rng.random(count), 1),
    }


def expected(judged, output, mask=slice(None)):
    lists = RankedLists.of(judged[features.QUERY_ID][mask], judged[features.PRODUCT_ID][mask])
    found = ndcg_per_query(lists, features.CLASS_GAINS[judged[features.RATING][mask]], judged[output][mask])
    return float(np.nanmean(found))


def evaluate(tfma, config, judged, folder, gathered=True, models=None):
    """Metrics by slice and name, and whether the thresholds hold; through TFMA's own extractors.

    The pairs come in three batches that cut through the queries; where not ``gathered``, one by one as TFMA's own
    metrics take them. ``models``: name -> scores, where there are two.
    """
    import apache_beam as beam

    from components.evaluator.extractors import gather_judged_lists
    from pipeline.beam import beam_arguments
    from sqidflow.core.settings import BeamSettings

    outputs = ("probs", "score", "cosine")
    keys = (features.QUERY_ID, features.PRODUCT_ID, features.RATING, features.HAS_IMAGE)
    columns = {**judged, features.PRODUCT_ID: np.char.encode(judged[features.PRODUCT_ID], "utf-8")}
    order = np.random.default_rng(0).permutation(len(judged["score"]))
    extracts = [
        {
            tfma.FEATURES_KEY: {key: columns[key][rows] for key in keys},
            tfma.LABELS_KEY: judged[features.RATING][rows],
            tfma.PREDICTIONS_KEY: (
                {
                    model: {name: (score if name == "score" else judged[name])[rows] for name in outputs}
                    for model, score in models.items()
                }
                if models
                else {name: judged[name][rows] for name in outputs}
            ),
            tfma.EXAMPLE_WEIGHTS_KEY: np.ones(len(rows)),
        }
        for rows in np.array_split(order, 3 if gathered else len(order))
    ]
    from apache_beam.testing import util
    from tensorflow_model_analysis.evaluators import metrics_plots_and_validations_evaluator as evaluator
    from tensorflow_model_analysis.extractors import slice_key_extractor

    # Beam works on copies of these functions: what they see comes back by files.
    def keep_metrics(got):
        by_slice = {tuple(key): {name.name: value for name, value in values.items()} for key, values in got}
        (folder / "metrics").write_bytes(pickle.dumps(by_slice))

    def keep_validation(got):
        (folder / "ok").write_bytes(pickle.dumps([result.validation_ok for result in got]))

    with beam.Pipeline(argv=beam_arguments(BeamSettings())) as pipeline:
        batches = pipeline | beam.Create(extracts, reshuffle=False)
        lists = batches | gather_judged_lists(config).ptransform if gathered else batches
        evaluation = (
            lists
            | slice_key_extractor.SliceKeyExtractor(eval_config=config).ptransform
            | evaluator.MetricsPlotsAndValidationsEvaluator(config).ptransform
        )
        util.assert_that(evaluation["metrics"], keep_metrics, label="metrics")
        util.assert_that(evaluation["validations"], keep_validation, label="validations")
    return {file.name: pickle.loads(file.read_bytes()) for file in folder.iterdir()}


def config_of(tfma, min_lift=0.0, slices=()):
    from modules.tfma_metrics import evaluation_config

    # TFX does the same before it evaluates a first model: there is nothing to compare it with.
    return tfma.utils.update_eval_config_with_defaults(
        evaluation_config(min_lift, 0.0, slices, code="c0ffee"), has_baseline=False, rubber_stamp=True
    )


@pytest.fixture(scope="module")
def found(tfma, judged, tmp_path_factory):
    config = config_of(tfma, slices=[features.HAS_IMAGE])
    return evaluate(tfma, config, judged, tmp_path_factory.mktemp("found"))["metrics"]


def test_ndcg_is_the_projects_own(found, judged):
    overall = found[()]
    assert overall["ndcg"] == pytest.approx(expected(judged, "score"), abs=1e-9)
    assert overall["ndcg_cosine"] == pytest.approx(expected(judged, "cosine"), abs=1e-9)
    assert overall["ndcg_lift"] == pytest.approx(expected(judged, "score") - expected(judged, "cosine"), abs=1e-9)
    assert overall["queries_without_relevant"] == 1


def test_a_slice_holds_the_queries_that_have_such_a_product_with_all_their_products(found, judged):
    # TFMA slices what it groups: a query, whole, is in the slice of each of its products.
    for value in (0, 1):
        having = np.unique(judged[features.QUERY_ID][judged[features.HAS_IMAGE] == value])
        mask = np.isin(judged[features.QUERY_ID], having)
        assert found[((features.HAS_IMAGE, value),)]["ndcg"] == pytest.approx(expected(judged, "score", mask), abs=1e-9)


def test_accuracy_and_count_are_of_pairs(found, judged):
    accuracy = (judged["probs"].argmax(axis=1) == judged[features.RATING]).mean()
    assert found[()]["sparse_categorical_accuracy"] == pytest.approx(accuracy, abs=1e-6)
    assert found[()]["example_count"] == QUERIES * EACH


def test_equal_to_tfmas_own_ndcg_where_nothing_ties(tfma, judged, tmp_path):
    from tensorflow_model_analysis.proto import config_pb2

    kept = {key: value[judged[features.QUERY_ID] < QUERIES - 1] for key, value in judged.items()}
    ranking = {**kept, features.HAS_IMAGE: features.CLASS_GAINS[kept[features.RATING]]}  # TFMA's gain, in a feature
    config = tfma.EvalConfig(
        model_specs=[tfma.ModelSpec(label_key=features.RATING)],
        slicing_specs=[tfma.SlicingSpec()],
        metrics_specs=[
            tfma.MetricsSpec(
                query_key=features.QUERY_ID,
                output_names=["score"],
                binarize=config_pb2.BinarizationOptions(top_k_list={"values": [EACH]}),
                metrics=[tfma.MetricConfig(class_name="NDCG", config=json.dumps({"gain_key": features.HAS_IMAGE}))],
            )
        ],
    )
    found = evaluate(tfma, config, ranking, tmp_path, gathered=False)["metrics"][()]
    assert found["ndcg"] == pytest.approx(expected(kept, "score"), abs=1e-9)


@pytest.mark.parametrize(
    ("model", "min_lift", "blessed"),
    [("perfect", 0.0, True), ("cosine", 0.0, False), ("cosine", -0.01, True), ("perfect", 0.9, False)],
)
def test_blessed_only_above_the_cosine(tfma, judged, tmp_path, model, min_lift, blessed):
    score = features.CLASS_GAINS[judged[features.RATING]] if model == "perfect" else judged["cosine"]
    found = evaluate(tfma, config_of(tfma, min_lift), {**judged, "score": score}, tmp_path)
    assert found["ok"] == [blessed]


@pytest.mark.parametrize(
    ("loss", "max_loss", "blessed"), [(0.0, 0.0, True), (0.02, 0.0, False), (0.02, 0.03, True), (0.02, 0.01, False)]
)
def test_blessed_only_where_it_loses_no_more_than_it_may_against_the_champion(
    tfma, judged, tmp_path, loss, max_loss, blessed
):
    from modules.tfma_metrics import evaluation_config

    config = evaluation_config(-1.0, max_loss, [])  # above the cosine by whatever
    config.model_specs[0].name = tfma.CANDIDATE_KEY
    champion = config.model_specs.add()
    champion.CopyFrom(config.model_specs[0])
    champion.name, champion.is_baseline = tfma.BASELINE_KEY, True
    config = tfma.utils.update_eval_config_with_defaults(config, has_baseline=True)
    best = features.CLASS_GAINS[judged[features.RATING]]
    worse = _losing(judged, best, loss)
    lost = expected({**judged, "score": best}, "score") - expected({**judged, "score": worse}, "score")
    assert (lost == 0) == (loss == 0) and abs(lost - loss) < 0.005
    scores = {tfma.CANDIDATE_KEY: worse, tfma.BASELINE_KEY: best}
    assert evaluate(tfma, config, judged, tmp_path, models=scores)["ok"] == [blessed]


def _losing(judged, best, loss):
    """Scores whose mean NDCG is about ``loss`` below the perfect one: neighbours of a query swapped one by one."""
    score, aim = best.astype(float), expected({**judged, "score": best}, "score") - loss
    for query in np.unique(judged[features.QUERY_ID]):
        rows = np.flatnonzero(judged[features.QUERY_ID] == query)
        for first, second in zip(rows, rows[1:]):
            if expected({**judged, "score": score}, "score") <= aim:
                return score
            swapped = score.copy()
            swapped[[first, second]] = score[[second, first]]
            if expected({**judged, "score": swapped}, "score") >= aim - 0.005:
                score = swapped
    return score


def test_another_version_of_the_code_is_another_config(tfma):
    from modules.tfma_metrics import evaluation_config

    first, second = (evaluation_config(0.0, 0.0, [], code=code).SerializeToString() for code in ("a", "b"))
    assert first != second
    assert first == evaluation_config(0.0, 0.0, [], code="a").SerializeToString()


def test_a_metric_of_lists_refuses_to_have_them_grouped_again():
    pytest.importorskip("tensorflow_model_analysis")
    from modules.tfma_metrics import QueryNdcg

    with pytest.raises(ValueError, match="query_key"):
        QueryNdcg().computations(query_key=features.QUERY_ID)


def test_pairs_of_several_queries_are_no_list(tfma, judged):
    from modules.tfma_metrics import QueryNdcg

    (computation,) = QueryNdcg().computations()
    extract = {
        tfma.FEATURES_KEY: {name: judged[name] for name in (features.QUERY_ID, features.RATING)}
        | {features.PRODUCT_ID: np.char.encode(judged[features.PRODUCT_ID], "utf-8")},
        tfma.PREDICTIONS_KEY: {"score": judged["score"]},
    }
    with pytest.raises(ValueError, match="one query at a time"):
        list(computation.preprocessors[0].process(extract))
