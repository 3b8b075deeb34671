"""A model that is pushed while the service runs answers once it is indexed, and no old answer is given for it."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from pipeline.settings import load_settings
from pipeline.workdir import Workdir
from search.app import create_app
from tests.command_line import must, sqidflow


def test_a_new_model_takes_over(indexed: Path, tmp_path: Path, title: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("search.app._LOOK_FOR_MODELS_S", 0.05)
    for name in ("data", "artifacts"):
        shutil.copytree(indexed / name, tmp_path / name, ignore=shutil.ignore_patterns("tfx"))
    must(sqidflow("index", "--workdir", str(tmp_path)))
    with TestClient(create_app(Workdir(tmp_path), load_settings(tmp_path, (), {}))) as client:

        def ask() -> dict:
            return client.post("/predict", json={"query": title}).json()

        first, again = ask(), ask()
        assert not first["cached"] and again["cached"] and again["results"] == first["results"]
        old = first["versions"]["model"]
        new = str(int(old) + 1)
        serving = tmp_path / "artifacts" / "serving"
        shutil.copytree(serving / old, serving / f".{new}")
        card = json.loads((serving / f".{new}" / "sqidflow.json").read_text())
        (serving / f".{new}" / "sqidflow.json").write_text(json.dumps({**card, "mlflow_run_id": "another"}))
        (serving / f".{new}").rename(serving / new)
        time.sleep(0.3)
        assert ask()["versions"]["model"] == old  # pushed, and not indexed yet
        must(sqidflow("index", "--workdir", str(tmp_path)))
        for _ in range(300):
            found = ask()
            if found["versions"]["model"] == new:
                break
            time.sleep(0.05)
        assert found["versions"]["model"] == new and found["versions"]["mlflow_run_id"] == "another"
        assert not found["cached"] and found["results"]
        assert client.get("/version").json()["variants"][1]["versions"]["model"] == new
