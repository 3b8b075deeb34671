"""ONNX export of the ranker for a service without TensorFlow: raw vectors in, class probabilities out.

The graph scores one query and its n candidates at once, where the SavedModel scores pairs. The norm of a product's
mapped text depends only on the product, so it is an input and the product index stores it: a candidate then costs dot
products instead of a multiplication with a square matrix.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from modules.model import MODELS, SHALLOW, TEXT_TO_PICTURE, TREES, Dimensions, Hyperparameters
from sqidflow.core.model_files import MAP_FILE, MAPPED_NORM, ONNX_FILE, PROBABILITIES
from sqidflow.ranking import features

OPSET = 17
ML_DOMAIN = "ai.onnx.ml"
"""ONNX domain of tree operators; tf2onnx's graphs import it."""


def export_onnx(model: Any, hyper: Hyperparameters, dimensions: Dimensions, folder: Path) -> None:
    """Write ``ranker.onnx`` into ``folder``, and the text-to-picture map if the model has one.

    Inputs, float32, vectors not normalised: ``query_vec`` [1, d]; ``product_text_vec``, ``product_image_vec`` [n, d]
    (zeros for a missing picture); ``has_image`` [n, 1]; ``lexical_features`` [n, k]; ``relative_features`` [n, r];
    ``retrieval_features`` [n, 6]; ``mapped_norm`` [n, 1]. The model ``cosine`` has the first four; a model that does
    not read the product has only ``query_vec``.
    Output: ``probs`` float32 [n, 4] ([1, 4] for a model that does not read the product).
    """
    import numpy as np
    import onnx

    inputs = MODELS[hyper.model].inputs
    if MODELS[hyper.model].sees_product:
        score, signature = _pair_function(model), _pair_signature(dimensions)
        np.save(folder / MAP_FILE, model.get_layer(TEXT_TO_PICTURE).get_weights()[0])
    elif features.COSINES in inputs:
        score, signature = _cosine_function(model), _pair_signature(dimensions)[:4]
    else:
        score, signature = _query_function(model), (_spec(features.QUERY_VEC, 1, dimensions.vector),)
    graph = _converted(score, signature)
    if MODELS[hyper.model].trees:
        graph = _with_trees(graph, model)
    elif MODELS[hyper.model].sees_product:
        graph = _joined(graph, _converted(_head_function(model, ()), _head_signature(model, ())))
    onnx.save(graph, folder / ONNX_FILE)


def _converted(function: Any, signature: tuple[Any, ...]) -> Any:
    import tensorflow as tf
    import tf2onnx

    graph, _ = tf2onnx.convert.from_function(tf.function(function, input_signature=signature), signature, opset=OPSET)
    return graph


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
        _spec(features.RETRIEVAL, None, dimensions.retrieval),
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


def _pair_function(model: Any) -> Any:
    """Computes ``SHALLOW``, the concatenated features of a pair, from raw inputs, as ``modules.model`` does."""
    import tensorflow as tf

    from modules.preprocessing import cosines_of, unit

    kernel = model.get_layer(TEXT_TO_PICTURE).get_weights()[0]

    def score(
        query_vec: Any,
        product_text_vec: Any,
        product_image_vec: Any,
        has_image: Any,
        lexical_features: Any,
        relative_features: Any,
        retrieval_features: Any,
        mapped_norm: Any,
    ) -> Any:
        # Created inside, because a tensor from outside would become another input of the ONNX graph.
        to_picture = tf.constant(kernel)
        query, text = unit(query_vec), unit(product_text_vec)
        image = unit(product_image_vec) * has_image
        cosines = cosines_of(query, text, image, has_image)
        mapped_query = unit(query @ to_picture)
        # (q M)(t M)' = (q M M') t': mapping the query back is one row, mapping the texts would be n rows.
        back = mapped_query @ tf.transpose(to_picture)
        with_text = tf.reduce_sum(text * back, -1, keepdims=True) / tf.maximum(mapped_norm, 1e-12)
        with_image = tf.reduce_sum(image * mapped_query, -1, keepdims=True)
        with_image = with_image * has_image + with_text * (1.0 - has_image)
        read = [cosines, with_text, with_image, lexical_features, relative_features, retrieval_features, has_image]
        return {SHALLOW: tf.concat(read, axis=-1)}

    return score


