"""The MLflow UI in a real browser, on the store that a run has filled."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from modules.model import MODELS
from sqidflow.ranking import features
from sqidflow.ranking.model_names import DEFAULT_MODEL
from tests.browser import Browser, find_chromium
from tests.command_line import TINY_TRAINING, must, sqidflow

START_S = 120


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"{address}/health", timeout=5) as answer:
            return answer.status == 200
    except (urllib.error.URLError, TimeoutError, ConnectionError):
        return False


@pytest.fixture(scope="module")
def mlflow_ui(prepared: Path, first_run: dict[str, Any]) -> Iterator[str]:
    """The address of `mlflow ui` as `make mlflow` starts it, on the tiny workdir's store."""
    port = free_port()
    address, log = f"http://127.0.0.1:{port}", prepared / "var" / "mlflow_ui.log"
    store = f"sqlite:///{prepared / 'var' / 'mlflow' / 'mlflow.db'}"
    with log.open("w") as stream:
        server = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "mlflow",
                "ui",
                "--backend-store-uri",
                store,
                "--host",
                "127.0.0.1",
                "--port",
                str(port),
                "--workers",
                "1",
            ],
            stdout=stream,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            cwd=prepared / "var",
        )
    try:
        until = time.monotonic() + START_S
        while not answers(address):
            assert server.poll() is None and time.monotonic() < until, log.read_text()[-3000:]
            time.sleep(0.3)
        yield address
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(30)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    program = find_chromium()
    if program is None:
        pytest.skip("no Chromium here: install it (Debian: `apt-get install chromium`) to see the MLflow UI")
    with Browser(program, tmp_path_factory.mktemp("chromium")) as page:
        yield page


def screenshot(browser: Browser, file: Path) -> np.ndarray:
    browser.screenshot(file)
    pixels = np.asarray(Image.open(file).convert("L"), float)
    assert pixels.std() > 8, f"{file} is nearly one tone"
    return pixels


def experiment_id(store: Path) -> str:
    import mlflow

    client = mlflow.MlflowClient(f"sqlite:///{store}")
    return client.get_experiment_by_name("sqidflow").experiment_id


def test_browser_shows_the_run_and_its_ndcg(
    browser: Browser, mlflow_ui: str, prepared: Path, first_run: dict[str, Any]
) -> None:
    name = f"{DEFAULT_MODEL} on {first_run['data_hash'][:8]}"
    runs = f"{mlflow_ui}/#/experiments/{experiment_id(prepared / 'var' / 'mlflow' / 'mlflow.db')}/runs"
    browser.open(runs)
    browser.wait_for(name)
    screenshot(browser, prepared / "var" / "mlflow_runs.png")

    browser.open(f"{runs}/{first_run['mlflow_run_id']}")
    # The page shows all digits; the last ones may be rounded another way.
    ndcg = f"{first_run['ndcg'][DEFAULT_MODEL]['mean']:.10f}"[:-2]
    browser.wait_for(name, "test_ndcg", ndcg, "blessed", "Finished")
    row = "[...document.querySelectorAll('a')].find(link => link.innerText === 'test_ndcg')"
    browser.evaluate(f"{row}.scrollIntoView({{block: 'center'}})")
    screenshot(browser, prepared / "var" / "mlflow_run.png")


def test_browser_shows_every_row_of_a_comparison(
    browser: Browser, mlflow_ui: str, prepared: Path, first_run: dict[str, Any]
) -> None:
    """A run of the comparison and one below it for each row, with the numbers that the command printed."""
    import mlflow

    document = must(sqidflow("compare", "--json", "--workdir", str(prepared), settings=TINY_TRAINING)).json
    rows = {row["model"]: row for row in document["rows"]}
    assert set(rows) >= {*features.BASELINES, "bm25", "oracle", *(m for m, spec in MODELS.items() if spec.learns)}
    assert document["default"] == DEFAULT_MODEL
    store = prepared / "var" / "mlflow" / "mlflow.db"
    client, experiment, on = mlflow.MlflowClient(f"sqlite:///{store}"), experiment_id(store), first_run["data_hash"][:8]
    runs = {run.info.run_name: run for run in client.search_runs([experiment])}
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

    browser.open(f"{mlflow_ui}/#/experiments/{experiment}/runs")
    browser.wait_for(f"compare on {on}")
    # The page keeps a parent's children folded, behind buttons that have a picture and no name.
    unfold = "[...document.querySelectorAll('[role=row] button')].filter(b => !b.innerText && !b.ariaLabel)"
    browser.wait_until(f"(() => {{ const all = {unfold}; all.forEach(b => b.click()); return all.length }})()")
    browser.wait_for(*(f"compare {method} on {on}" for method in rows))
    screenshot(browser, prepared / "var" / "mlflow_comparison.png")
