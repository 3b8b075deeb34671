"""`sqidflow tune`: hyper-parameter search by NDCG on the judged lists of the validation queries.

Lists are not completed with unjudged products, and the held-out split is never read.
"""

from __future__ import annotations

import hashlib
import io
import json
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
"""User attribute of a trial: the settings that it tries."""
_TRAINING_CODE = ("features", "transform", "trainer")


@dataclass(frozen=True)
class Trial:
    """One trial: ``ndcg`` on the validation queries, ``settings`` by their names in the section train."""

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
    """All finished trials of a study, including earlier calls; one of them has the current settings."""

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
    """Sample the settings of the section train that a trial of ``model`` tries."""
    from modules.model import MODELS

    spec = MODELS[model]
    if not spec.learns or not spec.sees_product:
        tunable = [name for name, other in MODELS.items() if other.learns and other.sees_product]
        raise SettingsError(
            f"{model!r} has nothing to tune", where="train.model", hint=f"choose one of {', '.join(tunable)}"
        )
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
    """The study's name, a digest of everything that a trial's NDCG depends on; only trials of one study are comparable.

    That is: the data, the settings of the section data (through the pairs), the split, the base settings and the
    training code.
    """
    dependencies = {
        "pairs": digests.file_md5(workdir.pairs),
        "split": settings.split.model_dump(),
        "base": base.as_dict(),
        "code": {part: component_code(part) for part in _TRAINING_CODE},
    }
    digest = hashlib.sha256(json.dumps(dependencies, sort_keys=True).encode()).hexdigest()[:12]
    return f"{base.model} {data_version[:12]} {features.contract()} {digest}"


def next_settings(study: optuna.Study, trial: optuna.Trial, model: str) -> dict[str, Any]:
    """The settings that ``trial`` tries: the current ones ({}) until they have been measured, then a suggestion.

    The result of a search must beat the current settings. The check looks for a measured value, because a trial that
    was killed has none, whatever its number.
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
    """Run trials until the minutes or the number of trials is used up; continues a study with the same name.

    The first trial uses the current settings. Each trial is an MLflow run nested under the study's run.

    Raises:
        SettingsError: the model is unknown or has nothing to tune.
        PipelineError: no trial finished.
    """
    import optuna

    from modules import trainer
    from modules.model import MODELS, hyperparameters
    from pipeline.transformed import read_transformed

    model = settings.train.model
    if model not in MODELS:
        raise SettingsError(f"no model {model!r}", hint=f"known: {', '.join(MODELS)}")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    suggest(optuna.create_study().ask(), model)  # fails for a model without parameters before anything is computed
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
    # A sampler starts from its seed: with the same seed, a continued study would repeat its first trials.
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
            except BaseException as error:
                child.close(runs.status_of(error))
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
        done = [(trial, trial.value) for trial in study.trials if trial.value is not None]
        if not done:
            raise PipelineError("no trial finished", where="tune", hint="raise --minutes")
    except BaseException as error:
        parent.close(runs.status_of(error))
        raise
    result = Tuned(
        model,
        [Trial(t.number, value, t.user_attrs[_TRIED], t.user_attrs.get("mlflow_run_id")) for t, value in done],
        parent.run_id,
    )
    parent.metrics({"best_val_ndcg": result.best.ndcg, "trials": len(done)})
    parent.close()
    return result


def _in_one_line(value: Any) -> Any:
    from ruamel.yaml.comments import CommentedSeq

    if not isinstance(value, list | tuple):
        return value
    sequence = CommentedSeq(value)
    sequence.fa.set_flow_style()
    return sequence


def write_settings(root: Path, train_settings: dict[str, Any]) -> Path:
    """Write settings of the section train into the workdir's params.yaml; comments and all other settings are kept.

    A setting that the file does not have is added at the end of the section.

    Raises:
        SettingsError: the file is not valid YAML, or its section train is not a section.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    file = root / PARAMS_FILE
    text = (file if file.is_file() else CHECKOUT / PARAMS_FILE).read_text(encoding="utf-8")
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 1_000_000  # long comments stay in their line
    yaml.indent(mapping=2, sequence=4, offset=2)
    # ruamel writes nothing for null; the committed file says null.
    yaml.representer.add_representer(
        type(None), lambda representer, _: representer.represent_scalar("tag:yaml.org,2002:null", "null")
    )
    try:
        document = yaml.load(text)
        section = document.setdefault("train", {})
        for name, value in train_settings.items():
            section[name] = _in_one_line(value)
    except (YAMLError, AttributeError, TypeError) as error:
        hint = "correct it as in the committed params.yaml"
        raise SettingsError("the section train cannot be read", where=file, hint=hint) from error
    changed = io.StringIO()
    yaml.dump(document, changed)
    write_atomically(file, changed.getvalue())
    return file
