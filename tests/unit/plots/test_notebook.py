"""What a notebook says where its input is missing."""

from __future__ import annotations

from pathlib import Path

import pytest

from sqidflow.core import settings
from sqidflow.core.errors import DataError, MissingInputError
from sqidflow.core.files import require
from sqidflow.plots.notebook import open_workdir


def test_workdir_is_the_variable_or_the_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(settings.WORKDIR_VARIABLE, str(tmp_path))
    assert open_workdir() == tmp_path
    monkeypatch.setenv(settings.WORKDIR_VARIABLE, "")
    assert open_workdir() == settings.CHECKOUT


def test_the_first_missing_input_is_named_with_its_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(settings.WORKDIR_VARIABLE, str(tmp_path))
    (tmp_path / "there").touch()
    assert open_workdir("there") == tmp_path
    with pytest.raises(MissingInputError) as raised:
        open_workdir("there", "gone", "gone_too", command="sqidflow features")
    assert raised.value.message == f"{tmp_path}/gone: does not exist; run `sqidflow features` first"
    assert isinstance(raised.value, DataError)
    assert raised.value._render_traceback_() == [raised.value.message]


def test_require_returns_what_is_there(tmp_path: Path) -> None:
    assert require(tmp_path) == tmp_path
    with pytest.raises(MissingInputError, match="run `make run` first"):
        require(tmp_path / "x")
