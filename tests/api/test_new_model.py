"""A model that is pushed while the service runs answers once it is indexed, and no old answer is given for it."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from sqidflow.core.model_files import ONNX_FILE, PUSHED_MARK
from sqidflow.core.pushes import newest_model, record_push
from sqidflow.core.settings import load_settings
from sqidflow.core.workdir import Workdir
from sqidflow.search.api.app import create_app
from sqidflow.search.index import Meta
from sqidflow.search.state import choose, find_index, open_service
from tests.api.clients import Clients
from tests.api.conftest import problem
from tests.command_line import must, sqidflow, wait_until
from tests.conftest import Measured

FIELDS = ("product_id", "score")


def push_another(workdir: Path) -> str:
    """Push the newest model again, as a version above; its version."""
    serving = workdir / "artifacts" / "serving"
    old = max(folder.name for folder in serving.glob("[0-9]*"))
    new = str(int(old) + 1)
    shutil.copytree(serving / old, serving / f".{new}")
    (serving / f".{new}" / PUSHED_MARK).unlink()
    card = json.loads((serving / f".{new}" / "sqidflow.json").read_text())
    (serving / f".{new}" / "sqidflow.json").write_text(json.dumps({**card, "mlflow_run_id": "another"}))
    record_push((serving / f".{new}").rename(serving / new))
    return new


def reverse(model: Path) -> None:
    """Make a model rank the other way round: what it took for exact it takes for irrelevant."""
    import onnx

    graph = onnx.load(model / ONNX_FILE)
    output = graph.graph.output[0].name
    for node in graph.graph.node:
        node.output[:] = ["as it was" if name == output else name for name in node.output]
    order = onnx.helper.make_tensor("order", onnx.TensorProto.INT64, [4], [3, 2, 1, 0])
    graph.graph.initializer.append(order)
    graph.graph.node.append(onnx.helper.make_node("Gather", ["as it was", "order"], [output], axis=1))
    onnx.save(graph, model / ONNX_FILE)


def index_of(workdir: Path, *settings: str) -> str:
    """Index; the digest."""
    return must(sqidflow("index", "--json", "--workdir", str(workdir), settings=settings)).json["digest"]


def until(holds: Callable[[], bool]) -> bool:
    for _ in range(300):
        if holds():
            return True
        time.sleep(0.05)
    return False


def test_a_new_model_takes_over(indexed_copy: Path, title: str, monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[tuple[str, Path]] = []

    def choosing(*arguments: Any) -> tuple[str, Path]:
        looks.append(choose(*arguments))
        return looks[-1]

    monkeypatch.setattr("sqidflow.search.api.app.choose", choosing)
    monkeypatch.setattr("sqidflow.search.api.app._LOOK_FOR_MODELS_S", 0.05)
    with TestClient(create_app(Workdir(indexed_copy), load_settings(indexed_copy, (), {}))) as client:

        def ask() -> dict:
            return client.post("/predict", json={"query": title}).json()

        first, again = ask(), ask()
        assert not first["cached"] and again["cached"] and again["results"] == first["results"]
        old = first["versions"]["model"]
        new = push_another(indexed_copy)
        looks.clear()
        assert until(lambda: len(looks) > 2), "the service looks for models while the new one has no index"
        assert ask()["versions"]["model"] == old  # pushed, and not indexed yet
        must(sqidflow("index", "--workdir", str(indexed_copy)))
        answers = []

        def answered_by_the_new() -> bool:
            answers.append(ask())
            return answers[-1]["versions"]["model"] == new

        assert until(answered_by_the_new)
        found = answers[-1]
        assert found["versions"]["model"] == new and found["versions"]["mlflow_run_id"] == "another"
        assert not found["cached"] and found["results"]
        assert client.get("/version").json()["variants"][1]["versions"]["model"] == new


def test_push_rollback_and_release_under_load(
    indexed_copy: Path, facets: dict[str, Any], measured: Measured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sqidflow.search.api.app._LOOK_FOR_MODELS_S", 0.2)
    place = str(indexed_copy)
    queries = facets["sample_queries"][:6]

    def rollback(*arguments: str) -> dict[str, Any]:
        return must(sqidflow("rollback", *arguments, "--json", "--workdir", place)).json

    with TestClient(create_app(Workdir(indexed_copy), load_settings(indexed_copy, (), {}))) as client:
        first = client.get("/version").json()["delivery"]["served"]

        def search(query: str) -> dict[str, Any]:
            answer = client.post("/v1/predict", json={"query": query, "threshold": 0})
            assert answer.status_code == 200, answer.text
            return answer.json()

        # They pause, because the index is built on the same processors.
        with Clients(search, queries, count=8, by="model", fields=FIELDS, pause_s=0.02) as clients:
            clients.wait_for(first, 50)
            second = push_another(indexed_copy)
            reverse(indexed_copy / "artifacts" / "serving" / second)
            index_of(indexed_copy)
            clients.wait_for(second, 50)
            back = rollback()
            assert (back["served"], back["instead_of"], back["pinned"]) == (first, second, True)
            assert back["champion"] == 1 and back["warning"] is None, "the registry's alias follows"
            clients.wait_for(first, 50)
            third = push_another(indexed_copy)
            made = must(sqidflow("index", "--json", "--version", third, "--workdir", place)).json
            assert f"model {first} is pinned" in made["not_served"]
            clients.wait_for(first, 50)
            assert not clients.answers[third], "what is pushed while a version is pinned is not served"
            delivered = client.get("/version").json()["delivery"]
            assert delivered["pinned"] and delivered["served"] == first and third in delivered["note"]
            listed = {each["version"]: each for each in rollback("--list")["versions"]}
            assert listed[first]["pinned"] and listed[first]["served"] and listed[third]["passed_over"]
            released = rollback("--release")
            assert released["served"] == third and "alias champion stays" in released["warning"]
            clients.wait_for(third, 50)
        measured("answers by version", str(dict(clients.answers)))
        assert not clients.failed
        assert clients.seen == {(version, delivered_index(indexed_copy, version)) for version in (first, second, third)}
        mixed = [key for key, answers in clients.results.items() if len(answers) != 1]
        assert not mixed, "a query has one answer in one version"
        of_first, of_second = clients.results_of(first), clients.results_of(second)
        assert set(of_first) == set(of_second) == set(queries)
        assert all(of_first[query] != of_second[query] for query in queries)


def delivered_index(workdir: Path, version: str) -> str:
    return find_index(Workdir(workdir), load_settings(workdir, (), {}), version).name


def test_a_service_starts_with_the_index_of_its_own_settings(indexed_copy: Path) -> None:
    def opened(*settings: str) -> tuple[str, int]:
        service = open_service(Workdir(indexed_copy), load_settings(indexed_copy, settings, {}), {})
        service.close()
        return service.a.versions.index, service.a.core.count

    default = index_of(indexed_copy)
    small = index_of(indexed_copy, "search.candidates=10")
    plain = index_of(indexed_copy, "search.rewrite=none")
    assert len({default, small, plain}) == 3
    assert opened() == (default, 100)
    assert opened("search.candidates=10") == (small, 10) and opened("search.rewrite=none") == (plain, 100)


def test_of_several_indexes_that_which_was_asked_for_last_is_taken(indexed_copy: Path) -> None:
    first = index_of(indexed_copy)
    folder = indexed_copy / "artifacts" / "index"
    later = shutil.copytree(folder / first, folder / "0123456789ab")  # as of other features
    os.utime(later)
    settings = load_settings(indexed_copy, (), {})
    assert find_index(Workdir(indexed_copy), settings, Meta.read(later).model_version) == later
    assert index_of(indexed_copy) == first
    assert find_index(Workdir(indexed_copy), settings, Meta.read(later).model_version).name == first


def test_answers_of_other_settings_are_not_taken_from_a_cache(indexed_copy: Path) -> None:
    keys = set()
    for candidates in (50, 100):
        index_of(indexed_copy, f"search.candidates={candidates}")
        settings = load_settings(indexed_copy, [f"search.candidates={candidates}"], {})
        service = open_service(Workdir(indexed_copy), settings, {})
        service.a.core.index.meta = replace(service.a.core.index.meta, digest="the same")
        keys.add(service.a.identity)
        service.close()
    assert len(keys) == 2


def test_a_model_without_an_index_keeps_no_worker_from_starting(
    indexed_copy: Path, caplog: pytest.LogCaptureFixture
) -> None:
    old = max(folder.name for folder in (indexed_copy / "artifacts" / "serving").glob("[0-9]*"))
    new = push_another(indexed_copy)
    with TestClient(create_app(Workdir(indexed_copy), load_settings(indexed_copy, (), {}))) as client:
        assert client.get("/version").json()["variants"][0]["versions"]["model"] == old
    assert f"model {old} answers: {new} has no index yet" in caplog.text


def test_looking_for_a_model_goes_on_after_whatever_went_wrong(
    indexed_copy: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("sqidflow.search.api.app._LOOK_FOR_MODELS_S", 0.05)
    with TestClient(create_app(Workdir(indexed_copy), load_settings(indexed_copy, (), {}))) as client:
        real, failures = open_service, iter([RuntimeError("half a file"), MemoryError()])

        def failing(*arguments):
            for failure in failures:
                raise failure
            return real(*arguments)

        monkeypatch.setattr("sqidflow.search.api.app.open_service", failing)
        folder = indexed_copy / "artifacts" / "index"
        (before,) = (each.name for each in folder.iterdir())
        another = shutil.copytree(folder / before, folder / "0123456789ab")
        meta = replace(Meta.read(another), digest="0123456789ab")
        meta.write(another)
        os.utime(another)
        assert until(lambda: client.get("/version").json()["variants"][0]["versions"]["index"] == "0123456789ab")
        assert f"sqidflow_products {meta.products:.1f}" in client.get("/metrics").text
    assert caplog.text.count("looking for a new model failed") == 2


def test_an_index_that_is_published_is_seen_before_the_next_look_for_models(
    indexed_copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sqidflow.search.api.app._LOOK_FOR_MODELS_S", 600.0)
    with TestClient(create_app(Workdir(indexed_copy), load_settings(indexed_copy, (), {}))) as client:
        folder = indexed_copy / "artifacts" / "index"
        (before,) = (each.name for each in folder.iterdir())
        # Its files are beside it first, as they are where it is built.
        another = shutil.copytree(folder / before, folder / ".0123456789ab.1")
        replace(Meta.read(another), digest="0123456789ab").write(another)
        os.utime(another)
        time.sleep(0.3)  # the service has looked since, so that what it sees next is the rename
        another.rename(folder / "0123456789ab")
        assert until(lambda: client.get("/version").json()["variants"][0]["versions"]["index"] == "0123456789ab")


def test_a_canary_answers_a_stable_share_and_a_shadow_is_not_shown(indexed_copy: Path, title: str) -> None:
    first = newest_model(indexed_copy / "artifacts" / "serving").name
    second = push_another(indexed_copy)
    reverse(indexed_copy / "artifacts" / "serving" / second)
    index_of(indexed_copy)
    place = str(indexed_copy)
    must(sqidflow("rollback", first, "--workdir", place))
    settings = load_settings(indexed_copy, ["search.canary_share=0.5", f"search.shadow_model={second}"], {})
    with TestClient(create_app(Workdir(indexed_copy), settings)) as client:

        def ask(name: str, query: str = title) -> dict[str, Any]:
            body = {"query": query, "threshold": 0}
            return client.post("/v1/predict", json=body, headers={"X-Client-Id": name}).json()

        names = [f"client-{number:04d}" for number in range(60)]
        models = {name: ask(name)["versions"]["model"] for name in names}
        assert models == {name: ask(name)["versions"]["model"] for name in names}, "a client stays where it is"
        share = sum(model == second for model in models.values()) / len(models)
        assert set(models.values()) == {first, second} and 0.3 < share < 0.7
        of_first, of_second = (next(name for name in names if models[name] == model) for model in (first, second))
        a, b = ask(of_first), ask(of_second)
        assert a["results"] != b["results"] and a["versions"]["index"] != b["versions"]["index"]
        for name, model in ((of_first, first), (of_second, second)):
            headers = {"X-Client-Id": name}
            product = a["results"][0]["product_id"]
            for path in ("/v1/product", "/v1/product/similar"):
                answer = client.get(path, params={"id": product}, headers=headers).json()
                assert answer["versions"]["model"] == model
        body = {"query": title, "product_id": b["results"][0]["product_id"], "model": second}
        explained = client.post("/v1/explain", json=body)
        assert explained.json()["versions"]["model"] == second, "who asks by whose answer it was"
        assert explained.json()["score"] == pytest.approx(b["results"][0]["score"], abs=1e-5)
        problem(client.post("/v1/explain", json={**body, "model": "1"}), 404)
        delivered = client.get("/version").json()["delivery"]
        assert (delivered["canary"], delivered["canary_share"], delivered["shadow"]) == (second, 0.5, second)

        folder = indexed_copy / "var" / "search"
        asked = ask(of_first, f"{title} shadow")

        def lines() -> list[dict[str, Any]]:
            return [json.loads(line) for file in folder.glob("shadows-*") for line in file.read_text().splitlines()]

        def shadow() -> dict[str, Any] | None:
            return next((line for line in lines() if line["query_id"] == asked["request_id"]), None)

        wait_until(shadow, "the shadow's answer is logged")
        line = shadow()
        assert line is not None and line["client_id"] == of_first
        of_shadow, shown = line["query_attributes"], [hit["product_id"] for hit in asked["results"]]
        assert (of_shadow["model"], of_shadow["answered_by"], of_shadow["answered_hit_ids"]) == (second, first, shown)
        assert line["query_response_hit_ids"] != shown
        assert of_shadow["overlap_at_10"] == round(len(set(shown) & set(line["query_response_hit_ids"])) / 10, 4)
        by = {each["query_attributes"]["answered_by"] for each in lines()}
        assert by == {first}, "the canary is the same version: it has no shadow"
        text = client.get("/metrics").text
        assert f'sqidflow_serving{{model="{first}",role="served"}} 1.0' in text
        assert f'sqidflow_serving{{model="{second}",role="canary"}} 1.0' in text
        assert f'sqidflow_answer_seconds_count{{model="{first}"}}' in text
        assert f'sqidflow_answer_seconds_count{{model="{second}"}}' in text
        assert f'sqidflow_shadow_overlap_at_10_count{{model="{second}"}}' in text
