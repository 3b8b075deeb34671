"""The Trainer's user code: read, fit, export, log. ``run_fn`` shows the steps in order.

It also works without TFX: :func:`fit` takes arrays and returns a Keras model with its history.
"""

from __future__ import annotations

import csv
import json
import logging
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from modules import ladder
from modules.class_head import decision_rule, fit_class_head
from modules.completed import JudgedQueries, completed_lists, joined, judged_lists
from modules.model import (
    GATE,
    HEAD,
    LINEAR,
    MODELS,
    ORDINAL,
    RUNGS,
    SHALLOW,
    TEMPERATURE,
    TEXT_TO_PICTURE,
    TREES,
    Dimensions,
    Hyperparameters,
    build_ensemble,
    build_ladder,
    build_lambdamart,
    build_shallow,
    compile_for,
    hyperparameters,
    learn_from_products,
)
from modules.onnx_export import export_onnx
from sqidflow.core import feature_files
from sqidflow.core.model_files import EXAMPLES_INPUT, MODEL_CARD, VALIDATION_QUERIES
from sqidflow.indexing.catalogue import read_pairs as read_prepared_pairs
from sqidflow.indexing.catalogue import read_queries
from sqidflow.indexing.served import read_served
from sqidflow.ranking import features, metrics
from sqidflow.ranking.retrieval import Fusion
from sqidflow.tracking import runs
from sqidflow.tracking.energy import EMISSIONS_FILE, Energy, EnergyMeter

_LOG = logging.getLogger(__name__)

HISTORY_FILE = "history.csv"
_RAW_INPUTS = (*features.VECTORS, features.HAS_IMAGE, features.LEXICAL, features.RELATIVE, features.RETRIEVAL)
_ENOUGH_FOR_CLASSES = 50
_NETWORKS_BATCH = 512
"""Pairs a batch of the networks that stand against the ladder: a quarter of the steps of the model ``ensemble``, in
half the time, and as good on the sample (MRR on the validation queries .540, of 128 pairs .537)."""
READ_ROWS = 2048
"""Pairs per batch while a split is read; about six batches, with three vectors per pair, are in memory at a time."""
ENOUGH_LISTS = 20
"""The best epoch is chosen by NDCG if so many validation queries have products of different gain, otherwise by loss."""


@dataclass
class Pairs:
    """One split, transformed: ``inputs`` feature name -> float32 [n, ...], the rest [n]."""

    inputs: dict[str, np.ndarray]
    rating: np.ndarray
    query_id: np.ndarray
    product_id: np.ndarray
    lists: metrics.RankedLists = field(init=False)

    def __post_init__(self) -> None:
        self.lists = metrics.RankedLists.of(self.query_id, self.product_id)

    def __len__(self) -> int:
        return len(self.rating)

    def ndcg(self, probabilities: np.ndarray) -> float:
        """Mean NDCG of class probabilities [n, 4] by expected gain; NaN if no query has a relevant product."""
        per_query = metrics.ndcg_per_query(
            self.lists, features.CLASS_GAINS[self.rating], probabilities @ features.CLASS_GAINS
        )
        return float(np.nanmean(per_query)) if not np.isnan(per_query).all() else float("nan")

    @property
    def informative_lists(self) -> int:
        """Number of queries whose products differ in gain, so that their order matters."""
        if not len(self):
            return 0
        ordered = self.rating[self.lists.order]
        starts = self.lists.starts
        return int(np.sum(np.maximum.reduceat(ordered, starts) > np.minimum.reduceat(ordered, starts)))


@dataclass(frozen=True)
class Fit:
    """A trained ranker and its training: ``history`` has one row per epoch, ``ndcg`` is the whole ranker's on the
    validation queries, ``rule`` decides the predicted class (``features.predicted_classes``), ``choice`` is the rung of
    the ladder, None for other rankers."""

    model: Any
    history: list[dict[str, float]]
    best_epoch: int
    ndcg: float
    rule: tuple[float, ...] = features.PLAIN_RULE
    choice: ladder.Choice | None = None


