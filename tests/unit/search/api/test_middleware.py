"""What every request meets before and after a route; the application is not started, so that no index is needed."""

from __future__ import annotations

from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from sqidflow.core.settings import load_settings
from sqidflow.core.workdir import Workdir
from sqidflow.search.api.app import create_app
from sqidflow.search.api.middleware import MAX_JSON_BYTES

_ORIGIN = {"Origin": "https://shop.example"}


def client_of(folder: Path, *settings: str) -> TestClient:
    made = create_app(Workdir(folder), load_settings(folder, settings, {}))

    @made.get("/fails")
    async def fails() -> None:
        raise RuntimeError("a secret")

    return TestClient(made)


def test_what_nobody_expected_is_answered_named_and_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    client = client_of(tmp_path)
    answer = client.get("/fails")
    assert answer.status_code == 500 and answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["request_id"] == answer.headers["x-request-id"] and "secret" not in answer.text
    assert answer.headers["x-frame-options"] == "DENY"
    assert 'sqidflow_request_seconds_count{path="/fails",status="500"} 1.0' in client.get("/metrics").text
    assert "GET /fails failed" in caplog.text and "a secret" in caplog.text


def test_measures_call_a_route_as_its_description_does(tmp_path: Path) -> None:
    client = client_of(tmp_path)
    client.get("/v1/product/similar", params={"id": "a/b"})
    assert 'path="/product/similar",status="503"' in client.get("/metrics").text


@pytest.mark.parametrize("path", ["/predict", "/feedback"])
def test_json_is_bounded_long_before_a_picture_is(tmp_path: Path, path: str) -> None:
    client = client_of(tmp_path)
    keys = b"{" + b",".join(b'"%d":1' % number for number in range(1_000_000)) + b"}"

    def hidden():
        yield keys

    headers = {"content-type": "application/json"}
    assert MAX_JSON_BYTES < len(keys) < load_settings(tmp_path).search.max_body_bytes
    for content in (keys, hidden()):
        answer = client.post(path, content=content, headers=headers)
        assert answer.status_code == 413 and f"{MAX_JSON_BYTES:,}" in answer.json()["detail"]


def test_every_json_body_that_fits_is_taken(tmp_path: Path) -> None:
    value = "\\ud83d\\ude00" * 200
    values = ",".join([f'"{value}"'] * 50)
    query = "\\ud83d\\ude00" * 1000
    body = f'{{"query": "{query}", "filters": {{"brand": [{values}], "color": [{values}]}}}}'
    answer = client_of(tmp_path).post("/predict", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 503, answer.text  # read; there is nothing that answers


def test_other_sites_can_read_refusals_and_asking_first_is_not_counted(tmp_path: Path) -> None:
    client = client_of(tmp_path, "search.cors_origins=['https://shop.example']", "search.rate_limit=2/minute")
    for _ in range(5):
        asked = client.options("/predict", headers={**_ORIGIN, "Access-Control-Request-Method": "POST"})
        assert asked.status_code == 200
    wrong = client.post("/predict", content=b"x", headers={**_ORIGIN, "content-type": "text/plain"})
    assert wrong.status_code == 415 and wrong.headers["access-control-allow-origin"] == "https://shop.example"
    answers = [client.get("/version", headers=_ORIGIN) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [503, 503, 429]
    assert answers[-1].headers["access-control-allow-origin"] == "https://shop.example"
