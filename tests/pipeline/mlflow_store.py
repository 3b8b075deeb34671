"""The MLflow store of a workdir, as tests ask it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

REGISTERED = "sqidflow"
"""The name under which blessed models are registered."""


def store_of(workdir: Path) -> str:
    return f"sqlite:///{workdir / 'var' / 'mlflow' / 'mlflow.db'}"


def client_of(workdir: Path) -> Any:
    import mlflow

    return mlflow.MlflowClient(tracking_uri=store_of(workdir), registry_uri=store_of(workdir))
