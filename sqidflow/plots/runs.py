"""MLflow runs as a table and as figures: quality, learning curves, energy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sqidflow.core.errors import MissingInputError, shown_url
from sqidflow.core.files import require
from sqidflow.ranking import features
from sqidflow.tracking.runs import RunContext

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

CURVES = ("loss", "val_loss", "val_ndcg")
SEARCHED = 200
BASELINES = {"random": "random", "cosine_text": "text cosine", "cosine_image": "picture cosine", "cosine": "best blend"}


@dataclass(frozen=True)
class ModelRun:
    """One training: ``metrics`` are the last values in MLflow, ``curves`` name -> (epochs [e], values [e])."""

    run_id: str
    model: str
    started: datetime
    data_hash: str
    blessed: str
    metrics: dict[str, float]
    curves: dict[str, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)

    @property
    def label(self) -> str:
        return f"{self.model} {self.run_id[:6]}"


def read_runs(context_file: Path, limit: int = 8) -> list[ModelRun]:
    """The last ``limit`` evaluated trainings on the same data as the newest one, newest first.

    Runs on other data are left out, because their held-out queries differ. ``context_file`` is the RunContext that the
    pipeline wrote; it names the store and the experiment.

    Raises:
        MissingInputError: no context file, no experiment, or no evaluated training in it.
    """
    import mlflow

    context = RunContext.read(require(context_file))
    client = mlflow.MlflowClient(tracking_uri=context.tracking_uri)
    experiment = client.get_experiment_by_name(context.experiment)
    store = shown_url(context.tracking_uri, "tracking.uri")
    if experiment is None:
        raise MissingInputError(f"no experiment {context.experiment!r}", file=store, hint="run `make run` first")
    evaluated = client.search_runs(
        [experiment.experiment_id], "metrics.test_ndcg >= 0", max_results=SEARCHED, order_by=["start_time DESC"]
    )
    runs = [run for run in evaluated if "model" in run.data.params]
    if not runs:
        raise MissingInputError(
            f"no evaluated training in experiment {context.experiment!r}",
            file=store,
            hint="run `make run` first",
        )
    data_hash = runs[0].data.tags.get("data_hash", "")
    return [
        ModelRun(
            run_id=run.info.run_id,
            model=run.data.params["model"],
            started=datetime.fromtimestamp(run.info.start_time / 1000, UTC),
            data_hash=data_hash,
            blessed=run.data.tags.get("blessed", ""),
            metrics=dict(run.data.metrics),
            curves={name: _history(client, run.info.run_id, name) for name in CURVES},
        )
        for run in runs
        if run.data.tags.get("data_hash", "") == data_hash
    ][:limit]


def _history(client: Any, run_id: str, name: str) -> tuple[np.ndarray, np.ndarray]:
    points = sorted((point.step, point.value) for point in client.get_metric_history(run_id, name))
    return np.array([step for step, _ in points]), np.array([value for _, value in points])


def runs_table(runs: Sequence[ModelRun]) -> pd.DataFrame:
    """One row per training: start time, NDCG with its interval, macro F1, epochs, energy, blessing."""
    import pandas as pd

    rows = []
    for run in runs:
        f1 = {label: run.metrics.get(f"test_{label}_f1_score", np.nan) for label in features.CLASSES}
        rows.append(
            {
                "run": run.run_id[:8],
                "model": run.model,
                "started (UTC)": f"{run.started:%Y-%m-%d %H:%M}",
                "NDCG": _round(run.metrics.get("test_ndcg")),
                "95 %": "{:.3f} to {:.3f}".format(
                    run.metrics.get("test_ndcg_low", np.nan), run.metrics.get("test_ndcg_high", np.nan)
                ),
                "best blend": _round(run.metrics.get("test_ndcg_cosine")),
                "macro F1": _round(float(np.mean(list(f1.values())))),
                "best epoch": int(run.metrics.get("best_epoch", 0)),
                "epochs": len(run.curves.get("loss", ((), ()))[0]),
                "Wh": _round(1000 * run.metrics.get("energy_kwh", np.nan)),
                "g CO2e": _round(1000 * run.metrics.get("emissions_kg_co2e", np.nan)),
                "seconds": _round(run.metrics.get("duration_s"), 1),
                "blessed": run.blessed,
            }
        )
    return pd.DataFrame(rows).set_index("run")


def _round(value: float | None, digits: int = 4) -> float:
    return float("nan") if value is None else round(value, digits)


def quality_figure(runs: Sequence[ModelRun]) -> Figure:
    """NDCG of each training with its interval, newest on top; lines are the baselines of the newest training."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 0.42 * len(runs) + 1.9), layout="constrained")
    axes = figure.subplots()
    for row, run in enumerate(reversed(runs)):
        mean = run.metrics["test_ndcg"]
        low, high = run.metrics.get("test_ndcg_low", mean), run.metrics.get("test_ndcg_high", mean)
        color = "tab:green" if run.blessed == "true" else "tab:blue"
        axes.errorbar(mean, row, xerr=[[mean - low], [high - mean]], fmt="o", capsize=3, color=color)
        axes.annotate(f"{mean:.3f}", (mean, row), xytext=(0, 6), textcoords="offset points", ha="center", fontsize=8)
    for number, (name, label) in enumerate(BASELINES.items()):
        value = runs[0].metrics.get(f"test_ndcg_{name}")
        if value is not None:
            axes.axvline(
                value,
                color=f"{0.75 - 0.2 * number:.2f}",
                ls=("--", ":", "-.", "-")[number],
                lw=1.4,
                label=f"{label} {value:.3f}",
            )
    axes.plot([], [], "o", color="tab:green", label="blessed")
    axes.plot([], [], "o", color="tab:blue", label="not blessed")
    axes.set_yticks(range(len(runs)), [run.label for run in reversed(runs)])
    axes.set_ylim(-0.6, len(runs) - 0.2)
    axes.set(
        xlabel="NDCG on the held-out queries, 95 % intervals",
        title=f"Trainings on data {runs[0].data_hash[:8]}, the newest on top",
    )
    axes.legend(fontsize=8, loc="center left", bbox_to_anchor=(1.01, 0.5))
    return figure


