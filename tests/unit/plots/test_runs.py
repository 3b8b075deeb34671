"""MLflow's runs as a notebook sees them."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from sqidflow.core.errors import MissingInputError
from sqidflow.plots import runs
from sqidflow.tracking.runs import RunContext, TrackedRun


def log(context: RunContext, model: str, ndcg: float | None, epochs: int = 3) -> str:
    run = TrackedRun(context)
    run.params({"model": model})
    for epoch in range(1, epochs + 1):
        run.metrics({"loss": 1 / epoch, "val_loss": 1.1 / epoch, "val_ndcg": 0.7 + epoch / 100}, step=epoch)
    run.metrics({"best_epoch": 2, "energy_kwh": 1e-4, "duration_s": 9.0})
    if ndcg is not None:
        run.metrics({"test_ndcg": ndcg, "test_ndcg_low": ndcg - 0.1, "test_ndcg_high": ndcg + 0.1})
        run.tags({"blessed": "true"})
    run.close()
    return run.run_id


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> RunContext:
    folder = tmp_path_factory.mktemp("mlflow")
    return RunContext(
        tracking_uri=f"sqlite:///{folder / 'mlflow.db'}",
        artifact_root=folder.as_uri(),
        experiment="sqidflow",
        run_name="a run",
        git_commit="c",
        data_hash="new.dir",
        feature_service="ranker_v1",
        country_iso_code="DEU",
    )


def test_runs_on_the_newest_data_and_nothing_else(context: RunContext, tmp_path: Path) -> None:
    file = tmp_path / "run_context.json"
    with pytest.raises(MissingInputError, match="make run"):
        runs.read_runs(file)
    context.write(file)
    log(dataclasses.replace(context, data_hash="old.dir"), "pointwise", 0.5)
    first, second = log(context, "query_mlp", 0.7), log(context, "pointwise", 0.9)
    log(context, "pointwise", None)  # trained, never evaluated
    found = runs.read_runs(file)
    assert [(run.run_id, run.model, run.data_hash) for run in found] == [
        (second, "pointwise", "new.dir"),
        (first, "query_mlp", "new.dir"),
    ]
    epochs, values = found[0].curves["val_ndcg"]
    assert epochs.tolist() == [1, 2, 3] and values == pytest.approx([0.71, 0.72, 0.73])
    assert [run.run_id for run in runs.read_runs(file, limit=1)] == [second]
    dataclasses.replace(context, experiment="another").write(file)
    with pytest.raises(MissingInputError, match="no experiment 'another'"):
        runs.read_runs(file)


def model_run(number: int, **metrics: float) -> runs.ModelRun:
    curve = (np.array([1, 2, 3]), np.array([0.5, 0.7, 0.6]))
    return runs.ModelRun(
        f"{number:032x}",
        "pointwise",
        datetime(2024, 1, number, tzinfo=UTC),
        "data.dir",
        "true",
        {"test_ndcg": 0.8, **metrics},
        dict.fromkeys(runs.CURVES, curve),
    )


def test_table_gives_watt_hours_and_what_is_not_known_as_nan() -> None:
    table = runs.runs_table([model_run(1, energy_kwh=2e-4, best_epoch=2, test_E_f1_score=0.5), model_run(2)])
    assert table["Wh"].tolist() == pytest.approx([0.2, np.nan], nan_ok=True)
    assert table["epochs"].tolist() == [3, 3] and table["best epoch"].tolist() == [2, 0]
    assert table["NDCG"].tolist() == [0.8, 0.8]


def test_figures_have_a_row_or_a_line_a_run() -> None:
    trained = [model_run(1, energy_kwh=2e-4, best_epoch=2, test_ndcg_random=0.6), model_run(2)]
    [quality] = runs.quality_figure(trained).axes
    assert [label.get_text() for label in quality.get_yticklabels()] == [run.label for run in reversed(trained)]
    loss, _ = runs.curves_figure(trained).axes
    rings = [line for line in loss.lines if line.get_marker() == "o" and len(line.get_xdata())]
    assert [ring.get_xdata().tolist() for ring in rings] == [[2]]
    bars, against = runs.energy_figure(trained).axes
    assert [text.get_text() for text in bars.texts] == ["0.200 Wh", "not measured"]
    assert sum(line.get_marker() == "o" for line in against.lines) == 1


def test_confusion_shares_are_of_the_judged_class() -> None:
    figure = runs.confusion_figure({"pointwise": np.diag([1, 0, 3, 4]), "query_mlp": np.full((4, 4), 2)})
    panels = [axes for axes in figure.axes if axes.get_title()]
    assert [axes.get_title() for axes in panels] == ["pointwise", "query_mlp"]
    assert panels[0].texts[0].get_text() == "1\n100%" and panels[0].texts[5].get_text() == "0\n0%"
    assert {text.get_text() for text in panels[1].texts} == {"2\n25%"}
