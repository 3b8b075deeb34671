"""ONNX answers as the SavedModel does, from the same raw examples."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from modules import lambdamart
from modules.model import MODELS, SHALLOW, TREES, Dimensions, hyperparameters
from modules.onnx_export import export_onnx
from modules.preprocessing import preprocessing_fn
from sqidflow.core.model_files import MAP_FILE, MAPPED_NORM, ONNX_FILE
from sqidflow.ranking import features

DIM, COUNT = 24, 40


def _raw(seed: int) -> dict[str, np.ndarray]:
    """A query's n candidates as FeatureJoin would write them, vectors not normalised, some without a picture."""
    rng = np.random.default_rng(seed)
    has_image = (rng.random(COUNT) > 0.2).astype(np.int64)
    query = np.repeat(rng.normal(size=(1, DIM)), COUNT, 0)
    image = rng.normal(size=(COUNT, DIM)) * 14 * has_image[:, None]
    vectors = {
        features.QUERY_VEC: query * 12,
        features.TEXT_VEC: rng.normal(size=(COUNT, DIM)),
        features.IMAGE_VEC: image,
    }
    return {
        **{name: values.astype(np.float32) for name, values in vectors.items()},
        features.HAS_IMAGE: has_image[:, None],
        features.LEXICAL: rng.random((COUNT, len(features.LEXICAL_NAMES)), np.float32),
        features.RELATIVE: rng.random((COUNT, len(features.RELATIVE_NAMES)), np.float32),
        features.RETRIEVAL: rng.random((COUNT, len(features.RETRIEVAL_NAMES)), np.float32),
        features.RATING: np.zeros((COUNT, 1), np.int64),
        features.QUERY_ID: np.zeros((COUNT, 1), np.int64),
        features.PRODUCT_ID: np.zeros((COUNT, 1), np.int64),
    }


class _All:
    """Never stops, keeps every round."""

    best = 0

    def __call__(self, number: int, score: object) -> bool:
        self.best = number
        return True


def _trees(width: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """A small LambdaMART, trained on noise."""
    rows = rng.normal(size=(600, width))
    rating = (rows[:, 0] + rows[:, 9] > 0.5).astype(int)
    hyper = SimpleNamespace(trees=20, leaves=8, learning_rate=0.1, seed=3)
    return lambdamart.train(rows.astype(np.float32), rating, np.repeat(np.arange(50), 12), hyper, _All())


def _trained(name: str):
    """A ranker whose every weight, the fixed map and the batch norm's statistics among them, is not its start's."""
    hyper, dimensions, spec = hyperparameters(name), Dimensions(DIM), MODELS[name]
    rng = np.random.default_rng(5)
    if not spec.learns:
        return spec.build(dimensions, hyper), hyper, dimensions
    if not spec.trees:
        model = spec.build(dimensions, hyper)
    else:
        width = spec.build(dimensions, hyper).get_layer(SHALLOW).output.shape[-1]
        ensemble = _trees(width, rng)
        model = spec.build(dimensions, hyper, ensemble)
        model.get_layer(TREES).fill(ensemble)
    for variable in model.weights:
        if TREES in variable.path or "slope" in variable.path or "cuts" in variable.path:
            continue
        values = rng.normal(size=variable.shape) * 0.3
        positive = "variance" in variable.path or "temperature" in variable.path or "sharpness" in variable.path
        variable.assign(np.abs(values) + 0.5 if positive else values)
    return model, hyper, dimensions


@pytest.mark.parametrize("name", list(MODELS))
def test_onnx_answers_as_the_model_does_behind_transform(name: str, tmp_path: Path, tf) -> None:
    import onnxruntime

    model, hyper, dimensions = _trained(name)
    export_onnx(model, hyper, dimensions, tmp_path)
    raw = _raw(1)
    transformed = preprocessing_fn({key: tf.constant(value) for key, value in raw.items()})
    expected = model({key: transformed[key] for key in MODELS[name].inputs}, training=False).numpy()

    session = onnxruntime.InferenceSession(str(tmp_path / ONNX_FILE), providers=["CPUExecutionProvider"])
    given = {key: np.asarray(value, np.float32) for key, value in raw.items()}
    given[features.QUERY_VEC] = given[features.QUERY_VEC][:1]
    if MODELS[name].sees_product:
        text = transformed[features.TEXT_VEC].numpy()
        given[MAPPED_NORM] = np.linalg.norm(text @ np.load(tmp_path / MAP_FILE), axis=1, keepdims=True)
    else:
        assert not (tmp_path / MAP_FILE).exists()
    (probabilities,) = session.run(["probs"], {each.name: given[each.name] for each in session.get_inputs()})
    assert np.ptp(expected[:, 3]) > 0.01 or name == "query_mlp"
    np.testing.assert_allclose(np.broadcast_to(probabilities, expected.shape), expected, atol=1e-4)


def test_the_pushed_model_and_its_onnx_agree(first_run: dict, prepared: Path, tf) -> None:
    """The whole of it: the pushed SavedModel on serialised pairs, the ONNX file on the vectors of Feast's sources."""
    import onnxruntime
    import pyarrow.parquet as pq

    folder = Path(first_run["pushed_model"])
    card = json.loads((folder / "sqidflow.json").read_text())
    assert (card["feature_contract"], card["dim"], card["encoder"]) == (features.contract(), 96, "offline:3")
    products = pq.read_table(prepared / "artifacts/features/products.parquet").slice(0, 60).to_pylist()
    query = pq.read_table(prepared / "artifacts/features/queries.parquet").slice(0, 1).to_pylist()[0]["query_vec"]
    rng = np.random.default_rng(0)
    has_image = np.array([[p["has_image"]] for p in products])
    raw = {
        features.QUERY_VEC: np.repeat(np.array([query], np.float32), len(products), 0),
        features.TEXT_VEC: np.array([p[features.TEXT_VEC] for p in products], np.float32),
        features.IMAGE_VEC: np.array([p[features.IMAGE_VEC] or [0.0] * 96 for p in products], np.float32),
        features.HAS_IMAGE: has_image,
        features.LEXICAL: rng.random((len(products), len(features.LEXICAL_NAMES)), np.float32),
        features.RELATIVE: rng.random((len(products), len(features.RELATIVE_NAMES)), np.float32),
        features.RETRIEVAL: rng.random((len(products), len(features.RETRIEVAL_NAMES)), np.float32),
    }

    def example(row: int) -> bytes:
        feature = {}
        for name, values in raw.items():
            if values.dtype == np.float32:
                feature[name] = tf.train.Feature(float_list=tf.train.FloatList(value=values[row]))
            else:
                feature[name] = tf.train.Feature(int64_list=tf.train.Int64List(value=values[row]))
        return tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString()

    served = tf.saved_model.load(str(folder)).signatures["serving_default"]
    expected = served(examples=tf.constant([example(row) for row in range(len(products))]))["probs"].numpy()

    session = onnxruntime.InferenceSession(str(folder / ONNX_FILE), providers=["CPUExecutionProvider"])
    given = {name: np.asarray(values, np.float32) for name, values in raw.items()}
    given[features.QUERY_VEC] = given[features.QUERY_VEC][:1]
    text = given[features.TEXT_VEC] / np.linalg.norm(given[features.TEXT_VEC], axis=1, keepdims=True)
    given[MAPPED_NORM] = np.linalg.norm(text @ np.load(folder / MAP_FILE), axis=1, keepdims=True)
    (probabilities,) = session.run(["probs"], given)
    assert np.ptp(expected[:, 3]) > 0.05
    np.testing.assert_allclose(probabilities, expected, atol=1e-4)