def _head_function(model: Any, scored: tuple[str, ...]) -> Any:
    """From ``SHALLOW``, and the outputs of the layers ``scored``, to probabilities."""
    import keras

    head = keras.Model([model.get_layer(name).output for name in (SHALLOW, *scored)], model.output)

    def score(*given: Any) -> Any:
        return {PROBABILITIES: head(list(given), training=False)}

    return score


def _head_signature(model: Any, scored: tuple[str, ...]) -> tuple[Any, ...]:
    return tuple(_spec(f"{name}_read", None, model.get_layer(name).output.shape[-1]) for name in (SHALLOW, *scored))


def _with_trees(pair: Any, model: Any) -> Any:
    """Insert the trees between the features and the probabilities, as ONNX's own tree operator.

    The Keras layer gathers the nodes step by step; in onnxruntime that takes several times as long as everything else.
    """
    import onnx

    pair.graph.node.append(_tree_node(model.get_layer(TREES)))
    pair.graph.output.append(onnx.helper.make_tensor_value_info(TREES, onnx.TensorProto.FLOAT, [None, 1]))
    return _joined(pair, _converted(_head_function(model, (TREES,)), _head_signature(model, (TREES,))))


def _tree_node(layer: Any) -> Any:
    """``modules.lambdamart.TreeEnsemble`` as a TreeEnsembleRegressor, without padding nodes."""
    import numpy as np
    import onnx

    names = ("feature", "threshold", "left", "right", "value")
    feature, threshold, left, right, value = (np.asarray(getattr(layer, name)) for name in names)
    nodes: dict[str, list] = {name: [] for name in ("treeids", "nodeids", "featureids", "values", "modes")}
    children: dict[str, list] = {"truenodeids": [], "falsenodeids": []}
    leaves: dict[str, list] = {name: [] for name in ("treeids", "nodeids", "ids", "weights")}
    for tree in range(len(feature)):
        waiting = [0]
        while waiting:
            node = waiting.pop()
            leaf = left[tree, node] == node
            nodes["treeids"].append(tree)
            nodes["nodeids"].append(node)
            nodes["featureids"].append(int(feature[tree, node]))
            nodes["values"].append(float(threshold[tree, node]))
            nodes["modes"].append("LEAF" if leaf else "BRANCH_LEQ")
            children["truenodeids"].append(0 if leaf else int(left[tree, node]))
            children["falsenodeids"].append(0 if leaf else int(right[tree, node]))
            if leaf:
                leaves["treeids"].append(tree)
                leaves["nodeids"].append(node)
                leaves["ids"].append(0)
                leaves["weights"].append(float(value[tree, node]))
            else:
                waiting += [int(right[tree, node]), int(left[tree, node])]
    attributes: dict[str, Any] = {f"nodes_{name}": values for name, values in {**nodes, **children}.items()}
    attributes |= {f"target_{name}": values for name, values in leaves.items()}
    return onnx.helper.make_node(
        "TreeEnsembleRegressor", [SHALLOW], [TREES], domain=ML_DOMAIN, n_targets=1, aggregate_function="SUM",
        post_transform="NONE", **attributes,
    )  # fmt: skip


def _joined(pair: Any, head: Any) -> Any:
    """Merge two graphs: each output of ``pair`` becomes the input of ``head`` that is named after it."""
    import onnx

    head = onnx.compose.add_prefix(head, "head/", rename_inputs=False, rename_outputs=False)
    wires = [(output.name, f"{output.name}_read") for output in pair.graph.output]
    joined = onnx.compose.merge_models(pair, head, io_map=wires)
    onnx.checker.check_model(joined)
    return joined
