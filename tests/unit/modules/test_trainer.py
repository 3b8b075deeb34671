"""Fitting on arrays, reading transformed files, and the exported signature."""

from __future__ import annotations

import csv
from types import SimpleNamespace

import numpy as np
import pytest

from modules import trainer
from modules.model import HEAD, MODELS, ORDINAL, SHALLOW, TEMPERATURE, TREES, Dimensions, hyperparameters
from modules.preprocessing import preprocessing_fn
from sqidflow.ranking import features
from sqidflow.ranking.retrieval import Fusion
from sqidflow.tracking import energy, runs
from tests.unit.modules.conftest import DIM

COUNT, QUERIES = 120, 24


def pairs_of(inputs_of, name, seed=0, count=COUNT, rating=None):
    """Pairs whose rating follows from one lexical feature, so that there is something to learn."""
    inputs = inputs_of(count, seed)
    if rating is None:
        rating = np.minimum((inputs[features.LEXICAL][:, 0] * 4).astype(np.int64), 3)
    return trainer.Pairs(
        {key: inputs[key] for key in MODELS[name].inputs},
        rating,
        np.arange(count) % QUERIES,
        np.array([f"p{i:03d}".encode() for i in range(count)], object),
    )


def fit(inputs_of, folder, name="pointwise", **overrides):
    hyper = hyperparameters(name, {"batch_size": 16, "epochs": 3, "hidden": [8, 4], "learning_rate": 0.01, **overrides})
    folder.mkdir(exist_ok=True)
    return trainer.fit(
        pairs_of(inputs_of, name), pairs_of(inputs_of, name, seed=1), hyper, folder, runs.TrackedRun(None)
    )


class Raw:
    """Stands in for TFT's output: the project's own preprocessing over fixed-length raw features."""

    def __init__(self, tf):
        self._tf = tf

    def raw_feature_spec(self):
        tf = self._tf
        fixed = tf.io.FixedLenFeature
        return {
            **{name: fixed([DIM], tf.float32) for name in features.VECTORS},
            features.HAS_IMAGE: fixed([1], tf.int64),
            features.LEXICAL: fixed([len(features.LEXICAL_NAMES)], tf.float32),
            features.RELATIVE: fixed([len(features.RELATIVE_NAMES)], tf.float32),
            features.RETRIEVAL: fixed([len(features.RETRIEVAL_NAMES)], tf.float32),
            features.RATING: fixed([1], tf.int64),
        }

    def transformed_feature_spec(self):
        tf = self._tf
        fixed = tf.io.FixedLenFeature
        return {
            **{name: fixed([DIM], tf.float32) for name in features.VECTORS},
            features.HAS_IMAGE: fixed([1], tf.float32),
            features.COSINES: fixed([len(features.COSINE_NAMES)], tf.float32),
            features.LEXICAL: fixed([len(features.LEXICAL_NAMES)], tf.float32),
            features.RELATIVE: fixed([len(features.RELATIVE_NAMES)], tf.float32),
            features.RETRIEVAL: fixed([len(features.RETRIEVAL_NAMES)], tf.float32),
            features.RATING: fixed([], tf.int64),
            features.QUERY_ID: fixed([], tf.int64),
            features.PRODUCT_ID: fixed([], tf.string),
        }

    def transform_features_layer(self):
        tf = self._tf

        def layer(raw):
            ids = tf.zeros(tf.shape(raw[features.HAS_IMAGE])[:1], tf.int64)
            absent = {name: ids for name in (features.RATING, features.QUERY_ID, features.PRODUCT_ID)}
            return preprocessing_fn({**raw, **absent})

        return layer


def record(tf, values):
    """A serialised tf.Example of arrays by name."""
    made = tf.train.Example()
    for name, value in values.items():
        value = np.atleast_1d(value)
        target = made.features.feature[name]
        if value.dtype.kind == "f":
            target.float_list.value.extend(value.tolist())
        elif value.dtype.kind in "iu":
            target.int64_list.value.extend(value.tolist())
        else:
            target.bytes_list.value.extend(value.astype(object).tolist())
    return made.SerializeToString()


@pytest.fixture(scope="module")
def fitted(tf, inputs_of, tmp_path_factory):
    folder = tmp_path_factory.mktemp("fit") / "run"
    return fit(inputs_of, folder), folder


