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

from tests.browser import Browser, find_chromium

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
            [sys.executable, "-m", "mlflow", "ui", "--backend-store-uri", store, "--host", "127.0.0.1",
             "--port", str(port), "--workers", "1"],
            stdout=stream, stderr=subprocess.STDOUT, start_new_session=True, cwd=prepared / "var",
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
    name = f"pointwise on {first_run['data_hash'][:8]}"
    runs = f"{mlflow_ui}/#/experiments/{experiment_id(prepared / 'var' / 'mlflow' / 'mlflow.db')}/runs"
    browser.open(runs)
    browser.wait_for(name)
    screenshot(browser, prepared / "var" / "mlflow_runs.png")

    browser.open(f"{runs}/{first_run['mlflow_run_id']}")
    # The page shows all digits; the last ones may be rounded another way.
    ndcg = f"{first_run['ndcg']['pointwise']['mean']:.10f}"[:-2]
    browser.wait_for(name, "test_ndcg", ndcg, "blessed", "Finished")
    row = "[...document.querySelectorAll('a')].find(link => link.innerText === 'test_ndcg')"
    browser.evaluate(f"{row}.scrollIntoView({{block: 'center'}})")
    screenshot(browser, prepared / "var" / "mlflow_run.png")
