"""Filters, facets, order, pages and batches over HTTP, on the small index."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient

from sqidflow.core.settings import load_settings
from sqidflow.core.workdir import Workdir
from sqidflow.search import schemas
from sqidflow.search.api import routes_search
from sqidflow.search.api.app import create_app
from tests.fixtures.small_index import PICTURE, SmallIndex

QUERY = {"query": "red kettle", "threshold": 0}


@pytest.fixture(scope="module")
def client(small_index: SmallIndex, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """One service for all of these: none of them writes."""
    place = Workdir(tmp_path_factory.mktemp("attributes"))
    shutil.copytree(small_index.folder, place.index / "5a11")
    settings = load_settings(place.root, ["search.cache_entries=0"], {})
    with TestClient(create_app(place, settings), raise_server_exceptions=False) as client:
        yield client


def post(client: TestClient, status: int = 200, **more) -> dict:
    answer = client.post("/v1/predict", json={**QUERY, "k": 100, **more})
    assert answer.status_code == status, answer.text
    return answer.json()


def ids(answer: dict) -> list[str]:
    return [result["product_id"] for result in answer["results"]]


def test_get_post_and_form_filter_alike(client) -> None:
    body = {"category": {"any": ["home"]}, "price": {"min": 20, "max": 120}, "in_stock": {"any": [True]}}
    posted = post(client, filters={"attributes": body}, sort="price:asc")
    texts = ["category:home", "price:20..120", "in_stock:true"]
    got = client.get("/v1/search_a", params={**QUERY, "k": 100, "filter": texts, "sort": "price:asc"}).json()
    assert ids(posted) == ids(got) != []
    prices = [result["attributes"]["price"] for result in posted["results"]]
    assert prices == sorted(prices) and all(20 <= price <= 120 for price in prices)
    assert {result["attributes"]["category"] for result in posted["results"]} == {"Home"}
    form = {"k": "100", "filter": texts, "sort": "price:asc", "threshold": "0"}
    pictured = client.post("/v1/search_a_image", data=form, files={"image": ("a.png", PICTURE)}).json()
    assert sorted(ids(pictured)) == sorted(ids(posted))


def test_the_old_parameters_are_two_of_the_attributes(client) -> None:
    old = post(client, filters={"brand": ["Acme"], "color": ["red"]})
    new = post(client, filters={"attributes": {"brand": {"any": ["acme"]}, "color": {"any": ["RED"]}}})
    assert ids(old) == ids(new) != []


@pytest.mark.parametrize(
    ("body", "field", "what"),
    [
        ({"filters": {"attributes": {"prise": {"any": [1]}}}}, "filters.prise", "known: brand, color, price"),
        ({"filters": {"attributes": {"price": {"any": ["cheap"]}}}}, "filters.price", "'cheap' is not a number"),
        ({"filters": {"attributes": {"price": {}}}}, "filters.price", "no value and no range"),
        ({"sort": "price"}, "sort", "price:asc"),
        ({"sort": "prise:asc"}, "sort", "known: brand, color, price"),
        ({"offset": 100}, "offset", "beyond the 100 candidates"),
    ],
)
def test_what_does_not_fit_is_named(client, body, field, what) -> None:
    answer = client.post("/v1/predict", json={**QUERY, **body})
    assert answer.status_code == 422 and answer.headers["content-type"] == "application/problem+json"
    (error,) = answer.json()["errors"]
    assert error["field"] == field and what in error["detail"]


@pytest.mark.parametrize("text", ["price", "nothing:1", "price:abc"])
def test_a_filter_in_the_address_that_does_not_fit(client, text) -> None:
    answer = client.get("/v1/search_a", params={**QUERY, "filter": text})
    assert answer.status_code == 422 and answer.json()["errors"]


def test_facets_are_counted_where_they_are_asked_for(client) -> None:
    assert post(client)["facets"] == []
    answer = post(client, facets=True, filters={"attributes": {"category": {"any": ["Home"]}}})
    facets = {facet["name"]: facet for facet in answer["facets"]}
    assert list(facets) == ["brand", "color", "price", "category", "in_stock", "released"]
    assert facets["category"]["values"] == [
        {"value": "Out & about", "products": 30, "selected": False},
        {"value": "Home", "products": 20, "selected": True},
    ]
    assert facets["price"]["unit"] == "EUR" and facets["price"]["products"] == 19
    assert sum(value["products"] for value in facets["in_stock"]["values"]) == 20
    assert facets["released"]["least"] == "2024-01-01"


def test_pages_follow_each_other_to_the_end(client) -> None:
    whole = ids(post(client, sort="price:desc"))
    pages: list[str] = []
    offset: int | None = 0
    while offset is not None:
        page = post(client, sort="price:desc", k=20, offset=offset)
        assert [result["rank"] for result in page["results"]][:1] == [offset + 1]
        assert page["total"] == 50 and page["offset"] == offset
        pages += ids(page)
        offset = page["next_offset"]
    assert pages == whole and len(whole) == 50


def test_an_interleaved_answer_has_no_pages(client) -> None:
    for more in ({"offset": 5}, {"sort": "price:asc"}):
        answer = client.get("/v1/search_best", params={**QUERY, "strategy": "interleave", **more})
        assert answer.status_code == 422 and next(iter(more)) == answer.json()["errors"][0]["field"]
    plain = client.get("/v1/search_best", params={**QUERY, "strategy": "interleave"}).json()
    assert plain["total"] is None and plain["next_offset"] is None


def test_an_explanation_is_of_the_answer_under_the_same_filters(client) -> None:
    filters = {"attributes": {"category": {"any": ["Home"]}}}
    first = post(client, filters=filters)["results"][0]
    asked = {"query": QUERY["query"], "product_id": first["product_id"], "filters": filters}
    explained = client.post("/v1/explain", json=asked)
    assert explained.status_code == 200 and explained.json()["score"] == pytest.approx(first["score"], abs=1e-5)
    outside = {**asked, "filters": {"attributes": {"category": {"any": ["Out & about"]}}}}
    assert client.post("/v1/explain", json=outside).status_code == 404


def test_a_product_has_its_attributes(client) -> None:
    product = client.get("/v1/product", params={"id": "P01"}).json()
    assert product["attributes"][0] == {"name": "price", "kind": "number", "unit": "EUR", "value": 27.75}
    assert product["attributes"][-1]["value"] == "https://shop.example/1"
    names = [each["name"] for each in client.get("/v1/product", params={"id": "P00"}).json()["attributes"]]
    assert "price" not in names, "the first has no price"


def test_the_catalogue_says_what_it_has(client) -> None:
    attributes = {each["name"]: each for each in client.get("/v1/facets").json()["attributes"]}
    assert list(attributes) == ["brand", "color", "price", "category", "in_stock", "released", "link"]
    assert attributes["price"] == {"name": "price", "kind": "number", "unit": "EUR", "facet": True, "sortable": True}
    assert not attributes["link"]["facet"] and not attributes["category"]["sortable"]


class TestBatch:
    def test_each_is_answered_as_by_itself_and_errors_are_its_own(self, client) -> None:
        searches = [
            QUERY, {"query": "blue desk lamp", "k": 3}, {**QUERY, "filters": {"attributes": {"prise": {"any": [1]}}}},
            {"query": "qwrtzp xkcdfg"}, {**QUERY, "offset": 100},
        ]  # fmt: skip
        answer = client.post("/v1/search/batch", json={"searches": searches}, headers={"x-request-id": "batch-1"})
        assert answer.status_code == 200
        answers = schemas.BatchResponse.model_validate(answer.json()).answers
        assert [each.problem.status if each.problem else 200 for each in answers] == [200, 200, 422, 200, 422]
        for at in (0, 1, 3):
            alone = client.post("/v1/predict", json=searches[at]).json()
            assert [each.product_id for each in answers[at].answer.results] == ids(alone)
        assert "known: brand" in answers[2].problem.errors[0].detail
        assert answers[3].answer.no_answer.code == "nothing_fits"
        assert [each.answer.request_id for each in answers if each.answer] == ["batch-1-1", "batch-1-2", "batch-1-4"]

    def test_its_bounds(self, client) -> None:
        assert client.post("/v1/search/batch", json={"searches": []}).status_code == 422
        assert client.post("/v1/search/batch", json={"searches": [QUERY] * 101}).status_code == 422
        whole = client.post("/v1/search/batch", json={"searches": [QUERY] * 100})
        assert whole.status_code == 200 and len(whole.json()["answers"]) == 100
        bad = client.post("/v1/search/batch", json={"searches": [QUERY, {"query": "x", "k": 0}]})
        assert bad.status_code == 422 and bad.json()["errors"][0]["field"] == "searches.1.k"
        assert client.post("/v1/search/batch", content=b"x", headers={"content-type": "text/plain"}).status_code == 415

    def test_what_its_time_does_not_reach_is_said(self, client, monkeypatch) -> None:
        class Clock:
            now = 0.0

            @classmethod
            def monotonic(cls) -> float:
                cls.now += 13
                return cls.now

        monkeypatch.setattr(routes_search, "time", Clock)
        answers = client.post("/v1/search/batch", json={"searches": [QUERY] * 4}).json()["answers"]
        assert [each["problem"] and each["problem"]["status"] for each in answers] == [None, None, 503, 503]
        assert "30 s" in answers[3]["problem"]["detail"]
