"""The verb `tune`: settings of a ranker by the NDCG of the validation queries. The held-out split is never read."""

from __future__ import annotations

import hashlib
import json
import re
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.local_runner import component_code, run_context
from sqidflow.core import digests
from sqidflow.core.errors import PipelineError, SettingsError
from sqidflow.core.files import write_atomically
from sqidflow.core.settings import CHECKOUT, PARAMS_FILE, Settings
from sqidflow.core.workdir import Workdir
from sqidflow.ranking import features
from sqidflow.tracking import energy, runs

if TYPE_CHECKING:
    import optuna

    from modules.model import Hyperparameters

HIDDEN = {"64-32": (64, 32), "128-64": (128, 64), "256-64": (256, 64), "256-128": (256, 128)}
_TRIED = "settings"
"""User attribute of a trial: what it tries."""
_TRAINING_CODE = ("features", "transform", "trainer")


@dataclass(frozen=True)
class Trial:
    """A training that was tried: ``ndcg`` is the validation's, ``settings`` by their names in the section train."""

    number: int
    ndcg: float
    settings: dict[str, Any]
    mlflow_run_id: str | None

    def as_dict(self) -> dict[str, Any]:
        return {
            "trial": self.number,
            "validation_ndcg": self.ndcg,
            "settings": {f"train.{name}": value for name, value in self.settings.items()},
            "mlflow_run_id": self.mlflow_run_id,
        }


@dataclass(frozen=True)
class Tuned:
    """All finished trials of a study, earlier ones included; one of them is the settings as they are."""

    model: str
    trials: list[Trial]
    mlflow_run_id: str | None

    @property
    def best(self) -> Trial:
        return max(self.trials, key=lambda trial: trial.ndcg)

    def as_dict(self) -> dict[str, Any]:
        return {
            "model": self.model,
            "mlflow_run_id": self.mlflow_run_id,
            "default_validation_ndcg": next(trial.ndcg for trial in self.trials if not trial.settings),
            "best": self.best.as_dict(),
            "trials": [trial.as_dict() for trial in self.trials],
        }


def suggest(trial: optuna.Trial, model: str) -> dict[str, Any]:
    """What is tried of a model: settings of the section train."""
    from modules.model import MODELS

    spec = MODELS[model]
    if not spec.learns or not spec.sees_product:
        tunable = [name for name, other in MODELS.items() if other.learns and other.sees_product]
        raise SettingsError(f"there is nothing to tune in {model!r}", hint=f"choose one of {', '.join(tunable)}")
    if not spec.networks:
        return {"learning_rate": trial.suggest_float("learning_rate", 0.02, 0.2, log=True)}
    tried = {
        "learning_rate": trial.suggest_float("learning_rate", 5e-4, 6e-3, log=True),
        "dropout": trial.suggest_float("dropout", 0.1, 0.5, step=0.05),
        "hidden": list(HIDDEN[trial.suggest_categorical("hidden", list(HIDDEN))]),
        "l2": trial.suggest_float("l2", 1e-6, 1e-3, log=True),
        "batch_size": trial.suggest_categorical("batch_size", [128, 256, 512]),
    }
    if spec.trees:
        tried["tree_share"] = trial.suggest_float("tree_share", 0.1, 0.7, step=0.1)
    return tried


def study_name(workdir: Workdir, settings: Settings, base: Hyperparameters, data_version: str) -> str:
    """Names the study of everything that a trial's NDCG depends on: trials of other names cannot be compared.

    Data, settings of the section data (through the pairs), split, base settings and the code that trains.
    """
    stands_on = {
        "pairs": digests.file_md5(workdir.pairs),
        "split": settings.split.model_dump(),
        "base": base.as_dict(),
        "code": {part: component_code(part) for part in _TRAINING_CODE},
    }
    digest = hashlib.sha256(json.dumps(stands_on, sort_keys=True).encode()).hexdigest()[:12]
    return f"{base.model} {data_version[:12]} {features.contract()} {digest}"


def next_settings(study: optuna.Study, trial: optuna.Trial, model: str) -> dict[str, Any]:
    """What ``trial`` is to try: nothing, the settings as they are, until that is measured; else a suggestion.

    What is found must beat what there is already; a trial that was killed has measured nothing, whatever its number.
    """
    measured = any(other.value is not None and other.user_attrs[_TRIED] == {} for other in study.trials)
    tried = suggest(trial, model) if measured else {}
    trial.set_user_attr(_TRIED, tried)
    return tried


