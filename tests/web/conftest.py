"""Node's packages, the built page and a browser."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.browser import find_chromium
from tests.web.node import DIST, npm, why_no_node, why_no_packages


@pytest.fixture(scope="session")
def packages() -> None:
    """Node and the page's packages; what needs them is skipped where they are not to be had, in CI it fails."""
    if missing := why_no_node():
        pytest.skip(missing)
    if failed := why_no_packages():
        if os.environ.get("CI"):
            pytest.fail(failed)
        pytest.skip(failed)


@pytest.fixture(scope="session")
def dist(packages: None) -> Path:
    """The page, built anew from this checkout."""
    built = npm("run", "build")
    assert built.returncode == 0, built.stdout[-3000:] + built.stderr[-3000:]
    return DIST


@pytest.fixture(scope="session")
def chromium() -> str:
    program = find_chromium()
    if program is None:
        pytest.skip("no Chromium is installed: `make test-web` installs it on Debian")
    return program
