"""What the API promises of every route: its paths, its errors, its description."""

from __future__ import annotations

import json
import shutil
import sqlite3
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from sqidflow.core.settings import Settings, load_settings
from sqidflow.core.workdir import Workdir
from sqidflow.indexing.publish import seal
from sqidflow.search.api.app import create_app
from sqidflow.search.index import Meta
from sqidflow.search.schemas import EXAMPLE_QUERY
from tests.fixtures.small_index import SmallIndex, drawn
from tests.unit.monitoring.ubi_schemas import problems_of

JSON = {"content-type": "application/json"}


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> dict:
    return create_app(Workdir(tmp_path_factory.mktemp("nothing")), Settings()).openapi()


def test_paths_have_a_version_and_the_old_ones_answer_the_same(served: TestClient, document: dict) -> None:
    paths = set(document["paths"])
    assert {path for path in paths if not path.startswith("/v1/")} == {"/healthz", "/readyz", "/metrics"}
    for path in (
        "/v1/facets",
        "/v1/experiments/report",
        "/v1/judgements",
        "/v1/product?id=P00",
        "/v1/search_a?query=kettle",
    ):
        new, old = served.get(path), served.get(path.removeprefix("/v1"))
        assert new.status_code == old.status_code == 200
        volatile = {"request_id", "timings", "cached"}
        new_body, old_body = ({k: v for k, v in each.json().items() if k not in volatile} for each in (new, old))
        assert new_body == old_body


def test_the_description_is_complete(document: dict) -> None:
    operations = [operation for methods in document["paths"].values() for operation in methods.values()]
    ids = [operation["operationId"] for operation in operations]
    assert len(set(ids)) == len(ids) and all(each.replace("_", "").isalpha() and len(each) < 25 for each in ids)
    assert [p["name"] for o in operations for p in o.get("parameters", []) if not p.get("description")] == []
    fields = {
        f"{name}.{field}": each
        for name, schema in document["components"]["schemas"].items()
        for field, each in schema.get("properties", {}).items()
    }
    assert len(fields) > 100 and [name for name, each in fields.items() if not each.get("description")] == []
    assert document["components"]["securitySchemes"]["ApiKey"]["name"] == "X-API-Key"
    assert document["paths"]["/v1/feedback"]["post"]["security"] == [{"ApiKey": []}, {}]


def test_the_examples_are_one_query(document: dict, served: TestClient) -> None:
    examples = document["components"]["schemas"]["SearchRequest"]["properties"]["query"]["examples"]
    assert examples == [EXAMPLE_QUERY]
    answer = served.post("/v1/predict", json={"query": EXAMPLE_QUERY, "k": 1}).json()
    assert "red backpack" in answer["results"][0]["title"]


def test_the_description_is_a_page_that_loads_nothing_else(served: TestClient, document: dict) -> None:
    page = served.get("/docs")
    assert page.status_code == 200 and page.headers["content-type"].startswith("text/html")
    assert "http://" not in page.text and "https://" not in page.text and "<script" not in page.text
    for path, methods in document["paths"].items():
        for method in methods:
            assert f"<code>{method.upper()} {path}</code>" in page.text
    assert served.get("/docs.css").headers["content-type"].startswith("text/css")


@pytest.mark.parametrize(
    "path", ["/healthz", "/v1/facets", "/v1/search_a?query=kettle", "/v1/product/image?id=P00", "/docs"]
)
def test_head_is_get_without_the_body(served: TestClient, path: str) -> None:
    head, get = served.head(path), served.get(path)
    assert head.status_code == get.status_code == 200 and head.content == b"" and get.content
    assert head.headers["content-type"] == get.headers["content-type"]
    assert served.head("/v1/product?id=none").status_code == 404


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/v1/search_a?query=kettle&colour=red", "colour: there is no such query parameter; do you mean color?"),
        ("/search_best?query=kettle&brnad=Acme", "do you mean brand?"),
        ("/v1/facets?limit=3", "limit: there is no such query parameter; this route has none"),
        ("/v1/product/similar?id=P00&n=3", "known: id, k"),
    ],
)
def test_unknown_parameters_are_refused(served: TestClient, path: str, said: str) -> None:
    answer = served.get(path)
    assert answer.status_code == 422 and said in answer.json()["detail"]
    assert answer.json()["errors"][0]["field"] in path


def test_unknown_form_fields_and_parameters_beside_a_body_are_refused(served: TestClient) -> None:
    image = served.get("/v1/product/image?id=P00").content
    answer = served.post("/v1/predict-image", files={"image": image}, data={"colour": "red"})
    assert answer.status_code == 422 and "colour: there is no such form field; do you mean color?" in answer.text
    assert served.post("/v1/predict-image", files={"image": image}, data={"color": "red"}).status_code == 200
    assert served.post("/v1/predict?k=3", json={"query": "kettle"}).status_code == 422


