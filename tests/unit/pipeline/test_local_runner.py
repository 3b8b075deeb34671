"""What a run is filed under, which pushed folders are whole, and what it says at its end."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from pipeline import local_runner
from pipeline.local_runner import ComponentRun, RunResult, pipeline_name
from sqidflow.cli.progress import why_not_blessed
from sqidflow.core.model_files import ONNX_FILE, PUSHED_MARK
from sqidflow.core.pushes import record_push
from sqidflow.core.settings import Settings, SplitSettings
from sqidflow.core.workdir import Workdir
from sqidflow.data.prepare import OUTPUTS
from sqidflow.ranking import features
from sqidflow.ranking.retrieval import Fusion
from sqidflow.tracking import registry


def test_models_of_another_split_or_length_are_filed_apart() -> None:
    dims, split = {features.QUERY_VEC: 96}, SplitSettings()
    name = pipeline_name(dims, split)
    assert features.contract() in name
    assert pipeline_name(dims, SplitSettings()) == name
    others = [
        pipeline_name({features.QUERY_VEC: 768}, split),
        pipeline_name(dims, SplitSettings(train=split.train + 1)),
        pipeline_name(dims, SplitSettings(test=split.test + 1)),
    ]
    assert len({name, *others}) == 4


def test_only_a_push_that_nobody_knows_is_set_aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    workdir = Workdir(tmp_path)
    for name in ("1", "2", "3"):
        (workdir.serving / name).mkdir(parents=True)
        (workdir.serving / name / "saved_model.pb").write_text(name)
    (workdir.serving / "2" / PUSHED_MARK).touch()
    monkeypatch.setattr(local_runner, "_pushes", lambda _: [workdir.serving / "1"])  # of whatever pipeline
    local_runner._set_unfinished_pushes_aside(workdir)
    assert sorted(path.name for path in workdir.serving.iterdir()) == [".unfinished-3", "1", "2"]
    assert (workdir.serving / ".unfinished-3" / "saved_model.pb").read_text() == "3"


@pytest.mark.parametrize(
    ("model", "cosine", "min_lift", "words"),
    [
        (0.80, 0.79, 0.0, "worse than the last blessed"),
        (0.79, 0.79, 0.0, "0.790 is not above the zero-shot cosine's 0.790"),
        (0.80, 0.79, 0.05, "is not above the zero-shot cosine's 0.790 by more than 0.05"),
        (0.70, 0.79, -1.0, "worse than the last blessed"),
    ],
)
def test_the_rule_that_was_failed_is_named(model: float, cosine: float, min_lift: float, words: str) -> None:
    report = {"model": "pointwise", "ndcg": {"pointwise": {"mean": model}, "cosine": {"mean": cosine}}}
    assert words in why_not_blessed(report, min_lift)


@pytest.mark.parametrize(("newest", "champion"), [("2", True), ("1", False)])
def test_the_champion_is_the_newest_push_whenever_it_ran(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, newest: str, champion: bool
) -> None:
    """A push from the cache is the champion where its own run was killed before it could say so, and is none where
    another model was pushed since, whatever the clock said of its folder's name."""
    workdir, told = Workdir(tmp_path), []
    for name in dict.fromkeys(("3", "2", newest)):
        (workdir.serving / name).mkdir(parents=True)
        (workdir.serving / name / ONNX_FILE).touch()
        record_push(workdir.serving / name)
    monkeypatch.setattr(local_runner, "latest_output", lambda *_: SimpleNamespace(uri=str(tmp_path / "model")))
    monkeypatch.setattr(registry, "register", lambda *arguments: told.append(arguments[-1]))
    report = {
        "blessed": True, "mlflow_run_id": "r1", "model": "pointwise", "data_hash": "d", "feature_service": "s",
        "fusion": Fusion.of("lexical").as_json(),
        "ndcg": {"pointwise": {"mean": 0.9}}, "energy_kwh": None,
    }  # fmt: skip
    prepared = SimpleNamespace(dims={features.QUERY_VEC: 8}, outputs=dict.fromkeys(OUTPUTS, "sha"))
    result = RunResult("pointwise", [ComponentRun("Pusher", 0.0, True, 1.0)], report, workdir.serving / "2")
    local_runner._register(workdir, Settings(), "pipeline", SimpleNamespace(), prepared, result)
    assert told == [champion]
