"""Transform's user code: raw pairs with vectors in, the ranker's input features out. Vectors are normalised here.

It has no analyzer: every output depends only on its own row. So Transform needs no extra pass over the data, and the
graph inside a served model is the same few operations.
"""

from __future__ import annotations

from typing import Any

from sqidflow.ranking import features

_SMALLEST_NORM = 1e-12


def unit(vectors: Any) -> Any:
    """float32 [n, d] scaled to norm 1; a zero row stays zero."""
    import tensorflow as tf

    norm = tf.norm(vectors, axis=-1, keepdims=True)
    return tf.math.divide_no_nan(vectors, tf.maximum(norm, _SMALLEST_NORM))


def cosines_of(query: Any, text: Any, image: Any, has_image: Any) -> Any:
    """The cosines of unit vectors, float32 [n, 4] in the order of ``features.COSINE_NAMES``.

    ``query`` may be [1, d], for the n candidates of one query. The last column is the zero-shot score: the mean of the
    first two, or the text cosine for a product without a picture.
    """
    import tensorflow as tf

    def cosine(left: Any, right: Any) -> Any:
        return tf.reduce_sum(left * right, axis=-1, keepdims=True)

    query_text, query_image = cosine(query, text), cosine(query, image)
    blend = (query_text + tf.where(has_image > 0, query_image, query_text)) / 2
    return tf.concat([query_text, query_image, cosine(text, image), blend], axis=-1)


def preprocessing_fn(inputs: dict[str, Any]) -> dict[str, Any]:
    """TFT's entry point.

    Args:
        inputs: the features that FeatureJoin wrote, each dense [n, ...].

    Returns:
        unit vectors float32 [n, d] (zeros for a missing picture), ``has_image`` float32 [n, 1], ``cosines`` float32
        [n, 4] in the order of ``features.COSINE_NAMES``; ``lexical_features``, ``relative_features`` and
        ``retrieval_features`` float32 [n, k],
        ``rating`` int64 [n], and the two ids.
    """
    import tensorflow as tf

    has_image = tf.cast(tf.reshape(inputs[features.HAS_IMAGE], [-1, 1]), tf.float32)
    query = unit(inputs[features.QUERY_VEC])
    text = unit(inputs[features.TEXT_VEC])
    image = unit(inputs[features.IMAGE_VEC]) * has_image

    return {
        features.QUERY_VEC: query,
        features.TEXT_VEC: text,
        features.IMAGE_VEC: image,
        features.HAS_IMAGE: has_image,
        features.COSINES: cosines_of(query, text, image, has_image),
        features.LEXICAL: tf.cast(inputs[features.LEXICAL], tf.float32),
        features.RELATIVE: tf.cast(inputs[features.RELATIVE], tf.float32),
        features.RETRIEVAL: tf.cast(inputs[features.RETRIEVAL], tf.float32),
        features.RATING: tf.reshape(inputs[features.RATING], [-1]),
        features.QUERY_ID: tf.reshape(inputs[features.QUERY_ID], [-1]),
        features.PRODUCT_ID: tf.reshape(inputs[features.PRODUCT_ID], [-1]),
    }
