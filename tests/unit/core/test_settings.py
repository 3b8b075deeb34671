"""params.yaml, the environment and --set: which wins, and what a mistake gets."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from sqidflow.core.errors import SettingsError
from sqidflow.core.settings import CHECKOUT, SECRETS, Settings, known_keys, load_settings


def load(folder, *overrides, text=None, **environment) -> Settings:
    if text is not None:
        (folder / "params.yaml").write_text(text)
    return load_settings(folder, overrides, environment)


def refused(folder, *overrides, text=None, **environment) -> str:
    with pytest.raises(SettingsError) as raised:
        load(folder, *overrides, text=text, **environment)
    assert "\n" not in raised.value.message
    assert raised.value.exit_code == 2
    return raised.value.message


def test_the_committed_file_names_every_setting_with_its_default():
    content = yaml.safe_load((CHECKOUT / "params.yaml").read_text())
    assert [f"{section}.{key}" for section, keys in content.items() for key in keys] == known_keys()
    assert load_settings(CHECKOUT, (), {}) == Settings()


def test_every_setting_says_what_it_is():
    for section, field in Settings.model_fields.items():
        if section not in SECRETS:
            for name, setting in field.annotation.model_fields.items():
                assert setting.description, f"{section}.{name}"


def test_a_workdir_without_a_file_has_the_checkouts(tmp_path):
    assert load(tmp_path) == load_settings(CHECKOUT, (), {})


def test_a_workdirs_own_file_counts(tmp_path):
    assert load(tmp_path, text="train: {epochs: 3}").train.epochs == 3
    assert load(tmp_path, text="").train == Settings().train


def test_later_sources_win(tmp_path):
    text = "train: {epochs: 1, patience: 1, seed: 1}"
    found = load(tmp_path, "train.epochs=3", text=text, SQIDFLOW_TRAIN__EPOCHS="2", SQIDFLOW_TRAIN__PATIENCE="2")
    assert (found.train.epochs, found.train.patience, found.train.seed) == (3, 2, 1)


def test_the_last_of_two_overrides_wins(tmp_path):
    assert load(tmp_path, "train.epochs=3", "train.epochs=4").train.epochs == 4


@pytest.mark.parametrize(
    ("override", "section", "name", "value"),
    [
        ("train.learning_rate=1e-3", "train", "learning_rate", 0.001),
        ("train.batch_size=null", "train", "batch_size", None),
        ("data.locale=", "data", "locale", None),
        ("data.splits=[test, train]", "data", "splits", ("test", "train")),
        ("data.small_version=false", "data", "small_version", False),
        (" train.seed = 0", "train", "seed", 0),
        ("tracking.uri=http://host:5000/?a=b", "tracking", "uri", "http://host:5000/?a=b"),
    ],
)
def test_values_are_yaml(tmp_path, override, section, name, value):
    assert getattr(getattr(load(tmp_path, override), section), name) == value


@pytest.mark.parametrize(
    ("key", "nearest"),
    [
        ("train.epoch", "train.epochs"),
        ("trian.model", "train.model"),
        ("learning_rate", "train.learning_rate"),
        ("split.training", "split.train"),
        ("train_epochs", "train.epochs"),
    ],
)
def test_an_unknown_key_names_the_nearest(tmp_path, key, nearest):
    assert f"did you mean {nearest}?" in refused(tmp_path, f"{key}=1")


def test_a_key_like_no_other_lists_the_known_ones(tmp_path):
    message = refused(tmp_path, "zzzzqqqq=1")
    for key in ("train.epochs", "energy.country_iso_code"):
        assert key in message


def test_where_an_unknown_key_stands_is_told(tmp_path):
    assert str(tmp_path / "params.yaml") in refused(tmp_path, text="train: {epoch: 1}")
    (tmp_path / "params.yaml").unlink()
    assert "SQIDFLOW_TRAIN__EPOCH" in refused(tmp_path, SQIDFLOW_TRAIN__EPOCH="1")
    assert "--set train.epoch=1" in refused(tmp_path, "train.epoch=1")


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("train.epochs=many", "train.epochs cannot be 'many'"),
        ("train.epochs=0", "train.epochs cannot be 0"),
        ("train.dropout=1.5", "train.dropout cannot be 1.5"),
        ("train.learning_rate=-1", "train.learning_rate cannot be -1"),
        ("split.test=0", "split.test cannot be 0"),
        ("evaluation.max_loss=-0.1", "evaluation.max_loss cannot be -0.1"),
        ("energy.country_iso_code=Germany", "energy.country_iso_code cannot be 'Germany'"),
        ("tracking.experiment=''", "tracking.experiment cannot be ''"),
        ("beam.runner=sparc", "beam.runner cannot be 'sparc'"),
        ("train.model=[a]", "train.model cannot be ['a']"),
        ("sample.seed=-1", "sample.seed cannot be -1"),
    ],
)
def test_a_value_that_does_not_fit(tmp_path, override, said):
    message = refused(tmp_path, override)
    assert said in message
    assert f"--set {override}" in message
    assert "docs/settings.md" in message


def test_a_bad_value_of_the_file_and_of_the_environment_is_traced_there(tmp_path):
    assert str(tmp_path / "params.yaml") in refused(tmp_path, text="train: {epochs: none}")
    (tmp_path / "params.yaml").unlink()
    assert "environment variable SQIDFLOW_TRAIN__EPOCHS" in refused(tmp_path, SQIDFLOW_TRAIN__EPOCHS="none")


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("train.epochs", "the value is missing"),
        ("train.epochs=[1", "not valid YAML"),
        ("train.epochs={", "not valid YAML"),
    ],
)
def test_an_override_that_cannot_be_read(tmp_path, override, said):
    assert said in refused(tmp_path, override)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("train: [", "invalid YAML"),
        ("train:\n  epochs: 1\n  epochs: 2\n", "epochs stands twice"),
        ("train: {epochs: 1}\ndata: {}\ntrain: {}\n", "train stands twice"),
        ("- a\n- b", "must contain sections"),
        ("just text", "must contain sections"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(tmp_path, text, said):
    message = refused(tmp_path, text=text)
    assert said in message
    assert str(tmp_path / "params.yaml") in message


def test_a_file_that_is_no_text_is_named(tmp_path):
    (tmp_path / "params.yaml").write_bytes(b"train: \xff\xfe")
    message = refused(tmp_path)
    assert "the file is not UTF-8 text" in message and "save it as UTF-8" in message


def test_variables_that_are_no_settings(tmp_path):
    found = load(
        tmp_path, SQIDFLOW_WORKDIR="/x", SQIDFLOW_VENV="/y", SQIDFLOW_REAL_DATA="/z", HOME="/h", SQIDFLOW_REDIS_URL=""
    )
    assert found == load(tmp_path)
    assert found.redis_url is None


def test_the_redis_url_stays_a_secret(tmp_path):
    found = load(tmp_path, SQIDFLOW_REDIS_URL="redis://:hush@host:6379/0")
    assert found.redis_url.get_secret_value() == "redis://:hush@host:6379/0"
    assert "hush" not in repr(found)
    assert "hush" not in found.model_dump_json()
    assert "unknown setting" in refused(tmp_path, "redis_url=redis://x")


def test_settings_do_not_change(tmp_path):
    found = load(tmp_path)
    with pytest.raises(ValueError, match="frozen"):
        found.train.epochs = 3


def test_overrides_of_a_training_are_those_that_were_given(tmp_path):
    assert load(tmp_path).train.overrides() == {}
    assert load(tmp_path, "train.epochs=2", "train.model=query_mlp").train.overrides() == {"epochs": 2}


@settings(max_examples=200, deadline=None)
@given(key=st.text(min_size=1, max_size=20).filter(lambda key: "=" not in key), value=st.text(max_size=10))
def test_whatever_is_set_is_a_setting_or_a_settings_error(key, value):
    try:
        load_settings(CHECKOUT, [f"{key}={value}"], {})
    except SettingsError as error:
        assert "\n" not in error.message


@pytest.mark.parametrize(
    "value", ["ftp://user:secretpw@127.0.0.1:9/x", "http://:Zm9v/YmFyc2VjcmV0@h:6379/0", "ftp://h/?q=a@secretpw"]
)
def test_a_refused_address_is_not_said_again(tmp_path, value):
    with pytest.raises(SettingsError) as raised:
        load_settings(tmp_path, [f"split.train={value}"], {})
    assert "split.train" in raised.value.message
    assert "secretpw" not in raised.value.message and "YmFy" not in raised.value.message


@pytest.mark.parametrize("text", ["train:\n", "train: {}\n", ""])
def test_a_section_without_settings_keeps_their_defaults(tmp_path, text):
    assert load(tmp_path, text=text) == Settings()


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("train: 5\n", "train is a section, not 5"),
        ("train: [1]\n", "train is a section, not [1]"),
        ("trian: {}\n", "unknown setting 'trian'"),
        ("trian:\n", "unknown setting 'trian'"),
    ],
)
def test_a_section_that_is_none_is_named(tmp_path, text, names):
    assert names in refused(tmp_path, text=text)


@pytest.mark.parametrize("text", [",", "','", '","', "."])
def test_a_decimal_mark_is_taken_as_a_shell_passes_it_on(tmp_path: Path, text: str) -> None:
    assert load_settings(tmp_path, [f"data.decimal={text}"], {}).data.decimal == text.strip("\"'")
    assert load_settings(tmp_path, [], {"SQIDFLOW_DATA__DECIMAL": text}).data.decimal == text.strip("\"'")


def test_kinds_of_attributes_are_checked(tmp_path: Path) -> None:
    given = load_settings(tmp_path, ["data.attributes={price: number, in_stock: boolean}"], {})
    assert given.data.attributes == {"price": "number", "in_stock": "boolean"}
    assert "attributes" not in given.data.filters() and "decimal" not in given.data.filters()
    with pytest.raises(SettingsError, match=r"data\.attributes"):
        load_settings(tmp_path, ["data.attributes={price: money}"], {})


def test_an_override_with_a_key_twice_is_refused(tmp_path: Path) -> None:
    assert "the value is not valid YAML" in refused(tmp_path, "data.attributes={size: text, size: number}")
