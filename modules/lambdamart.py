"""LightGBM's LambdaMART as a Keras model. The trees become tensors, so that the model is evaluated, pushed and exported
like every other ranker, and inference needs no LightGBM."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import keras
import numpy as np

from sqidflow.ranking import features

LABEL_GAINS = [int(round(100 * gain)) for gain in features.CLASS_GAINS]
"""LightGBM needs integer gains by class id: 0, 1, 10, 100."""


def tree_tensors(dump: dict[str, Any]) -> dict[str, np.ndarray]:
    """A LightGBM model's ``dump_model()`` as arrays over all trees and their nodes, padded to the largest tree.

    Returns:
        ``feature`` int32 [trees, nodes], ``threshold`` float32, ``left`` and ``right`` int32 (a leaf points to itself),
        ``value`` float32 (of leaves), and ``depth`` int32 []: the number of steps that reaches every leaf.

    Raises:
        ValueError: a split is not a numerical ``<=``.
    """
    trees = [_flatten(info["tree_structure"]) for info in dump["tree_info"]]
    width = max(len(nodes) for nodes, _ in trees)
    shape = (len(trees), width)
    feature, left, right = (np.zeros(shape, np.int32) for _ in range(3))
    threshold, value = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    for number, (nodes, _) in enumerate(trees):
        for position, (column, cut, low, high, leaf) in enumerate(nodes):
            feature[number, position], left[number, position], right[number, position] = column, low, high
            threshold[number, position], value[number, position] = cut, leaf
    depth = np.array(max(depth for _, depth in trees), np.int32)
    return {"feature": feature, "threshold": threshold, "left": left, "right": right, "value": value, "depth": depth}


def _flatten(root: dict[str, Any]) -> tuple[list[tuple[int, float, int, int, float]], int]:
    """A tree's nodes as rows (feature, threshold, left, right, value), the root first, and its depth."""
    rows: list[tuple[int, float, int, int, float]] = []
    depth = 0

    def visit(node: dict[str, Any], level: int) -> int:
        nonlocal depth
        depth = max(depth, level)
        position = len(rows)
        rows.append((0, 0.0, position, position, float(node.get("leaf_value", 0.0))))
        if "split_feature" in node:
            if node["decision_type"] != "<=":
                raise ValueError(f"only numerical splits can become tensors, not {node['decision_type']!r}")
            low, high = visit(node["left_child"], level + 1), visit(node["right_child"], level + 1)
            # LightGBM compares float32 features in float64. The largest float32 not above the threshold gives the same
            # result for every float32 value.
            cut = np.float32(node["threshold"])
            if cut > node["threshold"]:
                cut = np.nextafter(cut, np.float32(-np.inf))
            rows[position] = (int(node["split_feature"]), float(cut), low, high, 0.0)
        return position

    visit(root, 0)
    return rows, depth


@keras.saving.register_keras_serializable(package="sqidflow")
class TreeEnsemble(keras.layers.Layer):
    """The sum of the ensemble's leaf values; float32 [n, features] to [n, 1]. Zero until ``fill`` is called."""

    def __init__(self, trees: int = 1, nodes: int = 1, depth: int = 0, **options: Any) -> None:
        super().__init__(**options, trainable=False)
        self.trees, self.nodes, self.depth = trees, nodes, depth

    @classmethod
    def sized_for(cls, ensemble: Mapping[str, np.ndarray] | None, **options: Any) -> TreeEnsemble:
        """A layer with the size of these trees."""
        if ensemble is None:
            return cls(**options)
        trees, nodes = ensemble["feature"].shape
        return cls(trees, nodes, int(ensemble["depth"]), **options)

    def fill(self, ensemble: Mapping[str, np.ndarray]) -> None:
        """Copy the trees into the layer, which must have their size."""
        for name in ("feature", "left", "right", "threshold", "value"):
            getattr(self, name).assign(ensemble[name])

    def build(self, input_shape: Any) -> None:
        shape = (self.trees, self.nodes)
        for name in ("feature", "left", "right"):
            setattr(
                self, name, self.add_weight(shape=shape, dtype="int32", initializer="zeros", trainable=False, name=name)
            )
        for name in ("threshold", "value"):
            setattr(self, name, self.add_weight(shape=shape, initializer="zeros", trainable=False, name=name))
        self.built = True

    def call(self, inputs: Any) -> Any:
        import tensorflow as tf

        rows = tf.shape(inputs)[0]
        base = tf.range(self.trees, dtype=tf.int32)[None, :] * self.nodes
        flat = {
            name: tf.reshape(getattr(self, name), [-1]) for name in ("feature", "left", "right", "threshold", "value")
        }
        node = tf.zeros((rows, self.trees), tf.int32)
        for _ in range(self.depth):
            at = base + node
            column = tf.gather(flat["feature"], at)
            goes_left = tf.gather(inputs, column, batch_dims=1) <= tf.gather(flat["threshold"], at)
            node = tf.where(goes_left, tf.gather(flat["left"], at), tf.gather(flat["right"], at))
        return tf.reduce_sum(tf.gather(flat["value"], base + node), axis=1, keepdims=True)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "trees": self.trees, "nodes": self.nodes, "depth": self.depth}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> TreeEnsemble:
        return cls(**{name: value for name, value in config.items() if name != "trainable"})