def read_batches(
    patterns: list[str], transform_output: Any, inputs: tuple[str, ...]
) -> Iterator[dict[str, np.ndarray]]:
    """A transformed split in batches: ``inputs``, ``rating``, ``query_id`` and ``product_id`` by name."""
    import tensorflow as tf

    spec = transform_output.transformed_feature_spec()
    read_spec = {name: spec[name] for name in (*inputs, features.RATING, features.QUERY_ID, features.PRODUCT_ID)}
    files = sorted(file for pattern in patterns for file in tf.io.gfile.glob(pattern))
    compression = "GZIP" if files and files[0].endswith(".gz") else ""
    dataset = (
        tf.data.TFRecordDataset(files, compression, num_parallel_reads=2)
        .batch(READ_ROWS)
        .map(lambda records: tf.io.parse_example(records, read_spec), num_parallel_calls=2, deterministic=True)
        .prefetch(1)
    )
    for batch in dataset.as_numpy_iterator():
        yield {name: values.reshape(-1) if name not in inputs else values for name, values in batch.items()}


def read_pairs(patterns: list[str], transform_output: Any, inputs: tuple[str, ...], fixed: Any = None) -> Pairs:
    """Read the features of a transformed split that the model reads.

    ``fixed`` is the part of a ranker that does not learn from judgements. If given, only its outputs are kept, so that
    memory holds the vectors of a batch and not of all pairs.

    Raises:
        ValueError: the files contain no pair.
    """
    parts: dict[str, list[np.ndarray]] = {}
    for batch in read_batches(patterns, transform_output, inputs):
        if fixed is not None:
            batch[SHALLOW] = fixed.predict_on_batch({name: batch.pop(name) for name in inputs})
        for name, values in batch.items():
            parts.setdefault(name, []).append(values)
    if not parts:
        raise ValueError(f"no pair in {', '.join(patterns)}: the split is empty; use data with more queries")
    columns = {name: np.concatenate(parts.pop(name)) for name in list(parts)}
    rating, query_id, product_id = (columns.pop(n) for n in (features.RATING, features.QUERY_ID, features.PRODUCT_ID))
    return Pairs(columns, rating, query_id, product_id)


def learn_fixed(batches: Iterable[Mapping[str, np.ndarray]], dimensions: Dimensions, hyper: Hyperparameters) -> Any:
    """The part of a ranker that learns only from products, as a Keras model; None for a ranker without one."""
    if not MODELS[hyper.model].sees_product:
        return None
    fixed = build_shallow(dimensions)
    learn_from_products(fixed, batches, hyper)
    return fixed


@dataclass(frozen=True)
class Training:
    """The inputs of a training. ``fixed`` is the part of the ranker that learns only from products. If it is given, the
    pairs contain its outputs, and only the layers after it are trained. Files are written to ``run_dir``. ``lists`` are
    what search would rank for the queries of train and of validation; without a catalogue the judged lists replace
    them.
    """

    train: Pairs
    validation: Pairs
    fixed: Any
    dimensions: Dimensions
    hyper: Hyperparameters
    run_dir: Path
    run: runs.TrackedRun
    lists: tuple[ladder.Lists, ladder.Lists] | None = None

    @property
    def checkpoints(self) -> Path:
        folder = self.run_dir / "checkpoints"
        folder.mkdir(parents=True, exist_ok=True)
        return folder


def fit(
    train: Pairs,
    validation: Pairs,
    hyper: Hyperparameters,
    run_dir: Path,
    run: runs.TrackedRun,
    lists: tuple[ladder.Lists, ladder.Lists] | None = None,
) -> Fit:
    """Train on pairs with all inputs of the model in memory; see ``fit_read``."""
    dimensions = _dimensions(train)
    fixed = learn_fixed([{**train.inputs, features.PRODUCT_ID: train.product_id}], dimensions, hyper)
    if fixed is not None:
        train, validation = (
            replace(pairs, inputs={SHALLOW: fixed.predict_on_batch(pairs.inputs)}) for pairs in (train, validation)
        )
    return fit_read(Training(train, validation, fixed, dimensions, hyper, run_dir, run, lists))


