"""Products may be called whatever a catalogue calls them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pytest
from fastapi.testclient import TestClient

from sqidflow.core.settings import load_settings
from sqidflow.core.workdir import Workdir
from sqidflow.indexing.publish import seal
from sqidflow.search.api import page
from sqidflow.search.api.app import create_app
from sqidflow.search.index import Meta, ProductIndex
from tests import workdirs
from tests.api.conftest import problem

# Above all ids of the sample, in order, as rows are.
ODD = ("X 1 & 2?#", "a/b/c", "caf\u00e9 100% \U0001f45f", "x" * 200)
ODD = tuple(sorted(ODD, key=str.encode))


@pytest.fixture(scope="module")
def renamed(session_root: Path, indexed: Path) -> Iterator[TestClient]:
    """The service, with odd ids for the last products."""
    with workdirs.copied(session_root, indexed) as workdir:
        rename_last_products(workdir)
        with TestClient(create_app(Workdir(workdir), load_settings(workdir, (), {}))) as client:
            yield client


def rename_last_products(workdir: Path) -> None:
    [index] = (workdir / "artifacts" / "index").iterdir()
    ids = np.load(index / "ids.npy").astype("S400")
    opened = ProductIndex(index)
    pictured = [row for row in range(len(ids)) if opened.has_picture(row)]
    ids[-len(ODD) :] = [product.encode() for product in ODD]
    assert (ids[:-1] < ids[1:]).all() and set(range(len(ids) - len(ODD), len(ids))) & set(pictured)
    np.save(index / "ids.npy", ids)
    facets = json.loads((index / "facets.json").read_text())
    facets["sample_pictures"] = [ids[row].decode() for row in pictured[-len(ODD) :]]
    (index / "facets.json").write_text(json.dumps(facets))
    seal(index, replace(Meta.read(index), files={}))


@pytest.mark.parametrize("product", ODD)
def test_a_product_of_any_name_is_there(renamed: TestClient, product: str) -> None:
    path = f"/products/{quote(product, safe='')}"
    found = renamed.get(path)
    assert found.status_code == 200 and found.json()["product_id"] == product, found.text
    near = renamed.get(f"{path}/similar", params={"k": 3})
    assert near.status_code == 200 and near.json()["product_id"] == product and len(near.json()["results"]) == 3
    if found.json()["image"]:
        assert renamed.get(found.json()["image"]).headers["content-type"] == "image/png"
    problem(renamed.get(f"/features/{quote(product, safe='')}"), 404)  # the feature store calls it as the sample does
    by_id = renamed.get("/v1/product", params={"id": product})
    assert by_id.status_code == 200 and by_id.json() == found.json()
    answer = renamed.post("/predict", json={"query": found.json()["title"], "threshold": 0, "k": 100}).json()
    assert product in [each["product_id"] for each in answer["results"]]
    click = {"request_id": answer["request_id"], "kind": "click", "product_id": product}
    assert renamed.post("/feedback", json=click).status_code == 202


def test_paths_of_pictures_can_be_asked_for(renamed: TestClient) -> None:
    paths = renamed.get("/facets").json()["sample_pictures"]
    assert any("%" in path for path in paths)
    for path in paths:
        assert renamed.get(path).headers["content-type"] == "image/png"


@pytest.mark.parametrize("product", ["a\x00b", "a\x1fb", "a\x9fb", "x" * 201])
def test_names_that_none_has(renamed: TestClient, product: str) -> None:
    problem(renamed.get(f"/products/{quote(product, safe='')}"), 422)
    problem(renamed.post("/feedback", json={"request_id": "x", "kind": "click", "product_id": product}), 422)


def test_the_page_has_a_place_for_each(tmp_path: Path) -> None:
    from fastapi import FastAPI

    (tmp_path / "index.html").write_text("<title>page</title>")
    made = FastAPI()
    page.install(made, tmp_path)
    assert TestClient(made).get("/p/a%2Fb%2Fc").text == "<title>page</title>"