def test_an_epoch_leaves_a_row_and_a_checkpoint(fitted):
    result, folder = fitted
    assert [row["epoch"] for row in result.history] == [1, 2, 3]
    assert set(result.history[0]) == {"epoch", "loss", "accuracy", "val_loss", "val_accuracy", "val_ndcg"}
    assert sorted(file.name for file in (folder / "checkpoints").iterdir()) == [
        f"epoch-00{i}.weights.h5" for i in (1, 2, 3)
    ]
    with (folder / trainer.HISTORY_FILE).open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [float(row["val_ndcg"]) for row in rows] == [row["val_ndcg"] for row in result.history]


def test_where_lists_say_nothing_the_loss_chooses_the_epoch(inputs_of, tmp_path):
    """Of queries with one product each NDCG is 1 in every epoch: the first would win, before anything is learned."""
    train, validation = (pairs_of(inputs_of, "pointwise", seed) for seed in (0, 1))
    for pairs in (train, validation):
        pairs.query_id[:] = np.arange(COUNT)
        pairs.__post_init__()
    assert validation.informative_lists == 0
    hyper = hyperparameters("pointwise", {"batch_size": 16, "epochs": 6, "hidden": [8], "learning_rate": 0.003})
    result = trainer.fit(train, validation, hyper, tmp_path, runs.TrackedRun(None))
    losses = [row["val_loss"] for row in result.history]
    assert result.best_epoch == int(np.argmin(losses)) + 1 > 1


def test_lists_are_informative_where_gains_differ():
    pairs = trainer.Pairs({}, np.array([3, 3, 2, 0, 0, 1]), np.array([5, 5, 7, 7, 9, 11]), np.array(list("abcdef")))
    assert pairs.informative_lists == 1
    assert trainer.Pairs({}, np.zeros(0, int), np.zeros(0, int), np.zeros(0, str)).informative_lists == 0


def test_the_best_epochs_weights_are_kept(fitted, inputs_of):
    result, folder = fitted
    ndcg = [row["val_ndcg"] for row in result.history]
    assert result.best_epoch == int(np.argmax(ndcg)) + 1
    validation = pairs_of(inputs_of, "pointwise", seed=1)
    assert validation.ndcg(result.model.predict(validation.inputs, verbose=0)) == pytest.approx(max(ndcg), abs=1e-12)
    again = MODELS["pointwise"].build(Dimensions(vector=DIM), hyperparameters("pointwise", {"hidden": [8, 4]}))
    again.load_weights(folder / "checkpoints" / f"epoch-{result.best_epoch:03d}.weights.h5")
    for kept, checkpoint in zip(result.model.get_weights(), again.get_weights()):
        np.testing.assert_array_equal(kept, checkpoint)


def test_training_learns(tf, inputs_of, tmp_path):
    result = fit(inputs_of, tmp_path / "run", epochs=12, patience=12, dropout=0.0)
    assert result.history[-1]["loss"] < result.history[0]["loss"] * 0.8


def test_twice_the_same(fitted, inputs_of, tmp_path):
    result, _ = fitted
    again = fit(inputs_of, tmp_path / "run")
    assert again.history == result.history
    for first, second in zip(result.model.get_weights(), again.model.get_weights()):
        np.testing.assert_array_equal(first, second)


def test_another_seed_is_another_training(fitted, inputs_of, tmp_path):
    assert fit(inputs_of, tmp_path / "run", seed=5).history != fitted[0].history


def test_training_stops_when_the_ndcg_no_longer_rises(tf, inputs_of, tmp_path):
    # All products of a query score the same here: NDCG is that of the product ids in every epoch.
    inputs = np.eye(QUERIES, DIM, dtype=np.float32)[np.arange(COUNT) % QUERIES]
    hyper = hyperparameters("query_mlp", {"epochs": 30, "patience": 2})
    rating = np.arange(COUNT) // QUERIES % 4  # each query has every class
    pairs = trainer.Pairs(
        {features.QUERY_VEC: inputs}, rating, np.arange(COUNT) % QUERIES, np.array([f"p{i}" for i in range(COUNT)])
    )
    result = trainer.fit(pairs, pairs, hyper, tmp_path, runs.TrackedRun(None))
    assert len({row["val_ndcg"] for row in result.history}) == 1
    assert len(result.history) == 1 + hyper.patience
    assert result.best_epoch == 1
    assert len(list((tmp_path / "checkpoints").iterdir())) == 3


