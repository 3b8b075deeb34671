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

from sqidflow.core.model_files import PUSHED_MARK
from sqidflow.core.pushes import record_push
from sqidflow.core.settings import load_settings
from sqidflow.core.workdir import Workdir
from sqidflow.search.api.app import create_app
from sqidflow.search.index import Meta
from sqidflow.search.state import choose, find_index, open_service
from tests.command_line import must, sqidflow


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