def fit_read(training: Training) -> Fit:
    """Train until validation NDCG has not improved for ``patience`` epochs, and keep the weights of the best epoch.

    Writes a checkpoint per epoch into ``run_dir/checkpoints``, and ``run_dir/history.csv``.
    """
    import keras
    import tensorflow as tf

    keras.utils.set_random_seed(training.hyper.seed)
    tf.config.experimental.enable_op_determinism()
    spec = MODELS[training.hyper.model]
    training.run_dir.mkdir(parents=True, exist_ok=True)
    if spec.ladder:
        fitted = _fit_ladder(training)
    elif spec.networks and spec.trees:
        fitted = _fit_ensemble(training)
    elif spec.networks:
        fitted = _fit_network(training)
    elif spec.trees:
        fitted = _fit_trees(training)
    else:
        fitted = _fit_nothing(training)
    _write_history(training.run_dir, fitted.history)
    probabilities = _validation_probabilities(fitted.model, training)
    return replace(fitted, rule=decision_rule(probabilities, training.validation.rating))


def _validation_probabilities(model: Any, training: Training) -> np.ndarray:
    """Of the judged validation pairs, float32 [n, 4]."""
    inputs = training.validation.inputs
    if training.fixed is None:
        return model.predict(inputs, batch_size=READ_ROWS, verbose=0)
    return _probabilities_of(model, inputs[SHALLOW])


def _probabilities_of(model: Any, read: np.ndarray) -> np.ndarray:
    """Of rows of ``SHALLOW``, float32 [n, 4]."""
    import keras

    after = keras.Model(model.get_layer(SHALLOW).output, model.output)
    return after.predict(read, batch_size=READ_ROWS, verbose=0)


def _fit_ladder(training: Training) -> Fit:
    """Choose among the rungs, fit the chosen one on the training queries, its classes on validation.

    An epoch of the history is a rung.
    """
    allowed = [rung for rung in RUNGS if rung.name in MODELS[training.hyper.model].ladder]
    seed = training.hyper.seed
    of_train, of_validation = training.lists or (judged_lists(training.train), judged_lists(training.validation))
    both = joined(of_train, of_validation)
    choice = ladder.choose(both, allowed, seed)
    in_training = np.arange(both.queries) < of_train.queries
    history, best = [], 1
    for number, rung in enumerate(each for each in allowed if each.name in choice.mrr):
        fitted = ladder.fit_rung(rung, both, in_training, seed)
        if rung == choice.rung:
            ranking, best = fitted, number + 1
        score = fitted.score(judged_lists(training.validation))
        ndcg = _score_ndcg(training.validation, score)
        history.append({"epoch": number + 1, "val_ndcg": ndcg, "mrr": choice.mrr[rung.name]})
        _LOG.info("%s: MRR %.4f, validation NDCG %.4f", rung.name, choice.mrr[rung.name], ndcg)
    training.run.curve([{name: value for name, value in row.items() if name != "epoch"} for row in history])
    calibrating = of_validation if (of_validation.rating >= 0).sum() >= _ENOUGH_FOR_CLASSES else both
    head = fit_class_head(calibrating, ranking.score(calibrating))

    model = build_ladder(training.dimensions, training.hyper, ranking.trees)
    _take_map(model, training.fixed)
    kernel, bias = ranking.linear.kernel(both.names)
    model.get_layer(LINEAR).set_weights([kernel[:, None], np.array([bias], np.float32)])
    if ranking.trees is not None:
        model.get_layer(TREES).fill(ranking.trees)
    model.get_layer(GATE).set_weights([head.gate.astype(np.float32)[:, None], np.array([head.bias], np.float32)])
    model.get_layer(ORDINAL).set_weights([np.float32(head.slope), head.cuts])
    model.save_weights(training.checkpoints / "ladder.weights.h5")
    ndcg = training.validation.ndcg(_validation_probabilities(model, training))
    fit = Fit(model, history, best, ndcg, choice=choice)
    if ladder.NETWORKS.name in MODELS[training.hyper.model].ladder and choice.queries >= ladder.NETWORKS.from_queries:
        fit, choice = _against_networks(training, of_validation, fit, choice)
    training.run.params({"rung": choice.rung.name})
    return fit