def test_validation_queries_without_a_relevant_product_do_not_lose_the_training(tf, inputs_of, tmp_path):
    hyper = hyperparameters("query_mlp", {"epochs": 2})
    train = pairs_of(inputs_of, "query_mlp")
    nothing = pairs_of(inputs_of, "query_mlp", rating=np.zeros(COUNT, np.int64))
    result = trainer.fit(train, nothing, hyper, tmp_path, runs.TrackedRun(None))
    assert np.isnan(result.history[0]["val_ndcg"])
    assert result.best_epoch == int(np.argmin([row["val_loss"] for row in result.history])) + 1


def test_a_training_that_diverges_says_so(tf, inputs_of, tmp_path):
    with pytest.raises(ValueError, match=r"diverged in epoch 1.*train\.learning_rate"):
        fit(inputs_of, tmp_path / "run", learning_rate=1e38, epochs=1)


def test_ndcg_of_pairs_is_by_expected_gain():
    pairs = trainer.Pairs({}, np.array([3, 2, 0]), np.zeros(3, np.int64), np.array(["a", "b", "c"]))
    sure = np.eye(4)[[3, 2, 0]]
    assert pairs.ndcg(sure) == 1.0
    # 0.06 of exact is worth less than all of a substitute.
    assert pairs.ndcg(np.array([[0.94, 0, 0, 0.06], [0, 0, 1, 0], [1, 0, 0, 0]])) < 1.0


@pytest.mark.parametrize("compression", ["GZIP", ""])
def test_pairs_are_read_from_all_files_in_the_same_order_each_time(tf, inputs_of, tmp_path, compression):
    inputs = inputs_of(7)
    files = []
    for part, rows in enumerate((range(4), range(4, 7))):
        files.append(tmp_path / f"transformed-{part}{'.gz' if compression else ''}")
        with tf.io.TFRecordWriter(str(files[-1]), compression) as writer:
            for row in rows:
                ids = {features.RATING: row % 4, features.QUERY_ID: 9, features.PRODUCT_ID: f"ü{row}".encode()}
                writer.write(record(tf, {**{name: v[row] for name, v in inputs.items()}, **ids}))
    pairs, again = (trainer.read_pairs([str(tmp_path / "*")], Raw(tf), MODELS["pointwise"].inputs) for _ in range(2))
    assert pairs.product_id.tolist() == again.product_id.tolist()
    row = np.array([int(name.decode()[1:]) for name in pairs.product_id])
    assert sorted(row) == list(range(7))
    np.testing.assert_array_equal(pairs.rating, row % 4)
    assert set(pairs.inputs) == set(MODELS["pointwise"].inputs)
    for name, values in pairs.inputs.items():
        np.testing.assert_array_equal(values, inputs[name][row])
    # Read through the part that learns from products alone, the vectors are gone and nothing else has changed.
    inputs, hyper = MODELS["pointwise"].inputs, hyperparameters("pointwise")
    batches = trainer.read_batches([str(tmp_path / "*")], Raw(tf), inputs)
    fixed = trainer.learn_fixed(batches, Dimensions(vector=DIM), hyper)
    short = trainer.read_pairs([str(tmp_path / "*")], Raw(tf), inputs, fixed)
    assert set(short.inputs) == {"shallow"}
    np.testing.assert_allclose(short.inputs["shallow"], fixed.predict(pairs.inputs, verbose=0), atol=1e-6)
    np.testing.assert_array_equal(short.rating, pairs.rating)
    assert set(trainer.read_pairs([str(tmp_path / "*")], Raw(tf), ("query_vec",)).inputs) == {"query_vec"}


def test_an_empty_split_is_named(tf, tmp_path):
    with pytest.raises(ValueError, match=r"no pair in .*nothing-\*.*more queries"):
        trainer.read_pairs([str(tmp_path / "nothing-*")], Raw(tf), ("query_vec",))


