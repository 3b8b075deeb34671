"""What `serve` does before it serves: an index that is up to date, or else the one that is there."""

from __future__ import annotations

import os
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from sqidflow.cli.serving import provide_index
from sqidflow.core.errors import DataError, SqidflowError, WorkdirBusyError
from sqidflow.core.settings import Settings, load_settings
from sqidflow.core.workdir import Workdir
from sqidflow.data import formats
from sqidflow.data.encode import encode_missing
from sqidflow.data.importing import import_files
from sqidflow.data.prepare import prepare
from sqidflow.encoders.offline import OfflineEncoder
from sqidflow.indexing.make import make_index
from sqidflow.indexing.publish import verify
from sqidflow.search.index import index_folders
from tests.unit.cli.conftest import write_products


def settings_of(place: Workdir) -> Settings:
    return load_settings(place.root, (), {})


def provided(place: Workdir) -> list[str]:
    said: list[str] = []
    provide_index(place, settings_of(place), None, said.append)
    return said


def replace_data(place: Workdir, count: int = 30) -> None:
    import_files(place.data, products=write_products(place.root / "products.csv", count))
    encode_missing(place.data, OfflineEncoder())


def test_the_index_that_is_up_to_date_is_taken(shop: Workdir) -> None:
    before = index_folders(shop.index)
    assert provided(shop) == [] and index_folders(shop.index) == before


def test_other_products_give_another_index(shop: Workdir) -> None:
    (old,) = index_folders(shop.index)
    replace_data(shop)
    prepare(shop.data, shop.artifacts)
    said = provided(shop)
    assert said[0] == "building the product index" and "30 products" in said[1]
    newest = index_folders(shop.index)[0]
    assert newest != old and verify(newest).products == 30


def test_an_index_is_not_built_of_data_that_were_replaced_since(shop: Workdir) -> None:
    replace_data(shop)
    with pytest.raises(DataError, match="is not the file that the features were made with; run `sqidflow features`"):
        make_index(shop, settings_of(shop))
    assert len(index_folders(shop.index)) == 1
    said = provided(shop)
    assert "cannot be brought up to date" in said[0] and "sqidflow features" in said[0]
    assert said[1].startswith("serving the one that is there") and "40 products" in said[1]


@pytest.mark.parametrize("name", ["prepared/products.parquet", "features/products.parquet", "prepared/pairs.csv"])
def test_an_index_is_not_built_of_features_that_were_changed_since(shop: Workdir, name: str) -> None:
    file = shop.artifacts / name
    file.write_bytes(file.read_bytes() + b"x")
    with pytest.raises(DataError, match=f"{name}: is not the file that the features were made with"):
        make_index(shop, settings_of(shop))


def test_a_stale_index_is_served_while_another_verb_holds_the_workdir(shop: Workdir) -> None:
    replace_data(shop)
    prepare(shop.data, shop.artifacts)
    with shop.locked("run"):
        said = provided(shop)
    assert f"process {os.getpid()} (run) is already writing to this workdir" in said[0]
    assert said[1].startswith("serving the one that is there") and "zero-shot, not trained, 40 products" in said[1]


def test_without_any_index_the_cause_is_said(shop: Workdir) -> None:
    import shutil

    shutil.rmtree(shop.index)
    with shop.locked("run"), pytest.raises(WorkdirBusyError):
        provided(shop)
    replace_data(shop)
    with pytest.raises(DataError, match="features were made with"):
        provided(shop)


def test_a_damaged_index_is_built_anew(shop: Workdir) -> None:
    (folder,) = index_folders(shop.index)
    (folder / "text.npy").write_bytes(b"damaged")
    with pytest.raises(SqidflowError, match=r"text\.npy"):
        verify(folder)
    assert provided(shop)[0] == "building the product index"
    assert index_folders(shop.index) == [folder] and verify(folder).products == 40


def test_a_damaged_index_is_not_what_is_served_instead(shop: Workdir) -> None:
    (folder,) = index_folders(shop.index)
    (folder / "vectors.faiss").write_bytes(b"damaged")
    with shop.locked("run"), pytest.raises(WorkdirBusyError):
        provided(shop)


def test_the_same_data_give_the_index_that_is_there_and_other_settings_another(shop: Workdir) -> None:
    first = make_index(shop, settings_of(shop))
    assert first.cached and first.meta.model == "zero-shot, not trained"
    other = make_index(shop, load_settings(shop.root, ["search.candidates=50"], {}))
    assert not other.cached and other.folder != first.folder
    assert make_index(shop, settings_of(shop)).cached
    assert index_folders(shop.index)[0] == first.folder, "of several the service takes the one asked for last"


def test_another_encoder_than_the_datas_is_refused(shop: Workdir) -> None:
    """The offline encoder under other names is another encoder; its own vectors of another length are too."""
    with pytest.raises(SqidflowError, match="unknown encoder 'nobody'"):
        make_index(shop, load_settings(shop.root, ["search.encoder=nobody"], {}))


def test_a_model_that_is_not_there_is_named(shop: Workdir) -> None:
    with pytest.raises(SqidflowError, match="there is no pushed model 17"):
        make_index(shop, settings_of(shop), version="17")
    assert Path(shop.index).is_dir()


def test_products_without_a_vector_are_counted_and_not_in_the_index(shop: Workdir) -> None:
    file = shop.data / formats.PRODUCT_FEATURES_FILE
    pq.write_table(pq.read_table(file).slice(3), file)
    report = prepare(shop.data, shop.artifacts)
    assert (report.products, report.products_without_vector) == (40, 3)
    made = make_index(shop, settings_of(shop))
    assert (made.meta.products, made.meta.without_vector, made.meta.not_judged) == (37, 3, 37)
