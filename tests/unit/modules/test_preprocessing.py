"""Transform's function against NumPy."""

from __future__ import annotations

import numpy as np
import pytest

from modules.preprocessing import preprocessing_fn, unit
from sqidflow.ranking import features


@pytest.fixture(scope="module")
def raw():
    rng = np.random.default_rng(3)
    count, dim = 6, 16
    vectors = {name: (rng.standard_normal((count, dim)) * 13).astype(np.float32) for name in features.VECTORS}
    has_image = np.array([1, 1, 0, 1, 0, 1])
    vectors[features.IMAGE_VEC][has_image == 0] = 0
    return {
        **vectors,
        features.HAS_IMAGE: has_image[:, None],
        features.LEXICAL: rng.random((count, len(features.LEXICAL_NAMES))).astype(np.float32),
        features.RELATIVE: rng.random((count, len(features.RELATIVE_NAMES))).astype(np.float32),
        features.RETRIEVAL: rng.random((count, len(features.RETRIEVAL_NAMES))).astype(np.float32),
        features.RATING: np.array([[0], [1], [2], [3], [3], [0]]),
        features.QUERY_ID: np.arange(count)[:, None],
        features.PRODUCT_ID: np.array([[f"p{i}".encode()] for i in range(count)]),
    }


@pytest.fixture(scope="module")
def transformed(tf, raw):
    found = preprocessing_fn({name: tf.constant(values) for name, values in raw.items()})
    return {name: values.numpy() for name, values in found.items()}


def test_vectors_have_length_one_and_missing_pictures_none(raw, transformed):
    for name in (features.QUERY_VEC, features.TEXT_VEC):
        np.testing.assert_allclose(np.linalg.norm(transformed[name], axis=1), 1, atol=1e-6)
    norms = np.linalg.norm(transformed[features.IMAGE_VEC], axis=1)
    np.testing.assert_allclose(norms, raw[features.HAS_IMAGE][:, 0], atol=1e-6)


def test_zeros_stay_zeros_and_tiny_vectors_grow(tf):
    found = unit(tf.constant([[0.0, 0.0], [3.0, 4.0], [3e-9, 4e-9]])).numpy()
    np.testing.assert_allclose(found, [[0, 0], [0.6, 0.8], [0.6, 0.8]], atol=1e-6)


def test_a_vector_of_a_product_without_a_picture_does_not_count(tf, raw, transformed):
    odd = {**raw, features.IMAGE_VEC: np.ones_like(raw[features.IMAGE_VEC])}
    found = preprocessing_fn({k: tf.constant(v) for k, v in odd.items()})
    np.testing.assert_array_equal(found[features.IMAGE_VEC].numpy()[2], 0)
    np.testing.assert_array_equal(found[features.COSINES].numpy()[2], transformed[features.COSINES][2])


def test_cosines_are_numpys(raw, transformed):
    def cosine(left, right):
        lengths = np.linalg.norm(raw[left], axis=1) * np.linalg.norm(raw[right], axis=1)
        return np.divide((raw[left] * raw[right]).sum(axis=1), lengths, out=np.zeros(len(lengths)), where=lengths > 0)

    text = cosine(features.QUERY_VEC, features.TEXT_VEC)
    image = cosine(features.QUERY_VEC, features.IMAGE_VEC)
    both = cosine(features.TEXT_VEC, features.IMAGE_VEC)
    has_image = raw[features.HAS_IMAGE][:, 0] > 0
    blend = np.where(has_image, (text + image) / 2, text)
    expected = np.stack([text, image, both, blend], axis=1)
    assert features.COSINE_NAMES == ("cosine_text", "cosine_image", "cosine_text_image", "cosine")
    np.testing.assert_allclose(transformed[features.COSINES], expected, atol=1e-6)
    # What relative features are made from are the same cosines.
    found = features.cosines(*(raw[name] for name in features.VECTORS), raw[features.HAS_IMAGE])
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_the_rest_passes_in_the_shapes_the_trainer_reads(raw, transformed):
    for name in (features.LEXICAL, features.RELATIVE, features.RETRIEVAL):
        np.testing.assert_array_equal(transformed[name], raw[name])
    for name in (features.RATING, features.QUERY_ID, features.PRODUCT_ID):
        np.testing.assert_array_equal(transformed[name], raw[name][:, 0])
    assert transformed[features.HAS_IMAGE].dtype == np.float32
    assert transformed[features.HAS_IMAGE].shape == (6, 1)