def _against_networks(
    training: Training, lists: ladder.Lists, standing: Fit, choice: ladder.Choice
) -> tuple[Fit, ladder.Choice]:
    """The networks' ensemble where it ranks the validation lists better, by more than a standard error if a smaller
    rung than the last stands; else what stands. And what was chosen."""
    defaults, ensemble = MODELS[training.hyper.model].defaults, MODELS["ensemble"].defaults
    ensemble = replace(ensemble, batch_size=_NETWORKS_BATCH)
    given = training.hyper.as_dict()
    changed = {name: value for name, value in given.items() if value != getattr(defaults, name)}
    networks = _fit_ensemble(replace(training, hyper=replace(ensemble, **changed)))
    exact, name = lists.has_exact(), ladder.NETWORKS.name
    gains = [_probabilities_of(fitted.model, lists.read) @ features.CLASS_GAINS for fitted in (networks, standing)]
    ranks = [lists.reciprocal_ranks(gain)[exact] for gain in gains]
    choice = replace(
        choice,
        validated={name: lists.mrr(gains[0]), choice.rung.name: lists.mrr(gains[1])},
        validation_queries=int(exact.sum()),
    )
    _LOG.info("on the validation queries: %s", choice.validated)
    if not ladder.networks_are_better(*ranks, standing=choice.rung, last=RUNGS[-1]):
        return replace(standing, choice=choice), choice
    best = networks.history[networks.best_epoch - 1]
    # The history stays the ladder's, with one more rung.
    row = {"epoch": len(standing.history) + 1, "val_ndcg": best["val_ndcg"], "mrr": lists.mrr(gains[0])}
    history = [*standing.history, row]
    choice = replace(choice, rung=ladder.NETWORKS)
    return Fit(networks.model, history, len(history), networks.ndcg, choice=choice), choice


def _score_ndcg(pairs: Pairs, score: np.ndarray) -> float:
    values = metrics.ndcg_per_query(pairs.lists, features.CLASS_GAINS[pairs.rating], score)
    return float(np.nanmean(values)) if np.isfinite(values).any() else 0.0


def _fit_network(training: Training) -> Fit:
    hyper, build = training.hyper, MODELS[training.hyper.model].build
    model = build(training.dimensions, hyper)
    history, best_epoch = _train_networks(training, model)
    # A model without optimizer and loss: not needed for inference, and loading them would need this project's code.
    finished = build(training.dimensions, hyper)
    finished.set_weights(model.get_weights())
    return Fit(finished, history, best_epoch, history[best_epoch - 1]["val_ndcg"])


def _train_networks(training: Training, model: Any) -> tuple[list[dict[str, float]], int]:
    """Train a ranker's networks in place. Returns the history and the best epoch, whose weights the model then has."""
    import keras

    validation, hyper, checkpoints = training.validation, training.hyper, training.checkpoints
    scoring = model
    if training.fixed is not None:
        _take_map(model, training.fixed)
        scoring = model.get_layer(HEAD)
    trained = compile_for(scoring, hyper)
    history: list[dict[str, float]] = []

    class Validate(keras.callbacks.Callback):
        def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
            assert logs is not None
            probabilities = scoring.predict(validation.inputs, batch_size=1024, verbose=0)
            if not np.isfinite(probabilities).all():
                raise ValueError(
                    f"the training diverged in epoch {epoch + 1} (infinite or NaN output); lower train.learning_rate"
                )
            logs["val_ndcg"] = validation.ndcg(probabilities)
            history.append({"epoch": epoch + 1, **{name: float(value) for name, value in logs.items()}})
            training.run.metrics(logs, step=epoch + 1)
            _LOG.info("epoch %d: %s", epoch + 1, " ".join(f"{k} {v:.4f}" for k, v in logs.items()))

    # With one judged product per query the NDCG is always 1, so it would choose an epoch by chance.
    by_ndcg = validation.informative_lists >= ENOUGH_LISTS
    early_stopping = keras.callbacks.EarlyStopping(
        "val_ndcg" if by_ndcg else "val_loss",
        mode="max" if by_ndcg else "min",
        patience=hyper.patience,
        restore_best_weights=True,
    )
    trained.fit(
        **_batches(training.train, validation, hyper),
        epochs=hyper.epochs,
        verbose=0,
        callbacks=[
            Validate(),  # first, because the callbacks below read the NDCG from the logs
            keras.callbacks.LambdaCallback(
                # The weights of the whole ranker, even if only its head is trained.
                on_epoch_end=lambda epoch, logs: model.save_weights(checkpoints / f"epoch-{epoch + 1:03d}.weights.h5")
            ),
            early_stopping,
        ],
    )
    return history, early_stopping.best_epoch + 1


