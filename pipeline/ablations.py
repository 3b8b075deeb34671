"""Ablations: the ranker retrained on judged lists without each group of features, measured on held-out judged lists."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from sqidflow.core.errors import SettingsError
from sqidflow.core.settings import Settings
from sqidflow.core.workdir import Workdir
from sqidflow.evaluation import measures
from sqidflow.ranking import features, metrics
from sqidflow.tracking import runs

_PICTURE_COLUMNS = {"cosine_image", "cosine_text_image", "cosine", "mapped_query_image", features.HAS_IMAGE}
_WORD_COLUMNS = {"f0", "bm25_share", "z_bm25", "z_trigram"}
_VECTOR_COLUMNS = {*features.COSINE_NAMES, "mapped_query_text", "mapped_query_image"}


def _with_relative(names: set[str]) -> set[str]:
    compared = (relative for relative in features.RELATIVE_NAMES if relative.rpartition("_")[0] in names)
    return names | set(compared)


GROUPS: dict[str, set[str]] = {
    "all features": set(),
    "without the text-to-picture map": {"mapped_query_text", "mapped_query_image"},
    "without relative features": set(features.RELATIVE_NAMES),
    "without pictures": _with_relative(_PICTURE_COLUMNS),
    "without retrieval features": set(features.RETRIEVAL_NAMES),
    "without lexical features": _with_relative(set(features.LEXICAL_NAMES))
    | {"f0", "bm25_share", "z_bm25", "z_trigram", "z_thing"},
    "without vectors": _with_relative(_VECTOR_COLUMNS) | {"f0", "z_cosine", "z_thing"},
}
"""Ablation -> the columns of ``modules.model.SHALLOW_NAMES`` that are set to 0 in all splits."""


@dataclass(frozen=True)
class Ablation:
    """The ranker without a group: held-out NDCG, its paired difference from all features, and the class measures.

    ``ndcg`` and ``difference`` are None if no query has a relevant product.
    """

    left_out: str
    columns: int
    ndcg: metrics.Interval | None
    difference: metrics.Interval | None
    classes: measures.ClassMeasures

    def as_dict(self) -> dict[str, Any]:
        return {
            "left_out": self.left_out,
            "columns": self.columns,
            "ndcg": self.ndcg.as_dict() if self.ndcg else None,
            "difference": self.difference.as_dict() if self.difference else None,
            "classes": self.classes.as_dict(),
        }


def ablations(workdir: Workdir, settings: Settings, say: Callable[[str], object]) -> list[Ablation]:
    """Retrain the ranker of the settings without each group and measure it on the held-out queries.

    Writes no model and no MLflow run.

    Raises:
        SettingsError: the model does not read these features.
    """
    import keras

    from modules import trainer
    from modules.model import MODELS, SHALLOW, SHALLOW_NAMES, hyperparameters
    from pipeline.transformed import read_transformed

    model = settings.train.model
    if model not in MODELS or not MODELS[model].sees_product or not MODELS[model].learns:
        known = [name for name, spec in MODELS.items() if spec.learns and spec.sees_product]
        raise SettingsError(
            f"{model!r} has no features to leave out", where="train.model", hint=f"choose one of {', '.join(known)}"
        )
    hyper = hyperparameters(model, settings.train.overrides())
    read = read_transformed(workdir, settings, hyper)
    held_out = read.held_out()
    results: list[Ablation] = []
    ndcg_all_features = np.zeros(0)
    for group, columns in GROUPS.items():
        mask = np.array([name not in columns for name in SHALLOW_NAMES], np.float32)
        train, validation, test = (
            replace(pairs, inputs={SHALLOW: pairs.inputs[SHALLOW] * mask})
            for pairs in (read.train, read.validation, held_out)
        )
        with tempfile.TemporaryDirectory(dir=workdir.var) as folder:
            fitted = trainer.fit_read(
                trainer.Training(
                    train, validation, read.fixed, read.dimensions, hyper, Path(folder), runs.TrackedRun(None)
                )
            )
        head = _after_shallow(keras, fitted.model)
        probabilities = head.predict(test.inputs[SHALLOW], batch_size=4096, verbose=0)
        gains = features.CLASS_GAINS[held_out.rating]
        per_query = metrics.ndcg_per_query(held_out.lists, gains, probabilities @ features.CLASS_GAINS)
        ndcg_all_features = per_query if not columns else ndcg_all_features
        results.append(
            Ablation(
                group,
                len(columns),
                measures.interval(per_query),
                measures.interval(per_query - ndcg_all_features) if columns else None,
                measures.class_measures(probabilities, held_out.rating, fitted.rule),
            )
        )
        say(f"{group}: done")
    return results


def _after_shallow(keras: Any, model: Any) -> Any:
    """The layers after the feature concatenation, as a model that shares the ranker's weights."""
    from modules.model import SHALLOW

    return keras.Model(model.get_layer(SHALLOW).output, model.output)