def test_malformed_json_is_located(served: TestClient) -> None:
    body = '{"query": "kettle",\n  "k": 3,\n  "explain" true}'
    answer = served.post("/v1/predict", content=body, headers=JSON)
    assert answer.status_code == 422
    assert answer.json()["detail"] == "body: no JSON at line 3, column 13: Expecting ':' delimiter"


def test_every_error_is_a_problem(served: TestClient) -> None:
    answers = [
        served.get("/v1/product?id=none"), served.get("/nowhere"), served.delete("/v1/predict"),
        served.get("/v1/search_a"), served.post("/v1/predict", content=b"x", headers={"content-type": "text/plain"}),
        served.get("/assets/nowhere.js"),
    ]  # fmt: skip
    assert [answer.status_code for answer in answers] == [404, 404, 405, 422, 415, 404]
    for answer in answers:
        assert answer.headers["content-type"] == "application/problem+json"
        body = answer.json()
        assert body["type"] == "about:blank" and body["title"] and body["detail"]
        assert body["status"] == answer.status_code and body["request_id"] == answer.headers["x-request-id"]
    assert answers[3].json()["errors"] == [{"field": "query", "detail": "Field required"}]


def test_a_request_id_is_taken_where_it_is_one(served: TestClient) -> None:
    for given, kept in (("abc-123", True), ("x" * 64, True), ("x" * 65, False), ("a b", False), ("a/../b", False)):
        answer = served.get("/v1/facets", headers={"X-Request-Id": given})
        assert (answer.headers["x-request-id"] == given) is kept
    answer = served.get("/v1/search_a?query=kettle", headers={"X-Request-Id": "mine-1"})
    assert answer.json()["request_id"] == "mine-1"


def test_other_sites_may_read_the_request_id_and_when_to_come_again(tmp_path: Path) -> None:
    settings = load_settings(tmp_path, ["search.cors_origins=['https://shop.example']"], {})
    answer = TestClient(create_app(Workdir(tmp_path), settings)).get(
        "/readyz", headers={"Origin": "https://shop.example"}
    )
    exposed = {name.strip() for name in answer.headers["access-control-expose-headers"].split(",")}
    assert answer.status_code == 503 and exposed == {"X-Request-Id", "Retry-After"}


def test_long_answers_are_compressed_and_pictures_are_not(served: TestClient) -> None:
    answer = served.get("/v1/search_a?query=kettle&k=50&threshold=0")
    assert answer.headers["content-encoding"] == "gzip" and "accept-encoding" in answer.headers["vary"].lower()
    assert int(answer.headers["content-length"]) < len(answer.content) / 3
    plain = served.get("/v1/search_a?query=kettle&k=50&threshold=0", headers={"accept-encoding": "identity"})
    assert "content-encoding" not in plain.headers
    assert "content-encoding" not in served.get("/v1/product/image?id=P00").headers


def test_the_rate_limit_leaves_out_what_a_page_loads_by_itself(small_index, tmp_path: Path) -> None:
    shutil.copytree(small_index.folder, Workdir(tmp_path).index / "5a11")
    settings = load_settings(tmp_path, ["search.rate_limit=2/minute"], {})
    with TestClient(create_app(Workdir(tmp_path), settings)) as client:
        for _ in range(4):
            for path in (
                "/",
                "/v1/product/image?id=P00",
                "/products/P00/image",
                "/assets/x.js",
                "/favicon.svg",
                "/readyz",
                "/docs",
            ):
                assert client.get(path).status_code != 429
        assert [client.get("/v1/facets").status_code for _ in range(3)] == [200, 200, 429]
        assert client.get("/facets").status_code == 429


def test_headers_are_bounded(served: TestClient) -> None:
    answer = served.get("/healthz", headers={f"x-{number}": "y" * 1000 for number in range(80)})
    assert answer.status_code == 431 and answer.json()["detail"] == "The headers may have 65,536 bytes."


def test_the_query_log_has_what_was_asked(served: TestClient, tmp_path: Path) -> None:
    body = {
        "query": "kettle",
        "k": 3,
        "threshold": 0.1,
        "filters": {"brand": ["Acme"], "color": ["red"], "with_picture": True},
    }
    served.post("/v1/predict", json=body)
    served.app.state.service.log.flush()
    (file,) = (tmp_path / "var" / "search").glob("queries-*.jsonl")
    line = json.loads(file.read_text().splitlines()[-1])
    asked = line["query_attributes"]
    assert (asked["k"], asked["threshold"], asked["brands"], asked["colors"]) == (3, 0.1, ["Acme"], ["red"])
    assert asked["with_picture"] is True and asked["verbatim"] is False


