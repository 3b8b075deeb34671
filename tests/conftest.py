"""Fixtures that more than one package's tests use."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from sqidflow.core.quiet import KERAS_3
from sqidflow.data.sample import SampleSpec, write_sample
from tests.command_line import TINY_SAMPLE, TINY_TRAINING, must, sqidflow
from tests.fixtures.small_index import SmallIndex, build_small_index

REPOSITORY = Path(__file__).resolve().parents[1]
os.environ.update(KERAS_3)  # before any test imports TensorFlow: what tf.keras is is decided then


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder with excerpts of the published data; tests that need it are skipped where it is not."""
    folder = Path(os.environ.get("SQIDFLOW_REAL_DATA") or REPOSITORY.parent / "shared" / "real")
    if not (folder / "esci_us_train_sample.csv").is_file():
        pytest.skip(f"no real data in {folder}: set SQIDFLOW_REAL_DATA to a folder with it")
    return folder


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small synthetic sample: 40 queries, 300 products, 400 pairs, vectors of 64. Not to be written to."""
    folder = tmp_path_factory.mktemp("tiny") / "data"
    write_sample(folder, SampleSpec(queries=40, products=300, pairs_per_query=10, dim=64))
    return folder


@pytest.fixture(scope="session")
def small_index(tmp_path_factory: pytest.TempPathFactory) -> SmallIndex:
    """An index of fifty invented products and what searches it, made without training. Not to be written to."""
    return build_small_index(tmp_path_factory.mktemp("small") / "index")


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workdir with a tiny sample and its features."""
    folder = tmp_path_factory.mktemp("tiny")
    must(sqidflow("data", "sample", "--workdir", str(folder), settings=TINY_SAMPLE))
    must(sqidflow("features", "--workdir", str(folder)))
    return folder


@pytest.fixture(scope="session")
def first_run(prepared: Path) -> dict[str, Any]:
    """The document of the first whole run in ``prepared``, through the real command line."""
    return must(sqidflow("run", "--json", "--workdir", str(prepared), settings=TINY_TRAINING)).json