def _dimensions(pairs: Pairs) -> Dimensions:
    first = next(iter(pairs.inputs.values()))
    return Dimensions(vector=pairs.inputs.get(features.QUERY_VEC, first).shape[1])


def _write_history(run_dir: Path, history: list[dict[str, float]]) -> None:
    with (run_dir / HISTORY_FILE).open("w", newline="") as stream:
        writer = csv.DictWriter(stream, history[0].keys())
        writer.writeheader()
        writer.writerows(history)


def _batches(train: Pairs, validation: Pairs, hyper: Hyperparameters) -> dict[str, Any]:
    """Arguments of Keras' ``fit``: shuffled pairs, or whole lists for a listwise loss."""
    if not hyper.list_weight:
        return {
            "x": train.inputs,
            "y": train.rating,
            "validation_data": (validation.inputs, validation.rating),
            "batch_size": hyper.batch_size,
            "validation_batch_size": 1024,
        }
    return {
        "x": list_batches(train, hyper.batch_size, hyper.seed),
        "validation_data": list_batches(validation, 1024, None),
    }


def list_batches(pairs: Pairs, pairs_per_batch: int, seed: int | None) -> Any:
    """A Keras dataset of batches of whole lists, about ``pairs_per_batch`` pairs each; y int64 [n, 2]: class, list.

    The lists are shuffled each epoch; ``seed`` None keeps their order.
    """
    import keras

    ends = np.append(pairs.lists.starts[1:], len(pairs))
    rows_of = [pairs.lists.order[start:end] for start, end in zip(pairs.lists.starts, ends)]

    class Lists(keras.utils.PyDataset):
        def __init__(self) -> None:
            super().__init__()
            self.rng = np.random.default_rng(seed) if seed is not None else None
            self.on_epoch_end()

        def on_epoch_end(self) -> None:
            order = self.rng.permutation(len(rows_of)) if self.rng is not None else np.arange(len(rows_of))
            sizes = np.cumsum([len(rows_of[i]) for i in order])
            cuts = np.flatnonzero(np.diff(sizes // pairs_per_batch)) + 1
            self.batches = np.split(order, cuts)

        def __len__(self) -> int:
            return len(self.batches)

        def __getitem__(self, position: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
            chosen = [rows_of[i] for i in self.batches[position]]
            rows = np.concatenate(chosen)
            number = np.repeat(np.arange(len(chosen)), [len(part) for part in chosen])
            inputs = {name: values[rows] for name, values in pairs.inputs.items()}
            return inputs, np.stack([pairs.rating[rows], number], axis=1)

    return Lists()


class _Rounds:
    """Tracks the validation NDCG while trees are added; ``best`` is the round with the highest NDCG."""

    def __init__(self, rows: np.ndarray, validation: Pairs, patience: int) -> None:
        self.rows, self.validation, self.patience = rows, validation, patience
        self.history: list[dict[str, float]] = []
        self.best = 1

    def __call__(self, number: int, score: Any) -> bool:
        gains = features.CLASS_GAINS[self.validation.rating]
        ndcg = float(np.nanmean(metrics.ndcg_per_query(self.validation.lists, gains, score(self.rows))))
        self.history.append({"epoch": number, "val_ndcg": ndcg})
        if ndcg > self.history[self.best - 1]["val_ndcg"]:
            self.best = number
        return number - self.best < self.patience


def _by_batch(function: Callable[[np.ndarray], Any], rows: np.ndarray) -> np.ndarray:
    """``function`` of all rows, in batches: trees need memory for rows times trees at every level."""
    parts = [np.asarray(function(rows[start : start + READ_ROWS])) for start in range(0, len(rows), READ_ROWS)]
    return np.concatenate(parts)


def _take_map(model: Any, fixed: Any) -> None:
    model.get_layer(TEXT_TO_PICTURE).set_weights(fixed.get_layer(TEXT_TO_PICTURE).get_weights())


def _grow_trees(training: Training) -> tuple[dict[str, np.ndarray], _Rounds]:
    """Train LambdaMART on the features that the networks read; patience is counted in tens of trees."""
    from modules import lambdamart

    train, spec = training.train, MODELS[training.hyper.model]
    hyper = training.hyper
    if spec.networks:  # hyper.learning_rate is the networks'
        hyper = replace(hyper, learning_rate=MODELS["lambdamart"].defaults.learning_rate)
    name = "val_ndcg_trees" if spec.networks else "val_ndcg"
    rounds = _Rounds(training.validation.inputs[SHALLOW], training.validation, 10 * hyper.patience)
    trees = lambdamart.train(train.inputs[SHALLOW], train.rating, train.query_id, hyper, rounds)
    training.run.curve([{name: row["val_ndcg"]} for row in rounds.history])
    return trees, rounds


def _plant(model: Any, training: Training, ensemble: Mapping[str, np.ndarray]) -> None:
    """Copy the map and the trees into a model built for them, and fit its class probabilities on the eval split."""
    from modules import lambdamart

    _take_map(model, training.fixed)
    trees = model.get_layer(TREES)
    trees.fill(ensemble)
    score = _by_batch(trees, training.validation.inputs[SHALLOW]).reshape(-1)
    slope, cuts = lambdamart.fit_ordinal(score, training.validation.rating, len(features.CLASSES))
    model.get_layer(ORDINAL).set_weights([np.float32(slope), cuts])


def _fit_trees(training: Training) -> Fit:
    """Train LambdaMART alone; a row of the history is a tree."""
    ensemble, rounds = _grow_trees(training)
    model = build_lambdamart(training.dimensions, training.hyper, ensemble)
    _plant(model, training, ensemble)
    model.save_weights(training.checkpoints / f"round-{rounds.best:03d}.weights.h5")
    return Fit(model, rounds.history, rounds.best, rounds.history[rounds.best - 1]["val_ndcg"])


def _fit_ensemble(training: Training) -> Fit:
    """Train networks and trees, each stopped by its own validation NDCG; the history is the networks'."""
    from modules import lambdamart

    networks = build_ensemble(training.dimensions, training.hyper)
    history, best_epoch = _train_networks(training, networks)
    ensemble, rounds = _grow_trees(training)
    model = build_ensemble(training.dimensions, training.hyper, ensemble)
    model.get_layer(HEAD).set_weights(networks.get_layer(HEAD).get_weights())
    _plant(model, training, ensemble)
    seen = training.validation.inputs[SHALLOW]
    trees = _by_batch(lambda rows: model.get_layer(ORDINAL)(model.get_layer(TREES)(rows)), seen)
    share = training.hyper.tree_share
    mixed = (1 - share) * model.get_layer(HEAD).predict(seen, batch_size=1024, verbose=0) + share * trees
    sharpness = lambdamart.fit_sharpness(mixed, training.validation.rating)
    model.get_layer(TEMPERATURE).set_weights([np.float32(sharpness)])
    training.run.metrics({"sharpness": sharpness})
    model.save_weights(training.checkpoints / "ensemble.weights.h5")
    ndcg = training.validation.ndcg(mixed**sharpness / (mixed**sharpness).sum(axis=1, keepdims=True))
    return Fit(model, history, best_epoch, ndcg)


def _fit_nothing(training: Training) -> Fit:
    model = MODELS[training.hyper.model].build(training.dimensions, training.hyper)
    _take_map(model, training.fixed)
    ndcg = training.validation.ndcg(_by_batch(model.get_layer("probs"), training.validation.inputs[SHALLOW]))
    training.run.metrics({"val_ndcg": ndcg}, step=1)
    return Fit(model, [{"epoch": 1, "val_ndcg": ndcg}], 1, ndcg)


def read_lists(
    train: Pairs, validation: Pairs, catalogue: Mapping[str, Any], fixed: Any, seed: int
) -> tuple[ladder.Lists, ladder.Lists]:
    """What search would rank for queries of both splits, from the prepared catalogue; of more than
    ``ladder.MOST_QUERIES``, for some.

    Args:
        catalogue: as FeatureJoin is told of it, see ``components.feature_join.feature_config``.
    """
    artifacts_dir = Path(catalogue["artifacts_dir"])
    served = read_served(
        artifacts_dir, Fusion.read(catalogue["fusion"]), catalogue["candidates"], catalogue["language"]
    )
    prepared = read_prepared_pairs(artifacts_dir / feature_files.PAIRS)
    texts = dict(zip(prepared[features.QUERY_ID].to_pylist(), prepared[features.QUERY].to_pylist()))
    ids, vectors = read_queries(artifacts_dir, served.text.shape[1])
    row_of = {query: row for row, query in enumerate(ids)}
    to_picture = fixed.get_layer(TEXT_TO_PICTURE).get_weights()[0]

    def lists_of(pairs: Pairs, most: int, seed: int) -> ladder.Lists:
        order, ends = pairs.lists.order, np.append(pairs.lists.starts[1:], len(pairs))
        chosen = some(len(ends), most, seed)
        rows = [order[pairs.lists.starts[at] : ends[at]] for at in chosen]
        queries = [int(pairs.lists.query_ids[at]) for at in chosen]
        products = [_decoded(pairs.product_id[own]) for own in rows]
        judged = JudgedQueries(
            [texts[query] for query in queries],
            vectors[[row_of[query] for query in queries]],
            products,
            [pairs.rating[own] for own in rows],
        )
        return completed_lists(served, judged, to_picture, seed)

    return lists_of(train, ladder.MOST_QUERIES, seed), lists_of(validation, ladder.MOST_VALIDATION_QUERIES, seed + 1)


def some(count: int, most: int, seed: int) -> np.ndarray:
    """Numbers below ``count`` in ascending order: all of them, or ``most`` chosen at random."""
    if count <= most:
        return np.arange(count)
    return np.sort(np.random.default_rng(seed).choice(count, most, replace=False))


def _decoded(product_ids: np.ndarray) -> list[str]:
    return [each.decode() if isinstance(each, bytes) else str(each) for each in product_ids.tolist()]


def export(model: Any, hyper: Hyperparameters, transform_output: Any, target: str) -> None:
    """Write the SavedModel that is evaluated and pushed.

    Its signature ``serving_default`` takes serialised pairs (string [n], as FeatureJoin writes them) and returns
    ``probs`` float32 [n, 4], ``score`` float32 [n] (expected gain), and the zero-shot ``cosines`` float32 [n, 4].
    """
    import tensorflow as tf

    spec = transform_output.raw_feature_spec()
    read = {name: spec[name] for name in _RAW_INPUTS}
    transform = transform_output.transform_features_layer()
    gains = tf.constant(features.CLASS_GAINS, tf.float32)
    inputs = MODELS[hyper.model].inputs

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name=EXAMPLES_INPUT)])
    def serve(examples: Any) -> dict[str, Any]:
        transformed = transform(tf.io.parse_example(examples, read))
        probabilities = model({name: transformed[name] for name in inputs}, training=False)
        return {
            "probs": probabilities,
            "score": tf.linalg.matvec(probabilities, gains),
            "cosines": transformed[features.COSINES],
            "cosine": transformed[features.COSINES][:, features.COSINE_NAMES.index("cosine")],
        }

    served = tf.Module()
    served.model, served.transform, served.serve = model, transform, serve
    tf.saved_model.save(served, target, signatures={"serving_default": serve})


