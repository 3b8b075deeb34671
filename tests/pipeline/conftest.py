"""One tiny workdir, run once through the real command line, shared by the end-to-end tests."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

TINY_SAMPLE = ("sample.queries=120", "sample.products=500", "sample.pairs_per_query=14", "sample.dim=96")
TINY_TRAINING = ("train.epochs=12",)


@dataclass(frozen=True)
class Answer:
    """What a command ended with."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def command(*arguments: str, settings: tuple[str, ...] = ()) -> list[str]:
    overrides = [part for setting in settings for part in ("--set", setting)]
    return [sys.executable, "-m", "pipeline.cli", *arguments, *overrides]


def sqidflow(*arguments: str, settings: tuple[str, ...] = (), **options: Any) -> Answer:
    """Run the command line in a process of its own."""
    done = subprocess.run(
        command(*arguments, settings=settings), capture_output=True, text=True, timeout=500, **options
    )
    return Answer(done.returncode, done.stdout, done.stderr)


def must(answer: Answer) -> Answer:
    assert answer.code == 0, answer.err[-3000:]
    return answer


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workdir with the tiny sample and its features."""
    folder = tmp_path_factory.mktemp("tiny")
    must(sqidflow("data", "sample", "--workdir", str(folder), settings=TINY_SAMPLE))
    must(sqidflow("features", "--workdir", str(folder)))
    return folder


@pytest.fixture(scope="session")
def first_run(prepared: Path) -> dict[str, Any]:
    """The document of the first whole run in ``prepared``."""
    return must(sqidflow("run", "--json", "--workdir", str(prepared), settings=TINY_TRAINING)).json


@pytest.fixture
def copy_of(tmp_path: Path) -> Callable[[Path], Path]:
    """Copy a workdir, so that a test may spoil it. Absolute paths inside the registry are applied anew."""

    def copy(source: Path) -> Path:
        target = tmp_path / "copy"
        shutil.copytree(source / "data", target / "data")
        must(sqidflow("features", "--workdir", str(target)))
        return target

    return copy
