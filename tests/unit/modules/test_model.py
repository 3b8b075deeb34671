"""The networks by what they compute, not by how they are written."""

from __future__ import annotations

import numpy as np
import pytest

from modules.model import (
    HEAD,
    MODELS,
    TEXT_TO_PICTURE,
    Dimensions,
    Hyperparameters,
    ProductMoments,
    compile_for,
    hyperparameters,
    learn_from_products,
    text_to_picture_map,
)
from sqidflow.ranking import features
from tests.unit.modules.conftest import DIM


def model_and_inputs(name, inputs_of, count=5):
    hyper = hyperparameters(name)
    inputs = inputs_of(count)
    return MODELS[name].build(Dimensions(vector=DIM), hyper), {key: inputs[key] for key in MODELS[name].inputs}


def test_unknown_model_names_the_known_ones():
    with pytest.raises(ValueError, match=r"'bert'.*pointwise.*query_mlp"):
        hyperparameters("bert")


def test_unknown_hyperparameter_names_the_known_ones():
    with pytest.raises(ValueError, match=r"'learning_rat'.*learning_rate"):
        hyperparameters("pointwise", {"learning_rat": 1})


def test_overrides_replace_and_none_does_not():
    found = hyperparameters("query_mlp", {"epochs": 3, "dropout": None, "hidden": [8, 4]})
    assert found == Hyperparameters(model="query_mlp", batch_size=32, epochs=3, hidden=(8, 4), l2=0.0)
    assert hyperparameters("query_mlp").dropout == 0.3


def test_hyperparameters_survive_their_own_dictionary():
    wanted = hyperparameters("pointwise", {"epochs": 2})
    assert hyperparameters("pointwise", wanted.as_dict()) == wanted


def test_the_original_network_is_as_it_was(tf):
    model = MODELS["query_mlp"].build(Dimensions(vector=768), hyperparameters("query_mlp"))
    layers = [layer.get_config() for layer in model.layers[1:]]
    assert [layer.get("units", layer.get("rate")) for layer in layers] == [256, 0.3, 128, 4]
    assert [layer.get("activation") for layer in layers] == ["relu", None, "relu", "softmax"]
    assert model.count_params() == 768 * 256 + 256 + 256 * 128 + 128 + 128 * 4 + 4
    assert compile_for(model, hyperparameters("query_mlp")) is model
    assert type(model.optimizer).__name__ == "Adam"
    assert hyperparameters("query_mlp").batch_size == 32


@pytest.mark.parametrize("name", MODELS)
def test_probabilities_over_the_four_classes(tf, inputs_of, name):
    model, inputs = model_and_inputs(name, inputs_of)
    found = model.predict(inputs, verbose=0)
    assert found.shape == (5, len(features.CLASSES))
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-6)
    assert (found >= 0).all() if name == "cosine" else (found > 0).all()


def test_the_zero_shot_model_orders_as_the_blend_does(tf, inputs_of):
    model, inputs = model_and_inputs("cosine", inputs_of, 50)
    score = model.predict(inputs, verbose=0) @ features.CLASS_GAINS
    blend = inputs[features.COSINES][:, features.COSINE_NAMES.index("cosine")]
    np.testing.assert_allclose(score, (1 + blend) / 2, atol=1e-6)


def test_the_heads_are_averaged_and_each_learns_from_a_loss_of_its_own(tf):
    hyper = hyperparameters("ensemble", {"heads": 3, "hidden": [8]})
    model = MODELS["ensemble"].build(Dimensions(vector=DIM), hyper)
    head = model.get_layer(HEAD)
    read = np.random.default_rng(0).standard_normal((12, head.input["shallow"].shape[1])).astype(np.float32)
    read = {"shallow": read}
    heads = compile_for(head, hyper)
    each = heads.predict(read, verbose=0)
    assert each.shape == (12, 3, 4)
    np.testing.assert_allclose(each.mean(axis=1), head.predict(read, verbose=0), atol=1e-6)
    rating = np.arange(12) % 4
    expected = -np.log(each[np.arange(12)[:, None], np.arange(3)[None], rating[:, None]]).mean()
    assert float(heads.compute_loss(y=rating, y_pred=tf.constant(each))) == pytest.approx(
        expected + float(sum(head.losses)), rel=1e-4
    )
    before = [weight.copy() for weight in head.get_weights()]
    heads.fit(read, rating, epochs=1, verbose=0)
    assert any((a != b).any() for a, b in zip(before, head.get_weights()))


@pytest.mark.parametrize("name", MODELS)
def test_a_model_reads_the_inputs_it_names(tf, inputs_of, name):
    model, _ = model_and_inputs(name, inputs_of)
    assert {tensor.name for tensor in model.inputs} == set(MODELS[name].inputs)


PRODUCT_INPUTS = (
    features.TEXT_VEC,
    features.IMAGE_VEC,
    features.COSINES,
    features.LEXICAL,
    features.RELATIVE,
    features.RETRIEVAL,
)


@pytest.mark.parametrize("name", PRODUCT_INPUTS)
def test_pointwise_sees_the_product(tf, inputs_of, name):
    model, inputs = model_and_inputs("pointwise", inputs_of)
    before = model.predict(inputs, verbose=0)
    after = model.predict({**inputs, name: -inputs[name]}, verbose=0)
    assert np.abs(after - before).max() > 1e-4


def test_query_mlp_scores_all_products_of_a_query_the_same(tf, inputs_of):
    model, inputs = model_and_inputs("query_mlp", inputs_of)
    same_query = {features.QUERY_VEC: np.repeat(inputs[features.QUERY_VEC][:1], 700, axis=0)}
    assert len(np.unique(model.predict(same_query, batch_size=1024, verbose=0), axis=0)) == 1