def _search(served: TestClient, query: str = "red kettle") -> dict:
    return served.get("/v1/search_a", params={"query": query, "k": 3}).json()


def test_feedback_is_of_an_answer_and_its_products(served: TestClient) -> None:
    answer = _search(served)
    product = answer["results"][0]["product_id"]
    click = {"request_id": answer["request_id"], "kind": "click", "product_id": product, "client": "browser-1"}
    assert served.post("/v1/feedback", json=click).status_code == 202
    assert served.post("/v1/feedback", json={**click, "request_id": "unknown"}).status_code == 404
    other = served.post("/v1/feedback", json={**click, "product_id": "P49"})
    assert other.status_code == 422 and other.json()["errors"][0]["field"] == "product_id"


def test_an_event_is_stored_once_with_its_place_model_and_session(served: TestClient, tmp_path: Path) -> None:
    visitor = {"X-Client-Id": "browser-1", "X-Session-Id": "visit-01"}
    about = {"query": "red kettle", "k": 2}
    answers = [
        served.get("/v1/search_best", params={**about, "strategy": "interleave"}, headers=visitor).json(),
        served.post("/v1/predict", json={**about, "offset": 2}, headers=visitor).json(),
    ]
    for answer in answers:
        for duplicate in (False, True):
            click = {
                "request_id": answer["request_id"],
                "kind": "view",
                "product_id": answer["results"][1]["product_id"],
                "client": "browser-1",
                "session": "visit-01",
                "event_id": f"event-{answer['offset']:03}",
            }
            assert served.post("/v1/feedback", json=click).json() == {"accepted": True, "duplicate": duplicate}
    assert served.get("/v1/search_a?query=x", headers={"X-Client-Id": "no id"}).status_code == 422
    with sqlite3.connect(tmp_path / "var" / "search" / "experiments.db") as store:
        feedback = store.execute("SELECT kind, position, session FROM feedback ORDER BY position").fetchall()
        exposures = store.execute("SELECT model, client, session, first_rank FROM exposures ORDER BY first_rank")
        model = answers[0]["versions"]["model"]
        assert exposures.fetchall() == [(model, "browser-1", "visit-01", rank) for rank in (1, 3)]
    store.close()
    assert feedback == [("view", 2, "visit-01"), ("view", 4, "visit-01")]


def test_events_of_ubi_are_feedback_and_are_logged(served: TestClient, tmp_path: Path, real_data: Path) -> None:
    visitor = {"X-Client-Id": "browser-1", "X-Session-Id": "visit-01"}
    answer = served.get("/v1/search_a", params={"query": "red kettle", "k": 3}, headers=visitor).json()
    products = [result["product_id"] for result in answer["results"]]

    def event(action: str, product: str | None = None, **more: Any) -> dict[str, Any]:
        about = {"object": {"object_id": product}} if product else {}
        return {
            "action_name": action,
            "timestamp": datetime.now(UTC).isoformat(),
            "query_id": answer["request_id"],
            "client_id": "browser-1",
            "session_id": "visit-01",
            "user_id": "nobody is stored",
            "event_attributes": {"position": {"ordinal": 9}, **about, **more},
        }

    sent = [
        event("view_search_results", blind=True),
        event("item_click", products[2], event_id="event-01"),
        event("click", products[2], event_id="event-01"),
        event("product_view", products[2]),
        event("judgement", products[0], label="E"),
        event("judgement", products[0]),
        event("add_to_cart", products[1]),
        event("click", "P49"),
        {**event("click", products[0]), "query_id": "never-given"},
        {**event("view", products[0]), "query_id": None},
        {**event("vote", vote="a"), "timestamp": "2001-01-01T00:00:00Z"},
    ]
    accepted = served.post("/v1/events", json={"events": sent})
    assert accepted.status_code == 202
    assert accepted.json() == {
        "accepted": 7,
        "duplicates": 1,
        "rejected": [
            {"event": 5, "code": "unfit", "detail": "a judgement needs label"},
            {"event": 7, "code": "unfit", "detail": "the answer has no such product"},
            {"event": 8, "code": "unknown_answer", "detail": "there is no such answer, or it is too old"},
        ],
    }
    with sqlite3.connect(tmp_path / "var" / "search" / "experiments.db") as store:
        stored = store.execute("SELECT kind, position FROM feedback ORDER BY rowid").fetchall()
    store.close()
    assert stored == [("impression", None), ("click", 3), ("view", 3), ("judgement", 1), ("vote", None)]
    served.app.state.service.log.flush()
    folder = tmp_path / "var" / "search"
    lines = [
        json.loads(line)
        for kind in ("events", "queries")
        for file in folder.glob(f"{kind}-*.jsonl")
        for line in file.read_text().splitlines()
    ]
    assert [line.get("action_name", "search") for line in lines] == [
        "view_search_results", "item_click", "product_view", "judgement", "item_add_to_cart", "product_view", "vote",
        "search",
    ]  # fmt: skip
    assert not [problem for line in lines for problem in problems_of(line, real_data)]
    (file,) = folder.glob("rejected-*.jsonl")
    assert [json.loads(line)["reason"] for line in file.read_text().splitlines()] == [
        "a judgement needs label",
        "duplicate",
        "the answer has no such product",
        "there is no such answer, or it is too old",
    ]
    assert "nobody" not in json.dumps(lines) and "testclient" not in json.dumps(lines)
    vote = lines[6]
    assert vote["timestamp"] > "2026" and vote["event_attributes"]["clock_off_s"] < -1e8
    assert "sqidflow_events_clock_off_total 1.0" in served.get("/metrics").text


