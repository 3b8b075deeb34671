"""The MLflow store of a workdir and its page, as tests ask them."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.command_line import wait_until

REGISTERED = "sqidflow"
"""The name under which blessed models are registered."""


def store_of(workdir: Path) -> str:
    return f"sqlite:///{workdir / 'var' / 'mlflow' / 'mlflow.db'}"


def client_of(workdir: Path) -> Any:
    import mlflow

    return mlflow.MlflowClient(tracking_uri=store_of(workdir), registry_uri=store_of(workdir))


def experiment_id(workdir: Path) -> str:
    return client_of(workdir).get_experiment_by_name("sqidflow").experiment_id


@contextmanager
def mlflow_ui(workdir: Path) -> Iterator[str]:
    """The address of `mlflow ui` as `make mlflow` starts it, on the workdir's store."""
    port = _free_port()
    address, log = f"http://127.0.0.1:{port}", workdir / "var" / "mlflow_ui.log"
    options = ("--backend-store-uri", store_of(workdir), "--host", "127.0.0.1", "--port", str(port), "--workers", "1")
    with log.open("w") as stream:
        server = subprocess.Popen(
            [sys.executable, "-m", "mlflow", "ui", *options],
            stdout=stream,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            cwd=workdir / "var",
        )

    def ready() -> bool:
        assert server.poll() is None, log.read_text()[-3000:]
        return _answers(address)

    try:
        wait_until(ready, "MLflow answers")
        yield address
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(30)


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def _answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"{address}/health", timeout=5) as answer:
            return answer.status == 200
    except (urllib.error.URLError, TimeoutError, ConnectionError):
        return False