@pytest.mark.parametrize("name", MODELS)
def test_any_vector_length(tf, name):
    model = MODELS[name].build(Dimensions(vector=11, lexical=3, relative=2, retrieval=4), hyperparameters(name))
    found = {tensor.name: tensor.shape[1] for tensor in model.inputs}
    assert found.get(features.QUERY_VEC, 11) == 11
    assert found.get(features.LEXICAL, 3) == 3


def products(rng, count=40, dim=8):
    texts = rng.standard_normal((count, dim))
    return (texts / np.linalg.norm(texts, axis=1, keepdims=True)).astype(np.float32)


def test_the_map_from_texts_to_pictures_is_found():
    rng = np.random.default_rng(0)
    texts = products(rng)
    rotation, _ = np.linalg.qr(rng.standard_normal((8, 8)))
    names = np.array([f"p{i}" for i in range(len(texts))])
    images = (texts @ rotation).astype(np.float32)
    found = text_to_picture_map(texts, images, np.ones(len(texts)), names, ridge=1e-6)
    np.testing.assert_allclose(found, rotation, atol=1e-3)
    assert found.dtype == np.float32


def test_a_product_counts_once_and_one_without_a_picture_does_not():
    rng = np.random.default_rng(1)
    texts, images = products(rng), products(rng)
    names = np.array([f"p{i:02d}" for i in range(len(texts))])
    once = text_to_picture_map(texts, images, np.ones(len(texts)), names, ridge=1.0)
    again = [0, 0, 0, *range(len(texts))]
    repeated = text_to_picture_map(texts[again], images[again], np.ones(len(again)), names[again], ridge=1.0)
    np.testing.assert_allclose(repeated, once, atol=1e-6)
    has_image = np.arange(len(texts)) % 2
    images[has_image == 0] = 0
    kept = has_image == 1
    found = text_to_picture_map(texts, images, has_image[:, None], names, ridge=1.0)
    expected = text_to_picture_map(texts[kept], images[kept], np.ones(kept.sum()), names[kept], ridge=1.0)
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_without_pictures_the_map_changes_nothing():
    texts = products(np.random.default_rng(2))
    found = text_to_picture_map(texts, np.zeros_like(texts), np.zeros(len(texts)), np.arange(len(texts)), ridge=1.0)
    np.testing.assert_array_equal(found, np.eye(8, dtype=np.float32))


def test_what_is_learned_from_products_is_not_trained_away(tf, inputs_of):
    hyper = hyperparameters("pointwise")
    model = MODELS["pointwise"].build(Dimensions(vector=DIM), hyper)
    compile_for(model, hyper)
    inputs = inputs_of(30)
    names = np.array([f"p{i}" for i in range(30)])
    learn_from_products(model, [{**inputs, features.PRODUCT_ID: names}], hyper)
    expected = text_to_picture_map(
        inputs[features.TEXT_VEC], inputs[features.IMAGE_VEC], inputs[features.HAS_IMAGE], names, hyper.ridge
    )
    model.fit(inputs, np.arange(30) % 4, epochs=1, verbose=0)
    np.testing.assert_array_equal(model.get_layer(TEXT_TO_PICTURE).get_weights()[0], expected)


def test_a_model_without_such_a_part_learns_nothing_from_products(tf, inputs_of):
    hyper = hyperparameters("query_mlp")
    model = MODELS["query_mlp"].build(Dimensions(vector=DIM), hyper)
    before = model.get_weights()
    learn_from_products(model, [{**inputs_of(4), features.PRODUCT_ID: np.arange(4)}], hyper)
    for first, second in zip(before, model.get_weights()):
        np.testing.assert_array_equal(first, second)


def test_list_loss_by_hand() -> None:
    """Two lists: in the first the Exact is second, the other list has no gain and teaches classes alone."""
    import tensorflow as tf

    from modules.model import list_loss

    probabilities = np.array([[0.1, 0.1, 0.2, 0.6], [0.2, 0.1, 0.2, 0.5], [0.7, 0.1, 0.1, 0.1]], np.float32)
    rating, group = np.array([0, 3, 0]), np.array([0, 0, 1])
    classes = -np.log(probabilities[np.arange(3), rating]).mean()
    expected = probabilities[:2].astype(np.float64) @ features.CLASS_GAINS
    odds = expected / (1 - expected)
    lists = -np.log(odds[1] / odds.sum())
    found = float(list_loss(0.5)(tf.constant(np.stack([rating, group], 1)), tf.constant(probabilities)))
    assert found == pytest.approx(classes + 0.5 * lists, rel=1e-5)


def test_moments_of_batches_are_those_of_all_and_count_a_product_once():
    rng = np.random.default_rng(2)
    text, image = (rng.standard_normal((40, DIM)).astype(np.float32) for _ in range(2))
    names, pictured = np.arange(40) % 25, (np.arange(40) % 25 % 5 > 0).astype(np.float32)[:, None]
    text, image = text[np.arange(40) % 25], image[np.arange(40) % 25]
    moments = ProductMoments(DIM)
    for rows in (slice(0, 7), slice(7, 30), slice(30, 40)):
        moments.add(text[rows], image[rows], pictured[rows], names[rows])
    kept = np.flatnonzero(pictured[:25, 0])
    once = text_to_picture_map(text[kept], image[kept], np.ones(len(kept)), names[kept], 2.0)
    np.testing.assert_allclose(moments.solve(2.0), once, rtol=1e-5, atol=1e-6)
