"""What an audit cannot be made of is said in one line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from sqidflow.core.errors import SqidflowError
from sqidflow.core.model_files import MODEL_CARD
from sqidflow.core.settings import load_settings
from sqidflow.core.workdir import Workdir
from sqidflow.evaluation.behaviour.audit import kept_scores, query_counts, run_audit
from tests.fixtures.small_index import SmallIndex


def refused(place: Workdir, version: str | None = None) -> str:
    with pytest.raises(SqidflowError) as caught:
        run_audit(place, load_settings(place.root, (), {}), version)
    assert "\n" not in caught.value.message and "; " in caught.value.message, "one line with a hint"
    return caught.value.message


def pushed(place: Workdir, version: str = "17", contract: str = "0ld") -> Path:
    folder = place.serving / version
    folder.mkdir(parents=True)
    card = {"model": "ladder", "feature_contract": contract, "dim": 8, "data_hash": "d", "mlflow_run_id": "r"}
    (folder / MODEL_CARD).write_text(json.dumps(card))
    (folder / "ranker.onnx").write_bytes(b"")
    return folder


def test_a_workdir_without_a_model(tmp_path: Path) -> None:
    assert "there is no pushed model" in refused(Workdir(tmp_path))


def test_a_catalogue_that_nobody_trained_on(tmp_path: Path, small_index: SmallIndex) -> None:
    place = Workdir(tmp_path)
    shutil.copytree(small_index.folder, place.index / "5a11")
    assert "there is no trained model to audit" in refused(place)


@pytest.mark.parametrize("version", [None, "17"])
def test_a_model_of_another_feature_contract(tmp_path: Path, version: str | None) -> None:
    place = Workdir(tmp_path)
    pushed(place)
    assert "reads feature contract 0ld, this code computes" in refused(place, version)


def test_a_version_that_was_not_pushed(tmp_path: Path) -> None:
    place = Workdir(tmp_path)
    pushed(place)
    assert "there is no pushed model 3; pushed: 17" in refused(place, "3")


def test_scores_that_are_missing_or_of_another_training(tmp_path: Path) -> None:
    place = Workdir(tmp_path)
    pushed(place)
    with pytest.raises(SqidflowError, match="no held-out scores that can be read"):
        kept_scores(place, "17")


def test_query_counts_are_of_the_log_and_need_enough_lines(tmp_path: Path) -> None:
    place = Workdir(tmp_path)
    log = place.var / "search" / "queries-20260101-1-0.jsonl"
    log.parent.mkdir(parents=True)
    line = {"query_id": "0", "user_query": "Red Kettle ", "timestamp": "2026-01-01T00:00:00Z"}
    log.write_text(json.dumps(line) + "\n{broken\n")
    assert query_counts(place) == {}
    log.write_text("".join(json.dumps({**line, "query_id": f"{n}"}) + "\n" for n in range(100)) + "{broken\n")
    assert query_counts(place) == {"red kettle": 100}


def test_an_installation_without_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sqidflow.evaluation.behaviour.audit.find_spec", lambda name: None)
    assert "scikit-learn is not installed; install the extra" in refused(Workdir(tmp_path)).removeprefix("audit: ")