@pytest.mark.parametrize("name", MODELS)
def test_the_exported_signature_is_the_forward_pass(tf, tmp_path, name):
    rng = np.random.default_rng(4)
    count = 5
    raw = {
        **{key: (rng.standard_normal((count, DIM)) * 9).astype(np.float32) for key in features.VECTORS},
        features.HAS_IMAGE: np.array([[1], [0], [1], [1], [0]]),
        features.LEXICAL: rng.random((count, len(features.LEXICAL_NAMES))).astype(np.float32),
        features.RELATIVE: rng.random((count, len(features.RELATIVE_NAMES))).astype(np.float32),
        features.RETRIEVAL: rng.random((count, len(features.RETRIEVAL_NAMES))).astype(np.float32),
    }
    hyper = hyperparameters(name)
    model = MODELS[name].build(Dimensions(vector=DIM), hyper)
    target = str(tmp_path / "served")
    trainer.export(model, hyper, Raw(tf), target)

    transformed = Raw(tf).transform_features_layer()({key: tf.constant(value) for key, value in raw.items()})
    direct = model({key: transformed[key] for key in MODELS[name].inputs}, training=False).numpy()
    signature = tf.saved_model.load(target).signatures["serving_default"]
    # What else stands in a pair's record does not matter.
    rows = ({key: value[i] for key, value in raw.items()} for i in range(count))
    records = [record(tf, {**row, "product_title": b"red shoe"}) for row in rows]
    served = {key: value.numpy() for key, value in signature(examples=tf.constant(records)).items()}
    assert set(served) == {"probs", "score", "cosines", "cosine"}
    np.testing.assert_allclose(served["probs"], direct, atol=1e-6)
    np.testing.assert_allclose(served["score"], direct @ features.CLASS_GAINS, atol=1e-6)
    np.testing.assert_allclose(served["cosines"], transformed[features.COSINES], atol=1e-6)
    np.testing.assert_array_equal(served["cosine"], served["cosines"][:, 3])
    # In a batch of its own a pair scores as it does among others.
    np.testing.assert_allclose(signature(examples=tf.constant(records[2:3]))["probs"].numpy(), direct[2:3], atol=1e-6)


@pytest.mark.parametrize(
    ("folder", "expected"), [("/a/Trainer/model_run/12", "12"), ("/a/model_run/7/", "7"), ("/a/elsewhere", "")]
)
def test_execution_id_is_the_folder_that_tfx_made(folder, expected):
    assert trainer._execution_id(folder) == expected


def test_run_fn_reads_fits_exports_and_writes_its_card(tf, inputs_of, tmp_path, monkeypatch):
    import json

    import tensorflow_transform as tft

    monkeypatch.setattr(tft, "TFTransformOutput", lambda folder: Raw(tf))
    file = tmp_path / "pairs.gz"
    inputs = inputs_of(40)
    with tf.io.TFRecordWriter(str(file), "GZIP") as writer:
        for row in range(40):
            ids = {features.RATING: row % 4, features.QUERY_ID: row % 4, features.PRODUCT_ID: f"p{row}".encode()}
            writer.write(record(tf, {**{name: v[row] for name, v in inputs.items()}, **ids}))
    # A store that cannot be opened: the model must come out all the same.
    (tmp_path / "file").write_text("")
    runs.RunContext(
        f"sqlite:///{tmp_path}/file/mlflow.db", tmp_path.as_uri(), "e", "r", "commit", "data.dir", "ranker_v1", "DEU"
    ).write(tmp_path / "context.json")
    run_dir, serving = tmp_path / "model_run" / "31", tmp_path / "serving"
    run_dir.mkdir(parents=True)
    trainer.run_fn(
        SimpleNamespace(
            custom_config={
                "model": "query_mlp",
                "hyperparameters": {"epochs": 1},
                "context_file": str(tmp_path / "context.json"),
                "catalogue": {"fusion": Fusion.of("lexical").as_json(), "language": "english"},
            },
            transform_output="",
            train_files=[str(file)],
            eval_files=[str(file)],
            model_run_dir=str(run_dir),
            serving_model_dir=str(serving),
            schema_path=None,
        )
    )
    card = json.loads((serving / trainer.MODEL_CARD).read_text())
    assert card == json.loads((run_dir / trainer.MODEL_CARD).read_text())
    assert card["model"] == "query_mlp"
    assert card["mlflow_run_id"] is None
    assert (card["git_commit"], card["data_hash"], card["epochs"]) == ("commit", "data.dir", 1)
    assert card["energy_kwh"] > 0
    assert (card["fusion"], card["ladder"]) == (Fusion.of("lexical").as_json(), None)
    assert len(card["class_rule"]) == 4
    assert card["language"] == "english"
    assert energy.read_emissions(run_dir)["country_iso_code"] == "DEU"
    assert (serving / "saved_model.pb").is_file()


