"""What the end-to-end tests share beside the tiny workdir of ``tests/conftest.py``."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.command_line import TINY_SAMPLE, TINY_TRAINING, Answer, command, must, sqidflow

__all__ = ["TINY_SAMPLE", "TINY_TRAINING", "Answer", "command", "must", "sqidflow"]


@pytest.fixture
def copy_of(tmp_path: Path) -> Callable[[Path], Path]:
    """Copy a workdir, so that a test may spoil it. Absolute paths inside the registry are applied anew."""

    def copy(source: Path) -> Path:
        target = tmp_path / "copy"
        shutil.copytree(source / "data", target / "data")
        must(sqidflow("features", "--workdir", str(target)))
        return target

    return copy
