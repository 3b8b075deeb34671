"""The rankers, by name. Each maps the transformed features of n pairs to class probabilities [n, 4].

The ranking score is the expected gain: the probabilities times the gains of the classes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from modules.ladder import NETWORKS, rungs
from sqidflow.ranking import features
from sqidflow.ranking.model_names import DEFAULT_MODEL


@dataclass(frozen=True)
class Hyperparameters:
    """Hyper-parameters of a training.

    ``dropout`` is a rate in 0..1. ``l2`` is the L2 weight of the networks, ``ridge`` that of the text-to-picture map,
    ``list_weight`` the weight of the listwise loss. ``heads`` is the number of networks whose probabilities are
    averaged, ``tree_share`` (0..1) the weight of the trees in the ensemble. LambdaMART reads ``trees``, ``leaves`` (per
    tree) and ``learning_rate``.
    """

    model: str = DEFAULT_MODEL
    batch_size: int = 128
    epochs: int = 40
    patience: int = 5
    learning_rate: float = 1e-3
    hidden: tuple[int, ...] = (64, 32)
    dropout: float = 0.3
    l2: float = 1e-5
    ridge: float = 10.0
    list_weight: float = 0.0
    heads: int = 1
    tree_share: float = 0.0
    trees: int = 150
    leaves: int = 15
    seed: int = 17

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Dimensions:
    """Lengths of the inputs: ``vector`` comes from the data, the others from the number of named features."""

    vector: int
    lexical: int = len(features.LEXICAL_NAMES)
    relative: int = len(features.RELATIVE_NAMES)
    retrieval: int = len(features.RETRIEVAL_NAMES)


@dataclass(frozen=True)
class ModelSpec:
    """A ranker: build function, inputs, default hyper-parameters, and whether it trains networks and trees."""

    build: Callable[..., Any]
    inputs: tuple[str, ...]
    defaults: Hyperparameters
    summary: str
    networks: bool = True
    trees: bool = False
    ladder: tuple[str, ...] = ()
    """The rungs of ``modules.ladder`` among which validation chooses; empty for a ranker that is no part of it."""

    @property
    def learns(self) -> bool:
        """Whether anything is trained. A model that is not trained is a baseline and gets no row of its own."""
        return self.networks or self.trees

    @property
    def sees_product(self) -> bool:
        """Whether it reads the product features, see ``build_shallow``."""
        return features.TEXT_VEC in self.inputs


def _input(name: str, length: int) -> Any:
    import keras

    return keras.Input((length,), name=name)


def _classifier(inputs: list[Any], hidden: Any, name: str) -> Any:
    import keras

    probabilities = keras.layers.Dense(len(features.CLASSES), activation="softmax", name="probs")(hidden)
    return keras.Model({tensor.name: tensor for tensor in inputs}, probabilities, name=name)


def build_query_mlp(dimensions: Dimensions, hyper: Hyperparameters) -> Any:
    """The original network: it reads only the query, so all products of a query have the same score.

    768 -> 256 ReLU -> dropout 0.3 -> 128 ReLU -> 4 softmax.
    """
    import keras

    query = _input(features.QUERY_VEC, dimensions.vector)
    hidden = keras.layers.Dense(256, activation="relu")(query)
    hidden = keras.layers.Dropout(hyper.dropout)(hidden)
    hidden = keras.layers.Dense(128, activation="relu")(hidden)
    return _classifier([query], hidden, "query_mlp")


class ProductMoments:
    """Sufficient statistics of the text-to-picture map, added up batch by batch in memory of [d, d].

    Each product counts once, however many pairs it has.
    """

    def __init__(self, length: int) -> None:
        self._seen: set[Any] = set()
        self._text_text = np.zeros((length, length))
        self._text_image = np.zeros((length, length))

    def add(self, text: np.ndarray, image: np.ndarray, has_image: np.ndarray, product_id: np.ndarray) -> None:
        """Add a batch: unit vectors float32 [n, d], ``has_image`` [n] or [n, 1], ``product_id`` [n]."""
        new = []
        for row, (name, pictured) in enumerate(zip(product_id.tolist(), np.asarray(has_image).reshape(-1).tolist())):
            if pictured > 0 and name not in self._seen:
                self._seen.add(name)
                new.append(row)
        texts, images = text[new].astype(np.float64), image[new].astype(np.float64)
        self._text_text += texts.T @ texts
        self._text_image += texts.T @ images

    def solve(self, ridge: float) -> np.ndarray:
        """(T'T + ridge I)^-1 T'P, float32 [d, d]; the identity if no product has a picture."""
        length = len(self._text_text)
        if not self._seen:
            return np.eye(length, dtype=np.float32)
        return np.linalg.solve(self._text_text + ridge * np.eye(length), self._text_image).astype(np.float32)


def text_to_picture_map(
    text: np.ndarray, image: np.ndarray, has_image: np.ndarray, product_id: np.ndarray, ridge: float
) -> np.ndarray:
    """The linear map from a product's text vector to its picture vector, learned from products without judgements.

    The text and the picture of one product lie in different regions of the embedding space. The map moves a query into
    the region of the pictures before it is compared with them. Ridge regression over the distinct products with a
    picture.

    Args:
        text, image: unit vectors float32 [n, d]. has_image: [n] or [n, 1]. product_id: [n], repeats allowed.

    Returns:
        float32 [d, d]; the identity if no product has a picture.
    """
    moments = ProductMoments(text.shape[1])
    moments.add(text, image, has_image, np.asarray(product_id))
    return moments.solve(ridge)


TEXT_TO_PICTURE = "text_to_picture"
SHALLOW = "shallow"
TREES = "trees"
ORDINAL = "ordinal"
TEMPERATURE = "temperature"
HEAD = "head"
LINEAR = "linear"
GATE = "gate"
MEMBERS = "members"


SHALLOW_NAMES = (
    *features.COSINE_NAMES, "mapped_query_text", "mapped_query_image", *features.LEXICAL_NAMES,
    *features.RELATIVE_NAMES, *features.RETRIEVAL_NAMES, features.HAS_IMAGE,
)  # fmt: skip
"""The columns of the concatenated input features of a pair, in order."""


def _shallow(dimensions: Dimensions) -> tuple[list[Any], Any]:
    """The inputs of a ranker that reads the product, and the concatenated features of a pair, float32 [n, features].

    The features are the cosines before and after the text-to-picture map, the lexical and relative features, and
    whether the product has a picture. Element-wise products of the vectors were tried and left out, because they
    overfitted on thousands of judgements (docs/ranking.md).
    """
    import keras

    layers = keras.layers
    query = _input(features.QUERY_VEC, dimensions.vector)
    text = _input(features.TEXT_VEC, dimensions.vector)
    image = _input(features.IMAGE_VEC, dimensions.vector)
    has_image = _input(features.HAS_IMAGE, 1)
    cosines = _input(features.COSINES, len(features.COSINE_NAMES))
    lexical = _input(features.LEXICAL, dimensions.lexical)
    relative = _input(features.RELATIVE, dimensions.relative)
    retrieval = _input(features.RETRIEVAL, dimensions.retrieval)

    to_picture = layers.Dense(
        dimensions.vector, use_bias=False, trainable=False, kernel_initializer="identity", name=TEXT_TO_PICTURE
    )
    unit = layers.UnitNormalization()
    mapped_query, mapped_text = unit(to_picture(query)), unit(to_picture(text))
    with_text = layers.Dot(1, name="mapped_query_text")([mapped_query, mapped_text])
    with_image = layers.Dot(1, name="mapped_query_image")([mapped_query, image])
    # Without a picture, the mapped text replaces it.
    with_image = with_image * has_image + with_text * (1.0 - has_image)
    shallow = layers.Concatenate(name=SHALLOW)(
        [cosines, with_text, with_image, lexical, relative, retrieval, has_image]
    )
    return [query, text, image, has_image, cosines, lexical, relative, retrieval], shallow


def _head(length: int, hyper: Hyperparameters) -> Any:
    """The layers that learn from judgements, float32 [n, length] to class probabilities: the mean of ``heads``
    networks."""
    import keras

    layers = keras.layers
    read = _input(SHALLOW, length)
    normal = layers.BatchNormalization()(read)
    members = []
    for _ in range(hyper.heads):
        hidden = normal
        for units in hyper.hidden:
            penalty = keras.regularizers.L2(hyper.l2 / hyper.heads)  # because the loss is a mean over the heads
            hidden = layers.Dense(units, activation="relu", kernel_regularizer=penalty)(hidden)
            hidden = layers.Dropout(hyper.dropout)(hidden)
        if hyper.heads == 1:
            return _classifier([read], hidden, HEAD)
        member = layers.Dense(len(features.CLASSES), activation="softmax")(hidden)
        members.append(layers.Reshape((1, len(features.CLASSES)))(member))
    side_by_side = layers.Concatenate(axis=1, name=MEMBERS)(members)
    mean = layers.GlobalAveragePooling1D(name="probs")(side_by_side)
    return keras.Model({SHALLOW: read}, mean, name=HEAD)


def _mlp(dimensions: Dimensions, hyper: Hyperparameters, name: str) -> Any:
    import keras

    inputs, shallow = _shallow(dimensions)
    # The head is a separate model: the layers before it do not learn from judgements, so training computes them once.
    head = _head(shallow.shape[-1], hyper)
    return keras.Model({tensor.name: tensor for tensor in inputs}, head({SHALLOW: shallow}), name=name)


def build_pointwise(dimensions: Dimensions, hyper: Hyperparameters) -> Any:
    """Query against product, one pair at a time."""
    return _mlp(dimensions, hyper, "pointwise")


def build_listwise(dimensions: Dimensions, hyper: Hyperparameters) -> Any:
    """The pointwise network, trained on whole lists: see ``list_loss``."""
    return _mlp(dimensions, hyper, "listwise")


def build_lambdamart(dimensions: Dimensions, hyper: Hyperparameters, ensemble: Mapping[str, Any] | None = None) -> Any:
    """LightGBM's LambdaMART on the features that the networks read.

    ``ensemble``: the trees as returned by ``modules.lambdamart.tree_tensors``; None for a single empty tree.
    """
    import keras

    from modules.lambdamart import OrdinalProbabilities, TreeEnsemble

    inputs, shallow = _shallow(dimensions)
    trees = TreeEnsemble.sized_for(ensemble, name=TREES)
    probabilities = OrdinalProbabilities(len(features.CLASSES), name=ORDINAL)(trees(shallow))
    return keras.Model({tensor.name: tensor for tensor in inputs}, probabilities, name="lambdamart")


def build_ladder(dimensions: Dimensions, hyper: Hyperparameters, ensemble: Mapping[str, Any] | None = None) -> Any:
    """A linear score, trees added to it, and a head that knows Complements apart: see ``modules.ladder``.

    ``ensemble``: as for ``build_lambdamart``.
    """
    import keras

    from modules.lambdamart import OrdinalProbabilities, TreeEnsemble

    layers = keras.layers
    inputs, shallow = _shallow(dimensions)
    linear = layers.Dense(1, kernel_initializer="zeros", trainable=False, name=LINEAR)(shallow)
    score = linear + TreeEnsemble.sized_for(ensemble, name=TREES)(shallow)
    gate = layers.Dense(1, activation="sigmoid", kernel_initializer="zeros", trainable=False, name=GATE)
    complement = gate(layers.Concatenate()([shallow, score]))
    others = OrdinalProbabilities(len(features.CLASSES) - 1, name=ORDINAL)(score) * (1.0 - complement)
    probabilities = layers.Concatenate(name="probs")([others[:, :1], complement, others[:, 1:]])
    return keras.Model({tensor.name: tensor for tensor in inputs}, probabilities, name="ladder")


def build_ensemble(dimensions: Dimensions, hyper: Hyperparameters, ensemble: Mapping[str, Any] | None = None) -> Any:
    """Networks and LambdaMART's trees: the mean of their class probabilities, with ``tree_share`` as the weight of the
    trees, and temperature scaling fitted on the validation queries.

    ``ensemble``: as for ``build_lambdamart``.
    """
    import keras

    from modules.lambdamart import OrdinalProbabilities, Temperature, TreeEnsemble

    inputs, shallow = _shallow(dimensions)
    networks = _head(shallow.shape[-1], hyper)({SHALLOW: shallow})
    trees = OrdinalProbabilities(len(features.CLASSES), name=ORDINAL)(
        TreeEnsemble.sized_for(ensemble, name=TREES)(shallow)
    )
    mixed = networks * (1.0 - hyper.tree_share) + trees * hyper.tree_share
    probabilities = Temperature(name=TEMPERATURE)(mixed)
    return keras.Model({tensor.name: tensor for tensor in inputs}, probabilities, name="ensemble")


def build_cosine(dimensions: Dimensions, hyper: Hyperparameters) -> Any:
    """Zero-shot, without training: the blended cosine c gives P(Exact) = (1 + c) / 2 and P(Irrelevant) = (1 - c) / 2.

    The expected gain orders products as the cosine does. The probabilities are not calibrated.
    """
    import keras

    inputs, shallow = _shallow(dimensions)
    # A Dense layer with fixed weights selects the blend, because its export is standard.
    kernel, bias = np.zeros((shallow.shape[-1], len(features.CLASSES))), np.zeros(len(features.CLASSES))
    at = SHALLOW_NAMES.index("cosine")
    kernel[at, features.CLASS_IDS["E"]], kernel[at, features.CLASS_IDS["I"]] = 0.5, -0.5
    bias[[features.CLASS_IDS["E"], features.CLASS_IDS["I"]]] = 0.5
    pick = keras.layers.Dense(len(features.CLASSES), trainable=False, name="probs")
    model = keras.Model({tensor.name: tensor for tensor in inputs}, pick(shallow), name="cosine")
    pick.set_weights([kernel, bias])
    return model


def build_shallow(dimensions: Dimensions) -> Any:
    """The concatenated features of a pair as a separate model."""
    import keras

    inputs, shallow = _shallow(dimensions)
    return keras.Model({tensor.name: tensor for tensor in inputs}, shallow, name=SHALLOW)


def list_loss(weight: float) -> Any:
    """Cross-entropy of the classes, plus ``weight`` times the listwise softmax cross-entropy of the expected gain.

    The listwise part (ListNet's top-one form, Cao et al. 2007) compares, within a query, the softmax of the scores with
    the gains divided by their sum. The score is the log-odds of the expected gain, so the reported probabilities are
    also the ones that rank. A list without a gain contributes only to the cross-entropy of the classes.

    ``y_true`` is int [n, 2]: class id and list number, ascending from 0 within the batch.
    """
    import tensorflow as tf

    gains = tf.constant(features.CLASS_GAINS, tf.float32)

    def loss(y_true: Any, probabilities: Any) -> Any:
        rating, group = tf.cast(y_true[:, 0], tf.int32), tf.cast(y_true[:, 1], tf.int32)
        classes = tf.reduce_mean(tf.keras.losses.sparse_categorical_crossentropy(rating, probabilities))
        expected = tf.clip_by_value(tf.linalg.matvec(probabilities, gains), 1e-6, 1.0 - 1e-6)
        score = tf.math.log(expected) - tf.math.log1p(-expected)
        score -= tf.gather(tf.math.segment_max(score, group), group)
        share = score - tf.gather(tf.math.log(tf.math.segment_sum(tf.exp(score), group)), group)
        gain = tf.gather(gains, rating)
        total = tf.math.segment_sum(gain, group)
        lists = -tf.math.divide_no_nan(tf.math.segment_sum(gain * share, group), total)
        informative = tf.maximum(tf.reduce_sum(tf.cast(total > 0, tf.float32)), 1.0)
        return classes + weight * tf.reduce_sum(lists) / informative

    return loss


def learn_from_products(model: Any, batches: Iterable[Mapping[str, np.ndarray]], hyper: Hyperparameters) -> None:
    """Fit the text-to-picture map of a model on the products, without judgements; does nothing for a model without it.

    ``batches``: transformed features by name, including ``product_id``.
    """
    if TEXT_TO_PICTURE not in {layer.name for layer in model.layers}:
        return
    layer = model.get_layer(TEXT_TO_PICTURE)
    moments = ProductMoments(layer.units)
    for batch in batches:
        moments.add(
            batch[features.TEXT_VEC], batch[features.IMAGE_VEC], batch[features.HAS_IMAGE], batch[features.PRODUCT_ID]
        )
    layer.set_weights([moments.solve(hyper.ridge)])


_PAIR_INPUTS = (
    *features.VECTORS, features.HAS_IMAGE, features.COSINES, features.LEXICAL, features.RELATIVE, features.RETRIEVAL,
)  # fmt: skip

RUNGS = rungs(SHALLOW_NAMES)

MODELS: dict[str, ModelSpec] = {
    "ladder": ModelSpec(
        build_ladder,
        _PAIR_INPUTS,
        Hyperparameters(model="ladder"),
        "from the fusion of retrieval to trees, as much as the judgements carry, chosen on whole-catalogue search",
        networks=False,
        trees=True,
        ladder=(*(rung.name for rung in RUNGS), NETWORKS.name),
    ),
    "linear": ModelSpec(
        build_ladder,
        _PAIR_INPUTS,
        Hyperparameters(model="linear"),
        "the fusion of retrieval and twelve columns, ordinal, drawn to the fusion",
        networks=False,
        trees=True,
        ladder=(RUNGS[1].name,),
    ),
    "ensemble": ModelSpec(
        build_ensemble,
        _PAIR_INPUTS,
        Hyperparameters(model="ensemble", heads=5, hidden=(256, 64), learning_rate=2e-3, dropout=0.3, tree_share=0.5),
        "several networks and LambdaMART's trees on the same features, their probabilities averaged",
        trees=True,
    ),
    "pointwise": ModelSpec(
        build_pointwise,
        _PAIR_INPUTS,
        Hyperparameters(model="pointwise"),
        "query against product: cosines, also after the text-to-picture map, and lexical features",
    ),
    "listwise": ModelSpec(
        build_listwise,
        _PAIR_INPUTS,
        Hyperparameters(model="listwise", list_weight=0.3),
        "the same network, trained on whole lists by their gains",
    ),
    "lambdamart": ModelSpec(
        build_lambdamart,
        _PAIR_INPUTS,
        Hyperparameters(model="lambdamart", learning_rate=0.05),
        "LightGBM's LambdaMART on the same features",
        networks=False,
        trees=True,
    ),
    "cosine": ModelSpec(
        build_cosine,
        _PAIR_INPUTS,
        Hyperparameters(model="cosine", epochs=1),
        "zero-shot: the blended cosine, nothing is trained",
        networks=False,
    ),
    "query_mlp": ModelSpec(
        build_query_mlp,
        (features.QUERY_VEC,),
        Hyperparameters(model="query_mlp", batch_size=32, hidden=(256, 128), l2=0.0),
        "the original network, which reads only the query",
    ),
}


def hyperparameters(name: str, overrides: dict[str, Any] | None = None) -> Hyperparameters:
    """The model's default hyper-parameters with ``overrides`` (None values are ignored).

    Raises:
        ValueError: an unknown model or hyper-parameter; names the known ones.
    """
    if name not in MODELS:
        raise ValueError(f"no model {name!r}; choose one of {', '.join(MODELS)}")
    changes = {key: value for key, value in (overrides or {}).items() if value is not None}
    unknown = sorted(set(changes) - set(Hyperparameters.__dataclass_fields__))
    if unknown:
        known = ", ".join(Hyperparameters.__dataclass_fields__)
        raise ValueError(f"no hyper-parameter {unknown[0]!r}; choose one of {known}")
    if "hidden" in changes:
        changes["hidden"] = tuple(changes["hidden"])
    return replace(MODELS[name].defaults, **changes)


def compile_for(model: Any, hyper: Hyperparameters) -> Any:
    """The compiled model to fit: the model itself, or the stacked outputs of its heads, which share its weights.

    Adam; cross-entropy over I 0, C 1, S 2, E 3, plus the listwise loss if it has weight. Each head has its own loss,
    because a loss of their mean would let one head rely on another.
    """
    import keras

    adam = keras.optimizers.Adam(hyper.learning_rate)
    loss = list_loss(hyper.list_weight) if hyper.list_weight else keras.losses.SparseCategoricalCrossentropy()
    if hyper.heads > 1:
        heads = keras.Model(model.input, model.get_layer(MEMBERS).output)
        heads.compile(optimizer=adam, loss=lambda y, p: sum(loss(y, p[:, i]) for i in range(hyper.heads)) / hyper.heads)
        return heads
    accuracy = [] if hyper.list_weight else [keras.metrics.SparseCategoricalAccuracy(name="accuracy")]
    model.compile(optimizer=adam, loss=loss, metrics=accuracy)
    return model
