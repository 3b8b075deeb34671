"""tune and the ablations, through the command line on the tiny workdir."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.ablations import GROUPS
from tests import workdirs
from tests.command_line import must, sqidflow

QUICK = ("train.epochs=2", "train.model=pointwise")


@pytest.fixture(scope="module")
def workdir(session_root: Path, prepared: Path) -> Iterator[Path]:
    """Both verbs begin with Transform's output, which the second takes from the cache of the first."""
    with workdirs.copied(session_root, prepared, workdirs.WITHOUT_RUN) as place:
        yield place


def test_a_search_goes_on_and_its_trials_are_runs_below_it(workdir: Path) -> None:
    import mlflow

    place = ("--workdir", str(workdir), "--json")
    first = must(sqidflow("tune", "--trials", "2", *place, settings=QUICK)).json
    again = must(sqidflow("tune", "--trials", "1", *place, settings=QUICK)).json
    assert [trial["trial"] for trial in again["trials"]] == [0, 1, 2]
    assert again["trials"][:2] == first["trials"] and again["mlflow_run_id"] == first["mlflow_run_id"]
    assert first["trials"][0]["settings"] == {} and "train.dropout" in first["trials"][1]["settings"]
    assert again["best"]["validation_ndcg"] == max(trial["validation_ndcg"] for trial in again["trials"])
    client = mlflow.MlflowClient(f"sqlite:///{workdir / 'var' / 'mlflow' / 'mlflow.db'}")
    for trial in again["trials"]:
        run = client.get_run(trial["mlflow_run_id"])
        assert run.data.tags["mlflow.parentRunId"] == again["mlflow_run_id"]
        assert run.data.metrics["val_ndcg_final"] == pytest.approx(trial["validation_ndcg"])
        assert run.data.metrics["energy_kwh"] > 0


def test_every_group_of_features_is_left_out_once(workdir: Path) -> None:
    document = must(sqidflow("evaluate", "--ablations", "--json", "--workdir", str(workdir), settings=QUICK)).json
    rows = {row["left_out"]: row for row in document["rows"]}
    assert list(rows) == list(GROUPS) and document["model"] == "pointwise"
    assert rows["all features"]["difference"] is None
    assert rows["without vectors"]["ndcg"]["mean"] != rows["all features"]["ndcg"]["mean"]
    for row in document["rows"][1:]:
        expected = row["ndcg"]["mean"] - rows["all features"]["ndcg"]["mean"]
        assert row["difference"]["mean"] == pytest.approx(expected, abs=1e-9)
    refused = sqidflow("evaluate", "--ablations", "--workdir", str(workdir), settings=("train.model=cosine",))
    assert refused.code == 2 and "no features to leave out" in refused.err
