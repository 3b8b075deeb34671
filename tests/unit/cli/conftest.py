"""A shop that begins: forty products in a CSV file."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from sqidflow.cli.quickstart import Started, make_searchable
from sqidflow.core.settings import load_settings
from sqidflow.core.workdir import Workdir
from tests.fixtures.small_index import invented_catalogue


def write_products(file: Path, count: int = 40) -> Path:
    catalogue = invented_catalogue()
    rows = zip(catalogue.product_ids[:count], catalogue.titles, catalogue.brands, catalogue.colors)
    lines = [f'{product},"{title}",{brand},{color}' for product, title, brand, color in rows]
    file.write_text("\n".join(["product_id,product_title,product_brand,product_color", *lines, ""]))
    return file


@pytest.fixture(scope="session")
def quickstarted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Workdir, Started, list[str]]:
    """A workdir after `quickstart --no-serve`, what came of it and what was said. Not to be written to."""
    root = tmp_path_factory.mktemp("shop")
    said: list[str] = []
    products = write_products(root / "products.csv")
    place = Workdir(root / "work")
    return place, make_searchable(place, load_settings(place.root, (), {}), products, None, said.append), said


@pytest.fixture
def shop(quickstarted: tuple[Workdir, Started, list[str]], tmp_path: Path) -> Workdir:
    """A copy of it, to be spoiled."""
    return Workdir(Path(shutil.copytree(quickstarted[0].root, tmp_path / "work")))
