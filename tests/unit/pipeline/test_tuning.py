"""Settings that a search found, put into params.yaml; what is refused."""

from __future__ import annotations

import shutil
import sys
from types import SimpleNamespace

import optuna
import pytest

from modules.model import hyperparameters
from pipeline import tuning
from pipeline.tuning import Trial, Tuned, next_settings, study_name, suggest, write_settings
from sqidflow.core.errors import SettingsError
from sqidflow.core.settings import CHECKOUT, load_settings
from sqidflow.core.workdir import Workdir

FOUND = {"learning_rate": 0.002, "hidden": [128, 64], "tree_share": 0.3, "batch_size": 256}


def test_written_settings_are_read_back_and_the_rest_of_the_file_stays(tmp_path):
    shutil.copy(CHECKOUT / "params.yaml", tmp_path)
    before = (tmp_path / "params.yaml").read_text().splitlines()
    write_settings(tmp_path, FOUND)
    train = load_settings(tmp_path, (), {}).train
    assert {name: getattr(train, name) for name in FOUND} == {**FOUND, "hidden": (128, 64)}
    after = (tmp_path / "params.yaml").read_text().splitlines()
    changed = [old.split(":")[0].strip() for old, new in zip(before, after, strict=True) if old != new]
    assert sorted(changed) == sorted(FOUND)
    line = next(line for line in after if line.startswith("  hidden:"))
    assert "# units" in line


def test_a_workdir_without_the_file_gets_one(tmp_path):
    assert write_settings(tmp_path, {"dropout": 0.2}) == tmp_path / "params.yaml"
    assert load_settings(tmp_path, (), {}).train.dropout == 0.2


@pytest.mark.parametrize("text", ["train:\n  model: pointwise\n", "search:\n  port: 8001\n"])
def test_a_setting_that_the_file_does_not_have_is_added(tmp_path, text):
    (tmp_path / "params.yaml").write_text(text)
    write_settings(tmp_path, {"dropout": 0.2})
    assert (tmp_path / "params.yaml").read_text().startswith(text)
    assert load_settings(tmp_path, (), {}).train.dropout == 0.2


@pytest.mark.parametrize("text", ["train: [1\n", "train: 3\n", "- train\n"])
def test_a_damaged_file_is_not_touched(tmp_path, text):
    (tmp_path / "params.yaml").write_text(text)
    with pytest.raises(SettingsError, match=r"params\.yaml: the section train cannot be read"):
        write_settings(tmp_path, {"dropout": 0.2})
    assert (tmp_path / "params.yaml").read_text() == text


@pytest.mark.parametrize("model", ["ensemble", "pointwise", "listwise", "lambdamart"])
def test_what_is_tried_are_settings_of_the_section_train(model):
    trial = optuna.create_study().ask()
    tried = suggest(trial, model)
    assert set(tried) <= set(type(load_settings(CHECKOUT, (), {}).train).model_fields)
    assert ("tree_share" in tried) == (model == "ensemble")


@pytest.mark.parametrize("model", ["cosine", "query_mlp"])
def test_there_is_nothing_to_tune_in_what_does_not_see_the_features(model):
    with pytest.raises(SettingsError, match="nothing to tune"):
        suggest(optuna.create_study().ask(), model)


def test_the_refusal_names_all_that_can_be_tuned():
    with pytest.raises(SettingsError, match="choose one of .*lambdamart"):
        suggest(optuna.create_study().ask(), "cosine")


def test_the_settings_as_they_are_come_first_and_again_where_a_killed_trial_did_not_measure_them():
    study = optuna.create_study(direction="maximize")
    killed = study.ask()
    assert next_settings(study, killed, "pointwise") == {}
    repeated = study.ask()
    assert next_settings(study, repeated, "pointwise") == {}
    study.tell(repeated, 0.9)
    found = study.ask()
    tried = next_settings(study, found, "pointwise")
    assert "learning_rate" in tried and found.user_attrs["settings"] == tried


@pytest.mark.parametrize("other", ["data", "pairs", "split.train=7", "train.epochs=3", "train.seed=4"])
def test_a_study_of_other_data_split_or_base_settings_is_another_study(tmp_path, other):
    workdir = Workdir(tmp_path)
    workdir.prepared.mkdir(parents=True)
    workdir.pairs.write_text("query_id\n1\n")

    def named(overrides=(), data_version="a" * 32):
        settings = load_settings(CHECKOUT, overrides, {})
        base = hyperparameters("pointwise", settings.train.overrides())
        return study_name(workdir, settings, base, data_version)

    before = named()
    assert named() == before
    if other == "pairs":
        workdir.pairs.write_text("query_id\n2\n")
    assert named([other] if "=" in other else [], ("b" if other == "data" else "a") * 32) != before


def test_a_search_that_is_stopped_leaves_no_run_open(tmp_path, monkeypatch):
    closed = []

    class Run:
        run_id = None

        def __init__(self, context, **_):
            self.context = context

        def tags(self, values): ...
        def params(self, values): ...

        def close(self, status="FINISHED"):
            closed.append((self.context, status))

    def stopped(*_):
        raise KeyboardInterrupt

    read = SimpleNamespace(train=None, validation=None, fixed=None, dimensions=None)
    transformed = SimpleNamespace(read_transformed=lambda *_: read)
    monkeypatch.setitem(sys.modules, "pipeline.transformed", transformed)
    monkeypatch.setattr(tuning, "run_context", lambda workdir, settings, name, version: name.split(" on ")[0])
    monkeypatch.setattr(tuning.runs, "TrackedRun", Run)
    monkeypatch.setattr(tuning.energy, "EnergyMeter", stopped)
    workdir = Workdir(tmp_path)
    for file in (workdir.pairs, workdir.data / "file"):
        file.parent.mkdir(parents=True)
        file.write_text("1")
    with pytest.raises(KeyboardInterrupt):
        tuning.tune(workdir, load_settings(CHECKOUT, ["train.model=pointwise"], {}), 1, 1, print)
    assert closed == [("pointwise trial 0", "KILLED"), ("tune pointwise", "KILLED")]


def test_the_default_is_what_tries_nothing_whatever_its_number():
    trials = [Trial(1, 0.9, {}, "a"), Trial(2, 0.95, {"dropout": 0.1}, "b")]
    assert Tuned("pointwise", trials[::-1], None).as_dict()["default_validation_ndcg"] == 0.9


def test_the_best_is_named_with_its_run():
    trials = [Trial(0, 0.9, {}, "a"), Trial(1, 0.95, {"dropout": 0.1}, "b"), Trial(2, 0.93, {"dropout": 0.2}, None)]
    document = Tuned("pointwise", trials, "parent").as_dict()
    assert document["best"] == {
        "trial": 1, "validation_ndcg": 0.95, "settings": {"train.dropout": 0.1}, "mlflow_run_id": "b",
    }  # fmt: skip
    assert document["default_validation_ndcg"] == 0.9