def write_validation_queries(validation: Pairs, folder: Path) -> None:
    """Write the ids of the validation queries; the index calibrates the score cut-off on them."""
    ids = np.unique(validation.query_id).tolist()
    (folder / VALIDATION_QUERIES).write_text(json.dumps({"query_ids": ids}))


def _execution_id(model_run_dir: str) -> str:
    """The execution's id, after which TFX names the output folder."""
    match = re.search(r"/(\d+)/*$", model_run_dir)
    return match.group(1) if match else ""


def _learning_curves(history: list[dict[str, float]]) -> Any:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    loss, ndcg = figure.subplots(1, 2)
    epochs = [row["epoch"] for row in history]
    for name, label in (("loss", "train"), ("val_loss", "validation")):
        if name in history[0]:  # the history of trees has no loss
            loss.plot(epochs, [row[name] for row in history], label=label)
    loss.set(xlabel="epoch", ylabel="loss")
    if "loss" in history[0]:
        loss.legend()
    ndcg.plot(epochs, [row["val_ndcg"] for row in history], color="tab:green")
    ndcg.set(xlabel="epoch", ylabel="validation NDCG")
    return figure


def _log_to_mlflow(
    run: runs.TrackedRun, fitted: Fit, example: dict[str, np.ndarray], measured: Energy, fn_args: Any
) -> None:
    best = fitted.history[fitted.best_epoch - 1]
    run.metrics({**{f"best_{name}": value for name, value in best.items()}, "val_ndcg_final": fitted.ndcg})
    run.metrics(measured.metrics())
    run.tags({"energy_method": measured.method, "tfx_execution": f"Trainer/{_execution_id(fn_args.model_run_dir)}"})
    run.figure(_learning_curves(fitted.history), "learning_curves.png")
    run.artifact(Path(fn_args.model_run_dir) / HISTORY_FILE)
    run.artifact(Path(fn_args.model_run_dir) / EMISSIONS_FILE)
    if fn_args.schema_path:
        run.artifact(Path(fn_args.schema_path), "schema")
    run.model(fitted.model, example, fitted.model.predict(example, verbose=0))


