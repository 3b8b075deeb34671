"""Routes beside searching, on the small index."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from sqidflow.core.settings import load_settings
from sqidflow.core.workdir import Workdir
from sqidflow.search.api.app import create_app
from tests.fixtures.small_index import SmallIndex


@pytest.fixture
def client(small_index: SmallIndex, tmp_path: Path) -> Iterator[TestClient]:
    place = Workdir(tmp_path)
    shutil.copytree(small_index.folder, place.index / "5a11")
    (place.var / "search").mkdir(parents=True)
    (place.var / "search" / "experiments.db").write_bytes(b"no database at all" * 100)
    with TestClient(create_app(place, load_settings(tmp_path, (), {})), raise_server_exceptions=False) as made:
        yield made


def test_a_damaged_store_of_feedback_costs_no_search(client: TestClient) -> None:
    click = {"request_id": "abc", "kind": "click", "product_id": "P00"}
    for answer in (client.post("/feedback", json=click), client.get("/experiments/report")):
        assert answer.status_code == 503 and answer.headers["retry-after"] == "30"
        assert "cannot be stored or read now" in answer.json()["detail"] and "/" not in answer.json()["detail"]
    found = client.post("/predict", json={"query": "red kettle", "k": 2})
    assert found.status_code == 200 and len(found.json()["results"]) == 2


def test_feedback_on_an_answer_that_could_not_be_stored_says_so(client: TestClient, tmp_path: Path) -> None:
    """Not that there is no such answer: the disk was full, or the store damaged, when it was given."""
    answer = client.post("/predict", json={"query": "red kettle", "k": 2}).json()
    click = {"request_id": answer["request_id"], "kind": "click", "product_id": answer["results"][0]["product_id"]}
    client.app.state.service.log.flush()
    (tmp_path / "var" / "search" / "experiments.db").unlink()
    refused = client.post("/feedback", json=click)
    assert refused.status_code == 503 and "could not be stored when it was given" in refused.json()["detail"]
    assert client.post("/feedback", json={**click, "request_id": "unknown"}).status_code == 404
    later = client.post("/predict", json={"query": "blue kettle", "k": 2}).json()
    click = {"request_id": later["request_id"], "kind": "click", "product_id": later["results"][0]["product_id"]}
    assert client.post("/feedback", json=click).status_code == 202


def test_the_catalogue_has_judged_and_unjudged_products(client: TestClient) -> None:
    facets = client.get("/facets").json()
    assert facets["products"] == 50 and {each["value"] for each in facets["brands"]} == {"Acme", "Borealis"}
    assert client.get("/products/P00").json()["judged_for"] == [{"query_id": 7, "query": "red kettle", "label": "E"}]
    assert client.get("/products/P49").json()["judged_for"] == []
    assert client.get("/products/P50").status_code == 404


def test_versions_name_the_untrained_ranker(client: TestClient) -> None:
    variants = client.get("/version").json()["variants"]
    assert [each["description"] for each in variants] == [
        "zero-shot, not trained, hybrid retrieval",
        "zero-shot, not trained, vectors only",
    ]
