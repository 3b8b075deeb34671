"""The ranker as ONNX, for a service without TensorFlow: raw vectors in, class probabilities out.

What the SavedModel does pair by pair is done here for one query and its n candidates. What depends on the product
alone (the length of its text after the map to pictures) is an input, which the product index holds: a candidate then
costs dot products, not a product of its text with a square matrix.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from modules import features
from modules.model import MODELS, SHALLOW, TEXT_TO_PICTURE, Dimensions, Hyperparameters
from modules.served import MAP_FILE, MAPPED_NORM, ONNX_FILE, PROBABILITIES

OPSET = 17


def export_onnx(model: Any, hyper: Hyperparameters, dimensions: Dimensions, folder: Path) -> None:
    """Write ``ranker.onnx``, and the map beside it where the model has one, into ``folder``.

    Inputs, float32 and as the encoder made them: ``query_vec`` [1, d]; ``product_text_vec``, ``product_image_vec``
    [n, d] (pictures that are missing: zeros); ``has_image`` [n, 1]; ``lexical_features`` [n, k];
    ``relative_features`` [n, r]; ``mapped_norm`` [n, 1]. ``cosine`` has the first four, a model that does not see the
    product ``query_vec`` alone.
    Output: ``probs`` float32 [n, 4] ([1, 4] of a model that does not see the product).
    """
    import numpy as np
    import tensorflow as tf
    import tf2onnx

    inputs = MODELS[hyper.model].inputs
    if MODELS[hyper.model].sees_product:
        score, signature = _pair_function(model, dimensions), _pair_signature(dimensions)
        np.save(folder / MAP_FILE, model.get_layer(TEXT_TO_PICTURE).get_weights()[0])
    elif features.COSINES in inputs:
        score, signature = _cosine_function(model), _pair_signature(dimensions)[:4]
    else:
        score, signature = _query_function(model), (_spec(features.QUERY_VEC, 1, dimensions.vector),)
    concrete = tf.function(score, input_signature=signature)
    tf2onnx.convert.from_function(concrete, signature, opset=OPSET, output_path=str(folder / ONNX_FILE))


def _spec(name: str, rows: int | None, columns: int) -> Any:
    import tensorflow as tf

    return tf.TensorSpec([rows, columns], tf.float32, name=name)


def _pair_signature(dimensions: Dimensions) -> tuple[Any, ...]:
    return (
        _spec(features.QUERY_VEC, 1, dimensions.vector),
        _spec(features.TEXT_VEC, None, dimensions.vector),
        _spec(features.IMAGE_VEC, None, dimensions.vector),
        _spec(features.HAS_IMAGE, None, 1),
        _spec(features.LEXICAL, None, dimensions.lexical),
        _spec(features.RELATIVE, None, dimensions.relative),
        _spec(MAPPED_NORM, None, 1),
    )


def _query_function(model: Any) -> Any:
    from modules.preprocessing import unit

    def score(query_vec: Any) -> Any:
        return {PROBABILITIES: model({features.QUERY_VEC: unit(query_vec)}, training=False)}

    return score


def _cosine_function(model: Any) -> Any:
    from modules.preprocessing import cosines_of, unit

    def score(query_vec: Any, product_text_vec: Any, product_image_vec: Any, has_image: Any) -> Any:
        image = unit(product_image_vec) * has_image
        cosines = cosines_of(unit(query_vec), unit(product_text_vec), image, has_image)
        return {PROBABILITIES: model({features.COSINES: cosines}, training=False)}

    return score


def _pair_function(model: Any, dimensions: Dimensions) -> Any:
    import keras
    import tensorflow as tf

    from modules.preprocessing import cosines_of, unit

    head = keras.Model(model.get_layer(SHALLOW).output, model.output)
    kernel = model.get_layer(TEXT_TO_PICTURE).get_weights()[0]

    def score(
        query_vec: Any,
        product_text_vec: Any,
        product_image_vec: Any,
        has_image: Any,
        lexical_features: Any,
        relative_features: Any,
        mapped_norm: Any,
    ) -> Any:
        # Made inside: a tensor from outside would become one more input of the ONNX graph.
        to_picture = tf.constant(kernel)
        query, text = unit(query_vec), unit(product_text_vec)
        image = unit(product_image_vec) * has_image
        cosines = cosines_of(query, text, image, has_image)
        mapped_query = unit(query @ to_picture)
        # (q M)(t M)' = (q M M') t': mapping the query back costs one row, mapping the texts would cost n.
        back = mapped_query @ tf.transpose(to_picture)
        with_text = tf.reduce_sum(text * back, -1, keepdims=True) / tf.maximum(mapped_norm, 1e-12)
        with_image = tf.reduce_sum(image * mapped_query, -1, keepdims=True)
        with_image = with_image * has_image + with_text * (1.0 - has_image)
        shallow = tf.concat([cosines, with_text, with_image, lexical_features, relative_features, has_image], axis=-1)
        return {PROBABILITIES: head(shallow, training=False)}

    return score
