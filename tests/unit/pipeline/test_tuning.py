"""Settings that a search found, put into params.yaml; what is refused."""

from __future__ import annotations

import shutil

import optuna
import pytest

from pipeline.errors import SettingsError
from pipeline.settings import CHECKOUT, load_settings
from pipeline.tuning import Trial, Tuned, suggest, write_settings

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


def test_a_file_without_the_line_is_not_touched(tmp_path):
    (tmp_path / "params.yaml").write_text("train:\n  model: pointwise\n")
    with pytest.raises(SettingsError, match=r"no line for train\.dropout"):
        write_settings(tmp_path, {"dropout": 0.2})
    assert (tmp_path / "params.yaml").read_text() == "train:\n  model: pointwise\n"


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


def test_the_best_is_named_with_its_run():
    trials = [Trial(0, 0.9, {}, "a"), Trial(1, 0.95, {"dropout": 0.1}, "b"), Trial(2, 0.93, {"dropout": 0.2}, None)]
    document = Tuned("pointwise", trials, "parent").as_dict()
    assert document["best"] == {
        "trial": 1, "validation_ndcg": 0.95, "settings": {"train.dropout": 0.1}, "mlflow_run_id": "b",
    }  # fmt: skip
    assert document["default_validation_ndcg"] == 0.9
