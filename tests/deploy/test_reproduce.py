"""What `make reproduce` measures: commands that exist, whose results the documentation shows."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from deploy import reproduce
from sqidflow.cli import app
from tests.conftest import REPOSITORY


@pytest.mark.parametrize("name", reproduce.MEASUREMENTS)
def test_each_measurement_is_a_verb_with_these_options(name: str) -> None:
    arguments = reproduce.MEASUREMENTS[name].arguments
    verb = arguments[:2] if arguments[0] == "bench" else arguments[:1]
    shown = CliRunner().invoke(app, [*verb, "--help"], env={"COLUMNS": "200"})
    assert shown.exit_code == 0, shown.output
    assert all(option in shown.output for option in arguments if option.startswith("--"))


def test_every_result_that_is_there_names_its_command() -> None:
    results = sorted((REPOSITORY / "metrics" / "bench").glob("*.json"))
    assert results
    for file in results:
        document = json.loads(file.read_text())
        assert document["command"] == f"sqidflow {' '.join(reproduce.MEASUREMENTS[file.stem].arguments)}"
        assert document["rows"]


def test_a_failed_measurement_keeps_the_older_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reproduce, "RESULTS", tmp_path)
    (tmp_path / "broken.json").write_text("{}")
    monkeypatch.setitem(reproduce.MEASUREMENTS, "broken", reproduce.Measurement(("no-such-verb",)))
    assert reproduce.main(["broken"]) == 1
    assert (tmp_path / "broken.json").read_text() == "{}"


def test_what_needs_real_data_is_left_out_without_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SQIDFLOW_REAL_DATA", str(tmp_path))
    monkeypatch.setattr(reproduce, "RESULTS", tmp_path)
    assert reproduce.main(["real"]) == 0
    assert not list(tmp_path.glob("*.json"))
