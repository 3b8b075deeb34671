"""Verbs typed again where a run has finished: from the cache, registering nothing twice, and with another model.

These tests write into the workdir in which the session's run was made, the only one whose cache is valid. No other file
uses it, and pytest-xdist is told to keep a file in one process.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from sqidflow.ranking.model_names import DEFAULT_MODEL
from tests.command_line import TINY_TRAINING, must, sqidflow
from tests.pipeline.mlflow_store import REGISTERED, client_of
from tests.workdirs import ORIGINAL, Shared, relocated_document, workdir_place


@dataclass(frozen=True)
class Again:
    """What the verbs did when they were typed a second time, with a half-copied push lying in the workdir."""

    workdir: Path
    first: dict[str, Any]
    second: dict[str, Any]
    pairs_before: tuple[bytes, int]
    pairs_after: tuple[bytes, int]
    aliases_before: dict[str, str]
    half_push: Path


def _pairs(workdir: Path) -> tuple[bytes, int]:
    file = workdir / "artifacts" / "prepared" / "pairs.csv"
    return file.read_bytes(), file.stat().st_mtime_ns


@pytest.fixture(scope="module")
def original_run(session_root: Path, shared_run: Shared) -> tuple[Path, dict[str, Any]]:
    """The workdir of the session's run, and the run's document."""
    place = workdir_place(session_root, ORIGINAL)
    return place, relocated_document(shared_run.documents["run"], shared_run.workdir, place)


@pytest.fixture(scope="module")
def again(original_run: tuple[Path, dict[str, Any]]) -> Again:
    workdir, first = original_run
    before, aliases = _pairs(workdir), client_of(workdir).get_registered_model(REGISTERED).aliases
    half = workdir / "artifacts" / "serving" / "999"
    (half / "variables").mkdir(parents=True)
    must(sqidflow("features", "--workdir", str(workdir)))
    after = _pairs(workdir)
    second = must(sqidflow("run", "--json", "--workdir", str(workdir), settings=TINY_TRAINING)).json
    return Again(workdir, first, second, before, after, aliases, half)


def test_second_run_comes_from_the_cache(again: Again) -> None:
    assert all(part["cached"] for part in again.second["components"]), again.second["components"]
    for key in ("ndcg", "blessed", "pushed_model", "mlflow_run_id", "energy_kwh"):
        assert again.second[key] == again.first[key]


def test_features_again_changes_nothing(again: Again) -> None:
    assert again.pairs_after == again.pairs_before


def test_a_run_from_the_cache_registers_nothing_twice(again: Again) -> None:
    client = client_of(again.workdir)
    of_run = f"name='{REGISTERED}' and run_id='{again.first['mlflow_run_id']}'"
    assert len(client.search_model_versions(of_run)) == 1
    assert client.get_registered_model(REGISTERED).aliases == again.aliases_before


def test_unfinished_push_is_not_taken_for_a_model(again: Again) -> None:
    half = again.half_push
    assert not half.exists() and half.with_name(".unfinished-999").is_dir()
    assert again.second["pushed_model"] == again.first["pushed_model"]


def test_query_mlp_is_shown_for_what_it_is(again: Again) -> None:
    """The original network never sees the product: no better than chance, not blessed, not pushed."""
    place = ("--workdir", str(again.workdir))
    document = must(sqidflow("run", "--json", "--model", "query_mlp", *place, settings=TINY_TRAINING)).json
    ran = {part["name"]: part["cached"] for part in document["components"]}
    assert ran["Transform"] and not ran["Trainer"]
    assert document["blessed"] is False and document["pushed_model"] is None
    chance = document["ndcg"]["random"]
    assert document["ndcg"]["query_mlp"]["mean"] < document["ndcg"]["cosine"]["low"] or (
        document["ndcg"]["query_mlp"]["mean"] < chance["high"]
    )
    table = must(sqidflow("evaluate", "--json", *place)).json
    assert {DEFAULT_MODEL, "query_mlp", "cosine", "random", "oracle"} <= {row["method"] for row in table["rows"]}
    assert document["mlflow_run_id"] != again.first["mlflow_run_id"]