@pytest.mark.parametrize(
    ("events", "field"),
    [
        ([], "events"),
        ([{"action_name": "click", "timestamp": "2026-01-01T00:00:00Z"}] * 101, "events"),
        ([{"action_name": "click"}], "events.0.timestamp"),
        ([{"action_name": "click", "timestamp": "2026-01-01T00:00:00"}], "events.0.timestamp"),
        ([{"action_name": "x" * 101, "timestamp": "2026-01-01T00:00:00Z"}], "events.0.action_name"),
        ([{"action_name": "x", "timestamp": "2026-01-01T00:00:00Z", "client_id": "a b"}], "events.0.client_id"),
    ],
)
def test_events_that_are_none(served: TestClient, events: list, field: str) -> None:
    answer = served.post("/v1/events", json={"events": events})
    assert answer.status_code == 422 and answer.json()["errors"][0]["field"] == field


def test_eleven_votes_of_one_client_decide_nothing(served: TestClient) -> None:
    for number in range(11):
        about = {
            "request_id": _search(served, f"red kettle {number}")["request_id"],
            "client": "browser-1",
            "blind": True,
        }
        assert served.post("/v1/feedback", json={**about, "kind": "impression"}).status_code == 202
        assert served.post("/v1/feedback", json={**about, "kind": "vote", "vote": "b"}).status_code == 202
    report = served.get("/v1/experiments/report").json()
    b = report["variants"][1]
    assert (b["wins"], b["clients"], report["sign_test_p"]) == (11, 1, 1.0)
    assert report["verdict"] == "No difference to be sure of: 0 clients preferred a, 1 preferred b, p 1."
    assert report["test"].startswith("Two-sided exact sign test on clients.")


def test_judgements_come_back(served: TestClient) -> None:
    answer = _search(served)
    products = [each["product_id"] for each in answer["results"][:2]]
    for client, product, label in (
        ("browser-1", products[0], "E"), ("browser-1", products[0], "S"), ("browser-1", products[1], "I"),
        ("browser-2", products[0], "E"),
    ):  # fmt: skip
        body = {"request_id": answer["request_id"], "kind": "judgement", "product_id": product, "label": label}
        assert served.post("/v1/feedback", json={**body, "client": client}).status_code == 202
    mine = served.get("/v1/judgements", params={"client": "browser-1", "query": "RED kettle"}).json()
    assert {(each["product_id"], each["label"]) for each in mine["judgements"]} == {
        (products[0], "S"),
        (products[1], "I"),
    }
    everyone = served.get("/v1/judgements?limit=1").json()
    assert everyone["total"] == 3 and len(everyone["judgements"]) == 1
    assert "browser" not in served.get("/v1/judgements").text


ODD_IDS = ("a/b", "a/b/similar", "a?id=b&c", "similar", "x/image")


def _with_odd_ids(small_index: SmallIndex, workdir: Path) -> None:
    """The small index, its last products called otherwise; ids stay in order."""
    folder = Workdir(workdir).index / "5a11"
    shutil.copytree(small_index.folder, folder)
    ids = np.load(folder / "ids.npy").astype("S20")
    ids[-len(ODD_IDS) :] = [each.encode() for each in ODD_IDS]
    np.save(folder / "ids.npy", ids)
    seal(folder, replace(Meta.read(folder), files={}))


