"""The address of MLflow's runs table."""

from __future__ import annotations

import json
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from sqidflow.core.workdir import Workdir
from sqidflow.tracking import ui
from sqidflow.tracking.runs import EXPERIMENT_TAGS, default_tracking_uri

ADDRESS = "http://127.0.0.1:5000"


def test_the_address_opens_the_runs_with_their_columns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("SQIDFLOW_WORKDIR", str(tmp_path))
    ui.main(ADDRESS)
    assert capsys.readouterr().out.startswith(f"MLflow on {ADDRESS}/  (")  # no run yet: nothing is made
    workdir = Workdir(tmp_path)
    assert not workdir.mlflow.exists()
    workdir.mlflow.mkdir(parents=True)
    client = mlflow.MlflowClient(tracking_uri=default_tracking_uri(workdir))
    number = client.create_experiment("sqidflow")  # as earlier versions made it, without its kind
    for _ in range(2):
        ui.main(ADDRESS)
        address = capsys.readouterr().out.split()[2]
        assert address.startswith(f"{ADDRESS}/#/experiments/{number}/runs?")
        tags = client.get_experiment(number).tags
        assert EXPERIMENT_TAGS.items() <= tags.items()
        asked = parse_qs(urlsplit(urlsplit(address).fragment).query)
        assert asked["workflowType"] == ["machine_learning"], "not the menu of language models"
        key = asked["viewStateShareKey"][0]
        shown = json.loads(tags[f"mlflow.sharedViewState.{key}"])["selectedColumns"]
        assert shown == ["metrics.`test_ndcg`", "metrics.`energy_kwh`", "tags.`blessed`", "tags.`data_hash`"]
        assert len(tags) == 1 + len(EXPERIMENT_TAGS) + sum(name.startswith("mlflow.experiment.") for name in tags)