def run_fn(fn_args: Any) -> None:
    """TFX's entry point: read the transformed pairs, fit, export, log."""
    import tensorflow_transform as tft

    config = fn_args.custom_config
    hyper = hyperparameters(config["model"], config["hyperparameters"])
    inputs = MODELS[hyper.model].inputs
    transform_output = tft.TFTransformOutput(fn_args.transform_output)
    dimensions = Dimensions(vector=transform_output.transformed_feature_spec()[features.QUERY_VEC].shape[0])
    run_dir = Path(fn_args.model_run_dir)

    context = runs.RunContext.read(Path(config["context_file"]))
    run = runs.TrackedRun(context)
    run.params(hyper.as_dict())
    try:
        with EnergyMeter(run_dir, context.country_iso_code) as meter:
            fixed = learn_fixed(read_batches(fn_args.train_files, transform_output, inputs), dimensions, hyper)
            train = read_pairs(fn_args.train_files, transform_output, inputs, fixed)
            validation = read_pairs(fn_args.eval_files, transform_output, inputs, fixed)
            run.params({"train_pairs": len(train), "validation_pairs": len(validation)})
            lists = None
            if MODELS[hyper.model].ladder:
                lists = read_lists(train, validation, config["catalogue"], fixed, hyper.seed)
            fitted = fit_read(Training(train, validation, fixed, dimensions, hyper, run_dir, run, lists))
        export(fitted.model, hyper, transform_output, fn_args.serving_model_dir)
        export_onnx(fitted.model, hyper, dimensions, Path(fn_args.serving_model_dir))
        write_validation_queries(validation, Path(fn_args.serving_model_dir))
        card = {
            "model": hyper.model,
            "feature_contract": features.contract(),
            "dim": dimensions.vector,
            "encoder": context.encoder,
            "hyperparameters": hyper.as_dict(),
            "fusion": config["catalogue"]["fusion"],
            "language": config["catalogue"]["language"],
            "class_rule": list(fitted.rule),
            "ladder": fitted.choice.as_dict() if fitted.choice else None,
            "feature_service": context.feature_service,
            "data_hash": context.data_hash,
            "git_commit": context.git_commit,
            "mlflow_run_id": run.run_id,
            "best_epoch": fitted.best_epoch,
            "epochs": len(fitted.history),
            "parameters": int(fitted.model.count_params()),
            "energy_kwh": meter.energy.energy_kwh,
            "energy_method": meter.energy.method,
        }
        for folder in (run_dir, Path(fn_args.serving_model_dir)):
            (folder / MODEL_CARD).write_text(json.dumps(card, indent=2))
    except BaseException as error:
        run.close(runs.status_of(error))
        raise
    first = next(read_batches(fn_args.eval_files, transform_output, inputs))
    example = {name: first[name][:2] for name in inputs}
    _log_to_mlflow(run, fitted, example, meter.energy, fn_args)
    run.close()
