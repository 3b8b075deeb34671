"""Verbs typed again where a run has finished: from the cache, registering nothing twice, with other models, and what
MLflow's page shows of it all in a real browser.

These tests write into the workdir in which the session's run was made, the only one whose cache is valid. No other file
uses it, and pytest-xdist is told to keep a file in one process.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from modules.model import MODELS
from sqidflow.ranking import features
from sqidflow.ranking.model_names import DEFAULT_MODEL
from tests.command_line import TINY_TRAINING, must, sqidflow
from tests.pipeline.mlflow_store import REGISTERED, client_of, experiment_id, mlflow_ui
from tests.web.node import npm
from tests.workdirs import ORIGINAL, Shared, relocated_document, workdir_place


@dataclass(frozen=True)
class Again:
    """What the verbs did when they were typed a second time, with a half-copied push lying in the workdir."""

    workdir: Path
    first: dict[str, Any]
    second: dict[str, Any]
    pairs_before: tuple[bytes, int]
    pairs_after: tuple[bytes, int]
    aliases_before: dict[str, str]
    half_push: Path


def _pairs(workdir: Path) -> tuple[bytes, int]:
    file = workdir / "artifacts" / "prepared" / "pairs.csv"
    return file.read_bytes(), file.stat().st_mtime_ns


@pytest.fixture(scope="module")
def original_run(session_root: Path, shared_run: Shared) -> tuple[Path, dict[str, Any]]:
    """The workdir of the session's run, and the run's document."""
    place = workdir_place(session_root, ORIGINAL)
    return place, relocated_document(shared_run.documents["run"], shared_run.workdir, place)


@pytest.fixture(scope="module")
def again(original_run: tuple[Path, dict[str, Any]]) -> Again:
    workdir, first = original_run
    before, aliases = _pairs(workdir), client_of(workdir).get_registered_model(REGISTERED).aliases
    half = workdir / "artifacts" / "serving" / "999"
    (half / "variables").mkdir(parents=True)
    must(sqidflow("features", "--workdir", str(workdir)))
    after = _pairs(workdir)
    second = must(sqidflow("run", "--json", "--workdir", str(workdir), settings=TINY_TRAINING)).json
    return Again(workdir, first, second, before, after, aliases, half)


def test_second_run_comes_from_the_cache(again: Again) -> None:
    assert all(part["cached"] for part in again.second["components"]), again.second["components"]
    for key in ("ndcg", "blessed", "pushed_model", "mlflow_run_id", "energy_kwh"):
        assert again.second[key] == again.first[key]


def test_features_again_changes_nothing(again: Again) -> None:
    assert again.pairs_after == again.pairs_before


def test_a_run_from_the_cache_registers_nothing_twice(again: Again) -> None:
    client = client_of(again.workdir)
    of_run = f"name='{REGISTERED}' and run_id='{again.first['mlflow_run_id']}'"
    assert len(client.search_model_versions(of_run)) == 1
    assert client.get_registered_model(REGISTERED).aliases == again.aliases_before


def test_unfinished_push_is_not_taken_for_a_model(again: Again) -> None:
    half = again.half_push
    assert not half.exists() and half.with_name(".unfinished-999").is_dir()
    assert again.second["pushed_model"] == again.first["pushed_model"]


def test_query_mlp_is_shown_for_what_it_is(again: Again) -> None:
    """The original network never sees the product: no better than chance, not blessed, not pushed."""
    place = ("--workdir", str(again.workdir))
    document = must(sqidflow("run", "--json", "--model", "query_mlp", *place, settings=TINY_TRAINING)).json
    ran = {part["name"]: part["cached"] for part in document["components"]}
    assert ran["Transform"] and not ran["Trainer"]
    assert document["blessed"] is False and document["pushed_model"] is None
    chance = document["ndcg"]["random"]
    assert document["ndcg"]["query_mlp"]["mean"] < document["ndcg"]["cosine"]["low"] or (
        document["ndcg"]["query_mlp"]["mean"] < chance["high"]
    )
    table = must(sqidflow("evaluate", "--json", *place)).json
    assert {DEFAULT_MODEL, "query_mlp", "cosine", "random", "oracle"} <= {row["method"] for row in table["rows"]}
    assert document["mlflow_run_id"] != again.first["mlflow_run_id"]


@pytest.fixture(scope="module")
def compared(again: Again) -> dict[str, Any]:
    """What `compare --json` printed."""
    return must(sqidflow("compare", "--json", "--workdir", str(again.workdir), settings=TINY_TRAINING)).json


def test_a_comparison_is_a_run_with_one_below_it_for_each_row(again: Again, compared: dict[str, Any]) -> None:
    """With the numbers that the command printed."""
    workdir, document = again.workdir, compared
    rows = {row["model"]: row for row in document["rows"]}
    assert set(rows) >= {*features.BASELINES, "bm25", "oracle", *(m for m, spec in MODELS.items() if spec.learns)}
    assert document["default"] == DEFAULT_MODEL
    on = again.first["data_hash"][:8]
    runs = {run.info.run_name: run for run in client_of(workdir).search_runs([experiment_id(workdir)])}
    parent = runs[f"compare on {on}"]
    for method, row in rows.items():
        run = runs[f"compare {method} on {on}"]
        assert run.data.tags["mlflow.parentRunId"] == parent.info.run_id
        assert run.data.metrics["test_ndcg"] == pytest.approx(row["ndcg"]["mean"])
        assert run.data.metrics["test_ndcg_low"] == pytest.approx(row["ndcg"]["low"])
        assert run.data.metrics.get("energy_kwh") == row["energy_kwh"]
        assert {"test_ndcg_at_5", "test_precision_at_10", "test_mrr", "test_top5_accuracy"} <= set(run.data.metrics)

    learned = {model for model, spec in MODELS.items() if spec.learns}
    trained = [run for run in runs.values() if run.data.tags.get("method") in learned]
    assert len(trained) == len(learned)
    assert all({"test_ece", "test_macro_f1", "test_lift_over_cosine"} <= set(run.data.metrics) for run in trained)


def test_browser_shows_the_run_and_every_row_of_a_comparison(
    packages: None,
    chromium: str,
    again: Again,
    compared: dict[str, Any],
    tmp_path: Path,
) -> None:
    first_run, document = again.first, compared
    on = first_run["data_hash"][:8]
    name = f"{DEFAULT_MODEL} on {on}"
    with mlflow_ui(again.workdir) as address:
        runs = f"{address}/#/experiments/{experiment_id(again.workdir)}/runs"
        # The page shows all digits; the last ones may be rounded another way.
        ndcg = f"{first_run['ndcg'][DEFAULT_MODEL]['mean']:.10f}"[:-2]
        rows = [f"compare {row['model']} on {on}" for row in document["rows"]]
        of_run = [name, ndcg, "blessed", "Finished", "test_ndcg"]
        visits = [
            visit("runs", runs, [name], tmp_path),
            visit("run", f"{runs}/{first_run['mlflow_run_id']}", of_run, tmp_path),
            visit("comparison", runs, [f"compare on {on}", *rows], tmp_path, unfold=True),
        ]
        done = npm("run", "e2e:mlflow", E2E_MLFLOW=json.dumps(visits), CHROMIUM=chromium)
        assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    for page in visits:
        pixels = np.asarray(Image.open(page["screenshot"]).convert("L"), float)
        assert pixels.std() > 8, f"{page['screenshot']} is nearly one tone"


def visit(name: str, url: str, shows: list[str], folder: Path, unfold: bool = False) -> dict[str, Any]:
    """A page for web/e2e/mlflow.e2e.ts to look at."""
    return {"name": name, "url": url, "shows": shows, "unfold": unfold, "screenshot": str(folder / f"{name}.png")}
