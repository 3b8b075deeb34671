"""Fixtures that more than one package's tests use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sqid.sample import SampleSpec, write_sample

REPOSITORY = Path(__file__).resolve().parents[1]


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