@pytest.mark.parametrize("name", ["ladder", "linear", "listwise", "lambdamart", "ensemble", "cosine"])
def test_the_other_rankers_train_too(name, inputs_of, tmp_path):
    fitted = fit(inputs_of, tmp_path, name, epochs=2, trees=5)
    probabilities = fitted.model.predict(pairs_of(inputs_of, name, seed=1).inputs, verbose=0)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)
    assert len(fitted.history) == {"lambdamart": 5, "cosine": 1, "ladder": 2, "linear": 1}.get(name, 2)
    assert (tmp_path / "history.csv").is_file()
    assert name == "cosine" or list((tmp_path / "checkpoints").iterdir())


def test_the_ensemble_is_its_networks_and_trees_by_their_shares(inputs_of, tmp_path):
    found = fit(inputs_of, tmp_path, "ensemble", epochs=2, trees=5, heads=2, tree_share=0.25).model
    inputs = pairs_of(inputs_of, "ensemble", seed=1).inputs
    import keras

    read = keras.Model(found.input, found.get_layer(TREES).input).predict(inputs, verbose=0)
    networks = found.get_layer(HEAD).predict({SHALLOW: read}, verbose=0)
    trees = np.asarray(found.get_layer(ORDINAL)(found.get_layer(TREES)(read)))
    power = float(found.get_layer(TEMPERATURE).get_weights()[0])
    mixed = (0.75 * networks + 0.25 * trees) ** power
    np.testing.assert_allclose(found.predict(inputs, verbose=0), mixed / mixed.sum(axis=1, keepdims=True), atol=1e-5)
    assert np.ptp(trees[:, 3]) > 0 and power != 1.0


def test_list_batches_hold_whole_lists_and_every_pair_once(inputs_of):
    data = pairs_of(inputs_of, "listwise")
    batches = trainer.list_batches(data, 20, 0)
    seen = []
    for position in range(len(batches)):
        inputs, target = batches[position]
        [count] = {len(values) for values in inputs.values()}
        assert target.shape == (count, 2) and (np.diff(target[:, 1]) >= 0).all() and target[0, 1] == 0
        seen.append(inputs[features.COSINES])
    together = np.concatenate(seen)
    assert sorted(map(tuple, together)) == sorted(map(tuple, data.inputs[features.COSINES]))


@pytest.mark.parametrize("name", [name for name in MODELS if name != "query_mlp"])
@pytest.mark.parametrize("rating", [0, 3])
def test_lists_that_say_nothing_give_finite_scores(name, rating, inputs_of, tmp_path):
    """One candidate a query, no picture anywhere, all vectors and features equal, all judged the same."""
    inputs = {key: np.repeat(values[:1], 24, axis=0) for key, values in inputs_of(1).items()}
    inputs[features.HAS_IMAGE][:] = 0
    inputs[features.IMAGE_VEC][:] = 0
    pairs = trainer.Pairs(
        {key: inputs[key] for key in MODELS[name].inputs}, np.full(24, rating), np.arange(24),
        np.array([f"p{i}".encode() for i in range(24)], object),
    )  # fmt: skip
    hyper = hyperparameters(name, {"epochs": 1, "trees": 2, "heads": 1 if name != "ensemble" else 2, "hidden": [4]})
    fitted = trainer.fit(pairs, pairs, hyper, tmp_path, runs.TrackedRun(None))
    probabilities = fitted.model.predict(pairs.inputs, verbose=0)
    assert np.isfinite(probabilities).all()
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)
    assert np.isnan(fitted.ndcg) if rating == 0 else fitted.ndcg == 1.0


@pytest.mark.parametrize(("count", "most", "expected"), [(3, 5, 3), (5, 5, 5), (900, 5, 5), (0, 5, 0)])
def test_of_many_queries_some_are_completed_the_same_each_time(count, most, expected):
    chosen = trainer.some(count, most, 1)
    assert chosen.tolist() == sorted(set(chosen.tolist())) == trainer.some(count, most, 1).tolist()
    assert len(chosen) == expected and set(chosen.tolist()) <= set(range(count))
