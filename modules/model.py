"""The rankers, chosen by name. Each maps the transformed features of n pairs to class probabilities [n, 4].

The ranking score is the expected gain: probabilities times the classes' gains.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

from modules import features

DEFAULT_MODEL = "pointwise"


@dataclass(frozen=True)
class Hyperparameters:
    """What a training may vary. ``dropout`` is a share in 0..1, ``l2`` weighs squared weights."""

    model: str = DEFAULT_MODEL
    batch_size: int = 128
    epochs: int = 40
    patience: int = 5
    learning_rate: float = 1e-3
    hidden: tuple[int, ...] = (64, 32)
    dropout: float = 0.3
    l2: float = 1e-5
    seed: int = 17

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Dimensions:
    """Lengths of the inputs: ``vector`` as read from the data, ``lexical`` as many as lexical features."""

    vector: int
    lexical: int = len(features.LEXICAL_NAMES)


@dataclass(frozen=True)
class ModelSpec:
    """A ranker: how it is built, the inputs it reads, and the hyper-parameters it was made for."""

    build: Callable[[Dimensions, Hyperparameters], Any]
    inputs: tuple[str, ...]
    defaults: Hyperparameters
    summary: str


def _input(name: str, length: int) -> Any:
    import keras

    return keras.Input((length,), name=name)


def _classifier(inputs: list[Any], hidden: Any, name: str) -> Any:
    import keras

    probabilities = keras.layers.Dense(len(features.CLASSES), activation="softmax", name="probs")(hidden)
    return keras.Model({tensor.name: tensor for tensor in inputs}, probabilities, name=name)


def build_query_mlp(dimensions: Dimensions, hyper: Hyperparameters) -> Any:
    """The original network: it sees the query alone, so all products of a query score the same.

    768 -> 256 ReLU -> dropout 0.3 -> 128 ReLU -> 4 softmax.
    """
    import keras

    query = _input(features.QUERY_VEC, dimensions.vector)
    hidden = keras.layers.Dense(256, activation="relu")(query)
    hidden = keras.layers.Dropout(hyper.dropout)(hidden)
    hidden = keras.layers.Dense(128, activation="relu")(hidden)
    return _classifier([query], hidden, "query_mlp")


def build_pointwise(dimensions: Dimensions, hyper: Hyperparameters) -> Any:
    """Query against product: element-wise products of the unit vectors, cosines, and what the words say.

    The products let the network weigh each direction of the space on its own where the cosine weighs all alike;
    they pass a narrow layer, as there are far more of them than of the features that carry most of the signal.
    """
    import keras

    layers = keras.layers
    query = _input(features.QUERY_VEC, dimensions.vector)
    text = _input(features.TEXT_VEC, dimensions.vector)
    image = _input(features.IMAGE_VEC, dimensions.vector)
    has_image = _input(features.HAS_IMAGE, 1)
    cosines = _input(features.COSINES, len(features.COSINE_NAMES))
    lexical = _input(features.LEXICAL, dimensions.lexical)
    decay = keras.regularizers.L2(hyper.l2)

    def interaction(product: Any, name: str) -> Any:
        # A unit vector's entries are about 1/sqrt(d); times d their products are about 1.
        scaled = layers.Rescaling(float(dimensions.vector), name=f"{name}_scale")(layers.Multiply()([query, product]))
        scaled = layers.Dropout(hyper.dropout)(scaled)
        return layers.Dense(hyper.hidden[-1], activation="relu", kernel_regularizer=decay, name=name)(scaled)

    shallow = layers.BatchNormalization(name="shallow_norm")(layers.Concatenate()([cosines, lexical, has_image]))
    hidden = layers.Concatenate()([shallow, interaction(text, "query_text"), interaction(image, "query_image")])
    for units in hyper.hidden:
        hidden = layers.Dense(units, activation="relu", kernel_regularizer=decay)(hidden)
        hidden = layers.Dropout(hyper.dropout)(hidden)
    return _classifier([query, text, image, has_image, cosines, lexical], hidden, "pointwise")


MODELS: dict[str, ModelSpec] = {
    "pointwise": ModelSpec(
        build_pointwise,
        (*features.VECTORS, features.HAS_IMAGE, features.COSINES, features.LEXICAL),
        Hyperparameters(model="pointwise"),
        "query against product: vector interactions, cosines and words",
    ),
    "query_mlp": ModelSpec(
        build_query_mlp,
        (features.QUERY_VEC,),
        Hyperparameters(model="query_mlp", batch_size=32, hidden=(256, 128), l2=0.0),
        "the original network, which never sees the product",
    ),
}


def hyperparameters(name: str, overrides: dict[str, Any] | None = None) -> Hyperparameters:
    """The model's own settings with ``overrides`` (None values are left out).

    Raises:
        ValueError: no such model, or no such hyper-parameter; names the known ones.
    """
    if name not in MODELS:
        raise ValueError(f"no model {name!r}; known: {', '.join(MODELS)}")
    changes = {key: value for key, value in (overrides or {}).items() if value is not None}
    unknown = sorted(set(changes) - set(Hyperparameters.__dataclass_fields__))
    if unknown:
        raise ValueError(f"no hyper-parameter {unknown[0]!r}; known: {', '.join(Hyperparameters.__dataclass_fields__)}")
    if "hidden" in changes:
        changes["hidden"] = tuple(changes["hidden"])
    return replace(MODELS[name].defaults, **changes)


def build(dimensions: Dimensions, hyper: Hyperparameters) -> Any:
    """The compiled Keras model: sparse categorical cross-entropy over I 0, C 1, S 2, E 3, Adam."""
    import keras

    model = MODELS[hyper.model].build(dimensions, hyper)
    model.compile(
        optimizer=keras.optimizers.Adam(hyper.learning_rate),
        loss=keras.losses.SparseCategoricalCrossentropy(),
        metrics=[keras.metrics.SparseCategoricalAccuracy(name="accuracy")],
    )
    return model