@keras.saving.register_keras_serializable(package="sqidflow")
class OrdinalProbabilities(keras.layers.Layer):
    """Class probabilities from one score: P(class >= c) = sigmoid(slope * score - cut_c) (proportional odds,
    McCullagh 1980). The expected gain increases with the score, so calibration never changes a ranking."""

    def __init__(self, classes: int, **options: Any) -> None:
        super().__init__(**options)
        self.classes = classes

    def build(self, input_shape: Any) -> None:
        self.slope = self.add_weight(shape=(), initializer="ones", name="slope")
        self.cuts = self.add_weight(shape=(self.classes - 1,), initializer="zeros", name="cuts")
        # Equal cuts would give the middle classes a probability of 0.
        self.cuts.assign(np.linspace(-1, 1, self.classes - 1))
        self.built = True

    def call(self, score: Any) -> Any:
        import tensorflow as tf

        above = tf.sigmoid(self.slope * score - self.cuts[None, :])
        ones = tf.ones_like(score)
        return tf.concat([ones, above], axis=1) - tf.concat([above, tf.zeros_like(score)], axis=1)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "classes": self.classes}


@keras.saving.register_keras_serializable(package="sqidflow")
class Temperature(keras.layers.Layer):
    """Class probabilities to the power of ``sharpness``, scaled to sum to 1.

    This is temperature scaling (Guo et al. 2017, arXiv:1706.04599) of the logarithm of a mean of probabilities; such a
    mean is less confident than its members.
    """

    def build(self, input_shape: Any) -> None:
        self.sharpness = self.add_weight(shape=(), initializer="ones", name="sharpness")
        self.built = True

    def call(self, probabilities: Any) -> Any:
        import tensorflow as tf

        return tf.nn.softmax(self.sharpness * tf.math.log(tf.maximum(probabilities, 1e-7)))

    def compute_output_shape(self, input_shape: Any) -> Any:
        return input_shape


def fit_sharpness(probabilities: np.ndarray, rating: np.ndarray) -> float:
    """The power in 0.2..5 with the highest likelihood of ``rating`` (int [n]) under ``probabilities`` [n, classes]."""
    from scipy.optimize import minimize_scalar

    logs = np.log(np.maximum(probabilities.astype(np.float64), 1e-7))

    def loss(power: float) -> float:
        scaled = power * logs
        return float(np.mean(np.log(np.exp(scaled).sum(axis=1)) - scaled[np.arange(len(rating)), rating]))

    return float(minimize_scalar(loss, bounds=(0.2, 5.0), method="bounded").x)


def fit_ordinal(score: np.ndarray, rating: np.ndarray, classes: int) -> tuple[float, np.ndarray]:
    """Slope and increasing cuts [classes - 1] with the highest likelihood of ``rating`` (int [n]) given ``score`` [n].

    A class without a judgement keeps a small probability: cuts are at least 0.001 apart, and half a judgement is added
    to each class.
    """
    from scipy.optimize import minimize

    rating = np.concatenate([rating, np.arange(classes)])
    score = np.concatenate([score, np.full(classes, score.mean())])
    weight = np.concatenate([np.ones(len(score) - classes), np.full(classes, 0.5)])
    spread = max(float(score.std()), 1e-6)

    def unpack(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        return np.exp(parameters[0]), parameters[1] + np.concatenate([[0.0], np.cumsum(np.exp(parameters[2:]) + 1e-3)])

    def loss(parameters: np.ndarray) -> float:
        slope, cuts = unpack(parameters)
        above = 1 / (1 + np.exp(-np.clip(slope * score[:, None] - cuts[None, :], -50, 50)))
        bounds = np.hstack([np.ones((len(score), 1)), above, np.zeros((len(score), 1))])
        probability = bounds[np.arange(len(score)), rating] - bounds[np.arange(len(score)), rating + 1]
        return float(-(weight * np.log(np.maximum(probability, 1e-12))).sum() / weight.sum())

    start = np.concatenate([[-np.log(spread)], [-1.0], np.full(classes - 2, np.log(0.5))])
    slope, cuts = unpack(minimize(loss, start, method="L-BFGS-B").x)
    return float(slope), cuts.astype(np.float32)


class Rounds(Protocol):
    """Callback of the training: called with the round's number and a function that scores float32 [m, features];
    returns False to stop. ``best`` is the round whose trees are kept."""

    best: int

    def __call__(self, number: int, score: Callable[[np.ndarray], np.ndarray]) -> bool: ...


def train(
    shallow: np.ndarray,
    rating: np.ndarray,
    query_id: np.ndarray,
    hyper: Any,
    validate: Rounds,
) -> dict[str, np.ndarray]:
    """Add trees until ``validate`` returns False, and keep the rounds up to its best.

    Args:
        shallow: float32 [n, features]. rating, query_id: int [n], in any order.
        hyper: ``trees`` (maximum), ``leaves`` per tree, ``learning_rate``, ``seed``.
        validate: called after each round; see ``Rounds``.

    Returns:
        The trees as tensors, see ``tree_tensors``.
    """
    import lightgbm

    order = np.argsort(query_id, kind="stable")
    sizes = np.unique(query_id, return_counts=True)[1]
    data = lightgbm.Dataset(shallow[order], rating[order], group=sizes, params={"verbose": -1})
    booster = lightgbm.Booster(
        {
            "objective": "lambdarank",
            "label_gain": LABEL_GAINS,
            "lambdarank_truncation_level": int(sizes.max()),
            "learning_rate": hyper.learning_rate,
            "num_leaves": hyper.leaves,
            "min_data_in_leaf": 20,
            "feature_fraction": 0.7,
            "bagging_fraction": 0.8,
            "bagging_freq": 1,
            "seed": hyper.seed,
            "deterministic": True,
            "force_row_wise": True,
            "verbose": -1,
        },
        data,
    )
    for number in range(1, hyper.trees + 1):
        booster.update()
        if not validate(number, lambda rows: np.asarray(booster.predict(rows, raw_score=True))):
            break
    return tree_tensors(booster.dump_model(num_iteration=validate.best))