def tune(
    workdir: Workdir,
    settings: Settings,
    minutes: float,
    trials: int,
    say: Callable[[str], None],
) -> Tuned:
    """Try settings until the minutes or the trials are used up; a study that was begun on the same data, settings and
    code goes on.

    The first trial is the model with the settings as they are. Each trial is an MLflow run below the study's.

    Raises:
        SettingsError: the model has nothing to tune.
    """
    import optuna

    from modules import trainer
    from modules.model import MODELS, hyperparameters
    from pipeline.transformed import read_transformed

    model = settings.train.model
    if model not in MODELS:
        raise SettingsError(f"no model {model!r}", hint=f"known: {', '.join(MODELS)}")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    suggest(optuna.create_study().ask(), model)  # refused before anything is computed
    data_version = digests.data_hash(workdir)
    base = hyperparameters(model, settings.train.overrides())
    read = read_transformed(workdir, settings, base)

    folder = workdir.var / "tune"
    folder.mkdir(parents=True, exist_ok=True)
    study = optuna.create_study(
        study_name=study_name(workdir, settings, base, data_version),
        storage=f"sqlite:///{folder / 'studies.db'}",
        direction="maximize",
        load_if_exists=True,
    )
    # A sampler begins with its seed: with the same one a study that goes on would draw its first trials again.
    study.sampler = optuna.samplers.TPESampler(seed=base.seed + len(study.trials))

    context = run_context(workdir, settings, f"tune {model} on {data_version[:8]}", data_version)
    parent = runs.TrackedRun(context, run_id=study.user_attrs.get("mlflow_run_id"))
    if parent.run_id:
        study.set_user_attr("mlflow_run_id", parent.run_id)
    parent.tags({"kind": "tuning", "feature_contract": features.contract()})

    def objective(trial: optuna.Trial) -> float:
        tried = next_settings(study, trial, model)
        hyper = hyperparameters(model, {**settings.train.overrides(), **tried})
        child = runs.TrackedRun(
            run_context(workdir, settings, f"{model} trial {trial.number} on {data_version[:8]}", data_version),
            parent_id=parent.run_id,
        )
        child.params(hyper.as_dict())
        with tempfile.TemporaryDirectory(dir=folder) as run_dir:
            try:
                with energy.EnergyMeter(Path(run_dir), settings.energy.country_iso_code) as meter:
                    fitted = trainer.fit_read(
                        trainer.Training(
                            read.train, read.validation, read.fixed, read.dimensions, hyper, Path(run_dir), child
                        )
                    )
            except BaseException:
                child.close("FAILED")
                raise
        ndcg = fitted.ndcg
        child.metrics({"val_ndcg_final": ndcg, **meter.energy.metrics()})
        child.close()
        trial.set_user_attr("mlflow_run_id", child.run_id)
        best = max([ndcg, *(t.value for t in study.trials if t.value is not None)])
        say(f"trial {trial.number}: validation NDCG {ndcg:.4f}, best {best:.4f}  {json.dumps(tried)}")
        return ndcg

    try:
        study.optimize(objective, n_trials=trials, timeout=60 * minutes, catch=(ValueError,))
        done = [trial for trial in study.trials if trial.value is not None]
        if not done:
            raise PipelineError("no trial was finished", where="tune", hint="give it more --minutes")
    except BaseException:
        parent.close("FAILED")
        raise
    result = Tuned(
        model,
        [Trial(t.number, float(t.value), t.user_attrs[_TRIED], t.user_attrs.get("mlflow_run_id")) for t in done],
        parent.run_id,
    )
    parent.metrics({"best_val_ndcg": result.best.ndcg, "trials": len(done)})
    parent.close()
    return result


def write_settings(root: Path, found: dict[str, Any]) -> Path:
    """Put settings of the section train into the workdir's params.yaml; comments and all other lines stay.

    Raises:
        SettingsError: the file has no line for a setting.
    """
    file = root / PARAMS_FILE
    text = (file if file.is_file() else CHECKOUT / PARAMS_FILE).read_text(encoding="utf-8")
    head, separator, rest = text.partition("\ntrain:")
    section, end, tail = rest.partition("\n\n")
    for name, value in found.items():
        line = re.compile(rf"^(  {name}: )([^#\n]*?)(\s*(?:#.*)?)$", re.MULTILINE)
        if not separator or not line.search(section):
            raise SettingsError(f"no line for train.{name}", where=file, hint="take the committed file's lines")
        section = line.sub(lambda match, value=value: f"{match[1]}{json.dumps(value)}{match[3]}", section, count=1)
    write_atomically(file, head + separator + section + end + tail)
    return file
