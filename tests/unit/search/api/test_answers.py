"""From an outcome to the API's answer."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from sqidflow.core.settings import load_settings
from sqidflow.core.workdir import Workdir
from sqidflow.search import schemas
from sqidflow.search.api.answers import Answerer
from sqidflow.search.api.metrics import Metrics
from sqidflow.search.engine import Request
from sqidflow.search.state import Service, open_service
from tests.fixtures.small_index import SmallIndex


@pytest.fixture
def service(small_index: SmallIndex, tmp_path: Path) -> Iterator[Service]:
    place = Workdir(tmp_path)
    shutil.copytree(small_index.folder, place.index / "5a11")
    with closing(open_service(place, load_settings(tmp_path, (), {}), {})) as opened:
        yield opened


@pytest.fixture
def answerer(service: Service) -> Answerer:
    return Answerer(service, Metrics())


def test_an_answer_names_what_made_it(answerer: Answerer) -> None:
    answer = schemas.SearchResponse.model_validate_json(answerer.single(Request("red kettle", k=2), "id-1"))
    assert answer.request_id == "id-1" and answer.original_query == "red kettle" and answer.no_answer is None
    assert [result.rank for result in answer.results] == [1, 2]
    assert {result.product_id for result in answer.results} == {"P00", "P01"}
    first = next(result for result in answer.results if result.product_id == "P00")
    assert first.image == "/v1/product/image?id=P00" and first.brand == "Acme" and first.color == "red"
    assert answer.versions.model_name == "zero-shot, not trained" and answer.versions.index == "5a11"
    assert answer.variant == "a" and answer.strategy == "single" and not answer.cached


def test_the_same_search_again_comes_from_the_cache(answerer: Answerer) -> None:
    first, again, other = (
        json.loads(answerer.single(Request(query), name))
        for query, name in (("red kettle", "1"), ("red kettle", "2"), ("blue kettle", "3"))
    )
    assert again["cached"] and again["results"] == first["results"] and again["request_id"] == "2"
    assert not other["cached"]


def test_an_empty_answer_says_why(answerer: Answerer) -> None:
    answer = json.loads(answerer.single(Request("qwrtzp xkcdfg"), "1"))
    assert answer["results"] == [] and answer["no_answer"]["code"] == "nothing_fits"


def test_an_interleaved_answer_says_who_brought_what(answerer: Answerer) -> None:
    answer = json.loads(answerer.best(Request("red kettle", k=6), "1", "interleave"))
    brought = {result["variant"] for result in answer["results"]}
    assert brought == {"a", "b"} and answer["variant"] is None
    products = [result["product_id"] for result in answer["results"]]
    assert len(products) == len(set(products)) == 6


def test_an_answer_is_logged_with_what_was_shown(service: Service, answerer: Answerer) -> None:
    answer = json.loads(answerer.single(Request("red kettle", k=2), "id-9"))
    service.log.flush()
    (file,) = (service.workdir.var / "search").glob("queries-*.jsonl")
    line = json.loads(file.read_text().splitlines()[-1])
    asked = line["query_attributes"]
    assert (line["query_id"], line["user_query"], asked["outcome"], asked["model"]) == (
        "id-9",
        "red kettle",
        "answered",
        "zero-shot",
    )
    assert line["query_response_hit_ids"] == [result["product_id"] for result in answer["results"]]
