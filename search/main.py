"""What uvicorn starts in each worker: the app of the settings that `sqidflow serve` left in the environment."""

from __future__ import annotations

import os
from pathlib import Path

from fastapi import FastAPI

from pipeline.settings import CHECKOUT, WORKDIR_VARIABLE, load_settings
from pipeline.workdir import Workdir
from search.app import create_app


def app() -> FastAPI:
    """The application, for ``uvicorn --factory search.main:app``."""
    root = Path(os.environ.get(WORKDIR_VARIABLE) or CHECKOUT).expanduser().absolute()
    return create_app(Workdir(root), load_settings(root))