def test_ids_that_end_like_routes_are_themselves(small_index: SmallIndex, tmp_path: Path) -> None:
    _with_odd_ids(small_index, tmp_path)
    with TestClient(create_app(Workdir(tmp_path), load_settings(tmp_path, (), {}))) as client:
        for product in ODD_IDS:
            for path in ("/v1/product", "/v1/product/similar"):
                assert client.get(path, params={"id": product}).json()["product_id"] == product
        assert "title" in client.get("/products/a%2Fb%2Fsimilar").json()
        assert client.get("/products/a%2Fb%2Fsimilar").json()["product_id"] == "a/b/similar"
        assert len(client.get("/products/a%2Fb/similar?k=3").json()["results"]) == 3
        assert client.get("/products/a%2Fb%2Fsimilar/similar?k=3").json()["product_id"] == "a/b/similar"
        assert client.get("/products/x%2Fimage").json()["product_id"] == "x/image"
        assert client.get("/products/similar").json()["product_id"] == "similar"
        assert client.get("/products/a/b").json()["product_id"] == "a/b"
        assert client.get("/products/x/image").json()["product_id"] == "x/image"
        ambiguous = client.get("/products/a/b/similar")
        assert ambiguous.status_code == 404 and "may be two products" in ambiguous.json()["detail"]
        picture = client.get("/v1/product", params={"id": "x/image"}).json()["image"]
        assert picture == "/v1/product/image?id=x%2Fimage"
        assert client.get(picture).headers["content-type"] == "image/png"
        assert client.get("/products/x%2Fimage/image").headers["content-type"] == "image/png"


def test_parts_add_up_for_every_result_over_http(served: TestClient) -> None:
    explained = 0
    for query in ("red kettle", "blue backpack", "acme desk lamp", "running shoe"):
        for result in served.post("/v1/predict", json={"query": query, "k": 10}).json()["results"]:
            assert result["explanation"] is None and result["baseline"] is None
            body = {"query": query, "product_id": result["product_id"]}
            document = served.post("/v1/explain", json=body).json()
            total = sum(part["contribution"] for part in document["parts"])
            assert abs(total - (result["score"] - document["baseline"])) < 1e-5
            assert document["score"] == result["score"] and document["baseline_is"]
            explained += 1
    assert explained >= 8


def test_what_no_answer_has_is_not_explained(served: TestClient) -> None:
    for path in ("/explain", "/v1/explain"):
        missing = served.post(path, json={"query": "red kettle", "product_id": "no such product"})
        assert missing.status_code == 404 and missing.json()["detail"]
    assert served.post("/v1/explain", json={"query": "red kettle"}).status_code == 422
    filtered = {"query": "red kettle", "product_id": "P00", "filters": {"brand": ["Borealis"]}}
    assert served.post("/v1/explain", json=filtered).status_code == 404


def test_an_answer_to_a_picture_is_explained(served: TestClient) -> None:
    files = {"image": ("x.png", drawn(7), "image/png")}
    found = served.post("/v1/predict-image", files=files, data={"k": 3}).json()["results"]
    assert found
    explained = served.post("/v1/explain-image", files=files, data={"product_id": found[0]["product_id"]}).json()
    assert explained["baseline"] == pytest.approx(0, abs=1e-6) and explained["score"] == found[0]["score"]
    assert sum(part["contribution"] for part in explained["parts"]) == pytest.approx(found[0]["score"], abs=1e-5)


def test_the_audit_is_a_page_with_its_own_style(small_index: SmallIndex, tmp_path: Path) -> None:
    place = Workdir(tmp_path)
    shutil.copytree(small_index.folder, place.index / "5a11")
    with TestClient(create_app(place, load_settings(tmp_path, (), {}))) as client:
        assert client.get("/audit").status_code == 404 and client.get("/v1/version").json()["audit"] is None
        (place.artifacts / "audit").mkdir()
        (place.artifacts / "audit" / "index.html").write_text("<!doctype html><style>p{}</style><p>17</p>")
        place.metrics.mkdir(exist_ok=True)
        (place.metrics / "audit.json").write_text(json.dumps({"model": {"version": "17"}, "verdict": "warn"}))
        page = client.get("/audit")
        assert page.status_code == 200 and "<p>17</p>" in page.text
        assert page.headers.get_list("content-security-policy")[0].startswith("default-src 'none'; style-src")
        assert len(page.headers.get_list("content-security-policy")) == 1 and page.headers["x-frame-options"] == "DENY"
        assert client.get("/v1/version").json()["audit"] == {"model": "17", "verdict": "warn"}
        (place.metrics / "audit.json").write_text("{")
        assert client.get("/v1/version").json()["audit"] is None
