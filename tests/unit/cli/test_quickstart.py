"""From a products file to a search."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from pipeline.local_runner import pairs_to_train_on
from sqidflow.cli.quickstart import Started, make_searchable
from sqidflow.core.errors import DataError
from sqidflow.core.settings import load_settings
from sqidflow.core.workdir import Workdir
from sqidflow.search.engine import Request
from sqidflow.search.state import open_service
from tests.unit.cli.conftest import write_products


def test_a_products_file_ends_in_a_search(quickstarted: tuple[Workdir, Started, list[str]]) -> None:
    place, started, said = quickstarted
    assert (started.imported.products, started.prepared.products_not_judged) == (40, 40)
    assert started.index.meta.products == started.index.meta.not_judged == 40
    assert started.index.meta.calibration["source"] == "words of titles"
    assert started.as_dict()["seconds"].keys() == {"import", "encode", "prepare", "index"}
    assert [line.split(":")[0] for line in said] == ["import", "encode", "prepare", "index"]
    with closing(open_service(place, load_settings(place.root, ["search.query_log=false"], {}), {})) as service:
        for product, title in (("P00", "Acme red kettle, model 0"), ("P39", "Borealis white desk lamp, model 39")):
            assert service.a.core.search(Request(title, k=1)).hits[0].product_id == product
        assert service.a.versions.model_name == "zero-shot, not trained"


def test_training_says_that_it_has_nothing_to_learn_from(shop: Workdir) -> None:
    with pytest.raises(DataError, match="no product is judged yet: there is nothing to train on; bring judgements"):
        pairs_to_train_on(shop, load_settings(shop.root, (), {}))


def test_judgements_that_are_there_are_not_dropped(shop: Workdir, tiny_data: Path, tmp_path: Path) -> None:
    (shop.data / "shopping_queries_dataset_examples.parquet").write_bytes(b"somebody's")
    products = write_products(tmp_path / "more.csv")
    with pytest.raises(DataError, match="would drop the judgements"):
        make_searchable(shop, load_settings(shop.root, (), {}), products, None, lambda text: None)


def test_a_file_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    place = Workdir(tmp_path / "work")
    with pytest.raises(DataError, match=r"nowhere\.csv: does not exist") as caught:
        make_searchable(place, load_settings(place.root, (), {}), tmp_path / "nowhere.csv", None, lambda text: None)
    assert "\n" not in caught.value.message and not place.data.exists()
