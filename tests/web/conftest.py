"""The built page."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.web.node import DIST, npm


@pytest.fixture(scope="session")
def dist(packages: None) -> Path:
    """The page, built anew from this checkout."""
    built = npm("run", "build")
    assert built.returncode == 0, built.stdout[-3000:] + built.stderr[-3000:]
    return DIST