def curves_figure(runs: Sequence[ModelRun]) -> Figure:
    """Loss (training dashed, validation solid) and validation NDCG by epoch; a ring marks the best checkpoint."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.0), layout="constrained")
    loss, ndcg = figure.subplots(1, 2)
    for number, run in enumerate(runs):
        color = f"C{number}"
        for axes, name, style in ((loss, "loss", "--"), (loss, "val_loss", "-"), (ndcg, "val_ndcg", "-")):
            epochs, values = run.curves.get(name, (np.array([]), np.array([])))
            label = run.label if name != "loss" else None
            axes.plot(epochs, values, style, color=color, lw=1.3, marker="." if len(epochs) < 2 else None, label=label)
            best = epochs == run.metrics.get("best_epoch")
            if name != "loss":
                axes.plot(epochs[best], values[best], "o", mfc="none", color=color, ms=8)
    loss.plot([], [], "--", color="0.4", label="on the training pairs")
    loss.set(xlabel="epoch", ylabel="cross-entropy", title="Loss: validation solid, training dashed")
    ndcg.set(xlabel="epoch", ylabel="NDCG", title="NDCG on the validation queries, best epoch ringed")
    for axes in (loss, ndcg):
        axes.grid(alpha=0.3)
        axes.xaxis.get_major_locator().set_params(integer=True)
    loss.legend(fontsize=8)
    return figure


def energy_figure(runs: Sequence[ModelRun]) -> Figure:
    """Energy of each training, and its NDCG against that energy."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 0.3 * len(runs) + 3.0), layout="constrained")
    bars, against = figure.subplots(1, 2)
    energies = np.array([1000 * run.metrics.get("energy_kwh", np.nan) for run in runs])
    rows = np.arange(len(runs))[::-1]
    bars.barh(rows, np.nan_to_num(energies), color=[f"C{number}" for number in range(len(runs))])
    for row, energy, run in zip(rows, energies, runs):
        seconds = run.metrics.get("duration_s")
        text = f"{energy:.3f} Wh" if np.isfinite(energy) else "not measured"
        text += f", {seconds:.0f} s" if seconds is not None else ""
        end = np.nan_to_num(energy)
        bars.annotate(text, (end, row), xytext=(4, 0), textcoords="offset points", va="center", fontsize=8)
    bars.set_yticks(rows, [run.label for run in runs])
    bars.set(xlabel="energy of the training, Wh", title="Energy of each training")
    bars.margins(x=0.35)
    bars.set_xlim(left=0)
    bars.set_ylim(len(runs) - max(len(runs), 3) - 0.6, len(runs) - 0.4)  # a single bar must not fill the panel
    for number, (run, energy) in enumerate(zip(runs, energies)):
        if np.isfinite(energy):
            against.plot(energy, run.metrics["test_ndcg"], "o", color=f"C{number}", label=run.label)
    baseline = runs[0].metrics.get("test_ndcg_cosine")
    if baseline is not None:
        against.axhline(baseline, color="0.5", ls="--", lw=1, label="best blend, no training")
    against.set(xlabel="energy of the training, Wh", ylabel="NDCG, held-out queries", title="Quality against energy")
    against.grid(alpha=0.3)
    against.margins(x=0.15, y=0.15)
    against.set_xlim(left=0)
    against.legend(fontsize=8)
    return figure


def confusion_figure(confusions: dict[str, Sequence[Sequence[int]]]) -> Figure:
    """One confusion matrix per model: rows judged classes, columns predicted ones; cells show count and row share."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3.9 * max(len(confusions), 1) + 0.6, 4.0), layout="constrained")
    ticks = range(len(features.CLASSES))
    for axes, (model, confusion) in zip(figure.subplots(1, len(confusions), squeeze=False).flat, confusions.items()):
        counts = np.asarray(confusion)
        shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        for (row, column), count in np.ndenumerate(counts):
            axes.text(
                column,
                row,
                f"{count}\n{shares[row, column]:.0%}",
                ha="center",
                va="center",
                fontsize=9,
                color="white" if shares[row, column] > 0.5 else "black",
            )
        axes.set(xlabel="predicted", ylabel="judged", title=model)
        axes.set_xticks(ticks, features.CLASSES)
        axes.set_yticks(ticks, features.CLASSES)
    figure.colorbar(image, ax=figure.axes, label="share of the judged class", shrink=0.8)
    return figure
