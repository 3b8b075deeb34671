"""The application on the small index, with an index of ids that end like routes."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from sqidflow.core.settings import load_settings
from sqidflow.core.workdir import Workdir
from sqidflow.search.api.app import create_app
from tests.fixtures.small_index import SmallIndex


@pytest.fixture
def served(small_index: SmallIndex, tmp_path: Path) -> Iterator[TestClient]:
    """A service of its own for each test: feedback is counted."""
    place = Workdir(tmp_path)
    shutil.copytree(small_index.folder, place.index / "5a11")
    settings = load_settings(tmp_path, ["search.rate_limit=400/minute"], {})
    with TestClient(create_app(place, settings), raise_server_exceptions=False) as client:
        yield client
