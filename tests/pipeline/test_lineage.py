"""From an answer over HTTP to the data.dvc hash and the commit; each broken link is named."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from fastapi.testclient import TestClient

from sqidflow.core.settings import CHECKOUT, load_settings
from sqidflow.core.workdir import Workdir
from sqidflow.monitoring.lineage import of_answer, of_data, of_model
from sqidflow.search.api.app import create_app
from sqidflow.search.query_log import STORE_FILE
from sqidflow.tracking.lineage import Lineage
from tests.command_line import must, sqidflow
from tests.workdirs import digest_of


def git(folder: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=Test", "-c", "user.email=test@example.org")
    return subprocess.run(["git", *identity, *arguments], cwd=folder, capture_output=True, text=True, check=True).stdout


@pytest.fixture
def recorded(indexed_copy: Path, prepared: Path, first_run: dict[str, Any]) -> Path:
    """A served workdir in git with a data.dvc that names its data, whose model was trained with a clean checkout."""
    (indexed_copy / "artifacts" / "tfx").mkdir()
    shutil.copy2(prepared / "artifacts" / "tfx" / "metadata.db", indexed_copy / "artifacts" / "tfx")
    (indexed_copy / ".dvc").mkdir()
    data_dvc = {"outs": [{"md5": first_run["data_hash"], "hash": "md5", "path": "data"}]}
    (indexed_copy / "data.dvc").write_text(yaml.safe_dump(data_dvc))
    git(indexed_copy, "init", "--quiet")
    git(indexed_copy, "add", "data.dvc")
    git(indexed_copy, "commit", "--quiet", "--message", "The data")
    commit = git(indexed_copy, "rev-parse", "HEAD").strip()
    card = Path(first_run["pushed_model"]).name
    file = indexed_copy / "artifacts" / "serving" / card / "sqidflow.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "git_commit": commit}))
    return indexed_copy


def answered(workdir: Path, query: str = "red kettle") -> dict[str, Any]:
    """An answer of the service, which is in the store when this returns."""
    with TestClient(create_app(Workdir(workdir), load_settings(workdir, (), {}))) as client:
        answer = client.post("/v1/predict", json={"query": query, "threshold": 0})
        assert answer.status_code == 200
        return answer.json()


def test_an_answer_over_http_reaches_its_data_and_commit(recorded: Path, first_run: dict[str, Any]) -> None:
    answer = answered(recorded)
    done = must(sqidflow("lineage", "--answer", answer["request_id"], "--json", "--workdir", str(recorded)))
    assert done.json["whole"] and done.json["broken"] == []
    nodes = {node["id"]: node for node in done.json["nodes"]}
    commit = git(recorded, "rev-parse", "HEAD").strip()
    execution = f"execution:{first_run_tag(recorded, first_run)}"
    versions = answer["versions"]
    assert {
        f"answer:{answer['request_id']}", f"model:{versions['model']}", f"index:{versions['index']}",
        f"mlflow_run:{first_run['mlflow_run_id']}", execution, f"data:{first_run['data_hash']}", f"commit:{commit}",
    } <= nodes.keys()  # fmt: skip
    assert nodes[f"answer:{answer['request_id']}"]["facts"]["query"] == "red kettle"
    kinds = [node["kind"] for node in nodes.values()]
    assert kinds.count("feature_service") == kinds.count("pairs") == kinds.count("data") == 1
    assert {name.split("/")[0] for name in names(nodes, "execution")} >= {
        "CsvExampleGen", "FeatureJoin", "Transform", "Trainer", "Evaluator", "Pusher",
    }  # fmt: skip
    pairs = next(node for node in nodes.values() if node["kind"] == "pairs")
    report = json.loads((recorded / "artifacts" / "prepared" / "report.json").read_text())["report"]
    assert pairs["facts"]["sha256"] == report["outputs"]["prepared/pairs.csv"], "the very file that training read"
    links = {(link["source"], link["target"]) for link in done.json["links"]}
    assert (f"data:{first_run['data_hash']}", f"commit:{commit}") in links
    text = must(sqidflow("lineage", "--answer", answer["request_id"], "--workdir", str(recorded))).err
    assert "the chain is whole" in text and first_run["data_hash"] in text.replace("\n", "").replace("│", "")


def names(nodes: dict[str, Any], kind: str) -> list[str]:
    return [node["name"] for node in nodes.values() if node["kind"] == kind]


def first_run_tag(workdir: Path, first_run: dict[str, Any]) -> str:
    with sqlite3.connect(workdir / "var" / "mlflow" / "mlflow.db") as store:
        (tag,) = store.execute(
            "SELECT value FROM tags WHERE run_uuid = ? AND key = 'tfx_execution'", (first_run["mlflow_run_id"],)
        ).fetchone()
    store.close()
    return tag


def test_forward_from_a_model_and_from_a_version_of_the_data(recorded: Path, first_run: dict[str, Any]) -> None:
    first, second = answered(recorded, "red kettle"), answered(recorded, "blue lamp")
    workdir, settings = Workdir(recorded), load_settings(recorded, (), {})
    version = first["versions"]["model"]
    for lineage in (of_model(workdir, settings, version), of_data(workdir, settings, first_run["data_hash"][:8])):
        assert not lineage.broken
        came = {node.id: node for _, _, node, _ in lineage.walk(forward=True)}
        assert f"index:{first['versions']['index']}" in came
        answers = came[f"answers:of {version}"]
        assert answers.facts["count"] == 2
        assert set(answers.facts["newest"].split(", ")) == {first["request_id"], second["request_id"]}
    done = must(sqidflow("lineage", "--data", first_run["data_hash"], "--openlineage", "--workdir", str(recorded)))
    events = [json.loads(line) for line in done.out.splitlines()]
    assert {event["job"]["name"] for event in events} >= {"tfx.Trainer", "mlflow.training", "sqidflow.answers"}
    picture = must(sqidflow("lineage", "--model", version, "--mermaid", "--workdir", str(recorded))).out
    assert picture.startswith("flowchart LR\n") and first_run["data_hash"][:30] in picture
    for arguments, message in (
        (("--model", "12"), "nothing is known of a model 12; pushed: " + version),
        (("--data", "0123456789"), "no model, index or data.dvc here names the data 0123456789"),
        (("--data", first_run["data_hash"][:2]), "give at least 6 digits"),
        ((), "give one of --answer ID, --model VERSION and --data HASH"),
        (("--model", version, "--data", "ab"), "give one of"),
    ):
        refused = sqidflow("lineage", *arguments, "--workdir", str(recorded))
        assert refused.code == 2 and message in refused.err and "Traceback" not in refused.err


def purge_mlflow(workdir: Path) -> None:
    (workdir / "var" / "mlflow" / "mlflow.db").unlink()


def damage_mlflow(workdir: Path) -> None:
    (workdir / "var" / "mlflow" / "mlflow.db").write_bytes(b"no database" * 500)


def delete_run(workdir: Path) -> None:
    with sqlite3.connect(workdir / "var" / "mlflow" / "mlflow.db") as store:
        store.execute("UPDATE runs SET lifecycle_stage = 'deleted'")
    store.close()


def remove_metadata(workdir: Path) -> None:
    (workdir / "artifacts" / "tfx" / "metadata.db").unlink()


def delete_executions(workdir: Path) -> None:
    with sqlite3.connect(workdir / "artifacts" / "tfx" / "metadata.db") as store:
        store.execute("DELETE FROM Execution")
    store.close()


def remove_data_dvc(workdir: Path) -> None:
    (workdir / "data.dvc").unlink()
    shutil.rmtree(workdir / ".git")


def record_other_data(workdir: Path) -> None:
    (workdir / "data.dvc").write_text("outs:\n- {md5: 0123.dir, hash: md5, path: data}\n")
    shutil.rmtree(workdir / ".git")


def damage_data_dvc(workdir: Path) -> None:
    (workdir / "data.dvc").write_text("outs: 3\n")
    shutil.rmtree(workdir / ".git")


def card_of(workdir: Path) -> Path:
    return next((workdir / "artifacts" / "serving").glob("[0-9]*/sqidflow.json"))


def train_with_changes(workdir: Path) -> None:
    card = json.loads(card_of(workdir).read_text())
    card_of(workdir).write_text(json.dumps({**card, "git_commit": card["git_commit"] + "+changes"}))


def train_without_git(workdir: Path) -> None:
    card = json.loads(card_of(workdir).read_text())
    card_of(workdir).write_text(json.dumps({**card, "git_commit": "none"}))


def remove_index(workdir: Path) -> None:
    shutil.rmtree(workdir / "artifacts" / "index")


def delete_answers(workdir: Path) -> None:
    for file in (workdir / "var" / "search").iterdir():
        file.unlink()


@pytest.mark.parametrize(
    ("breaks", "kind", "why"),
    [
        (purge_mlflow, "mlflow_run", "mlflow.db: does not exist"),
        (damage_mlflow, "mlflow_run", "MLflow's store cannot be read"),
        (delete_run, "mlflow_run", "was deleted"),
        (remove_metadata, "execution", "metadata.db: does not exist"),
        (delete_executions, "execution", "has no record of Trainer/"),
        (remove_data_dvc, "data", "no data.dvc in the workdir that names a version"),
        (record_other_data, "data", "data.dvc names 0123.dir, and no commit is known"),
        (damage_data_dvc, "data", "data.dvc: is no file of DVC"),
        (train_with_changes, "commit", "the checkout had uncommitted changes"),
        (train_without_git, "commit", "there was no git"),
        (remove_index, "index", "was deleted since"),
        (delete_answers, "answer", "neither the store of answers nor the query log has it"),
    ],
)
def test_a_broken_link_is_named_and_the_rest_is_there(
    recorded: Path, first_run: dict[str, Any], breaks: Callable[[Path], None], kind: str, why: str
) -> None:
    answer = answered(recorded)
    breaks(recorded)
    before = digest_of(recorded)
    lineage: Lineage = of_answer(Workdir(recorded), load_settings(recorded, (), {}), answer["request_id"])
    of_kind = [node for node in lineage.broken if node.kind == kind]
    assert of_kind and why in str(of_kind[0].broken)
    if kind != "answer":
        assert [node.name for node in lineage.reaches("data")] == [first_run["data_hash"]]
        assert [node.name for node in lineage.reaches("model")] == [answer["versions"]["model"]]
    unexplained = {node.kind for node in lineage.broken} - {kind}
    # Without the repository of the workdir, nobody has the commit either.
    assert unexplained <= ({"commit"} if breaks in (remove_data_dvc, record_other_data, damage_data_dvc) else set())
    assert digest_of(recorded) == before, "to look writes nothing"


def test_a_broken_link_is_the_exit_status(recorded: Path) -> None:
    answer = answered(recorded)
    purge_mlflow(recorded)
    done = sqidflow("lineage", "--answer", answer["request_id"], "--workdir", str(recorded))
    assert done.code == 3 and "1 broken link:" in done.err and "mlflow.db: does not exist" in " ".join(done.err.split())


def test_a_deleted_model_is_known_by_its_training(recorded: Path, first_run: dict[str, Any]) -> None:
    answer = answered(recorded)
    shutil.rmtree(recorded / "artifacts" / "serving")
    lineage = of_answer(Workdir(recorded), load_settings(recorded, (), {}), answer["request_id"])
    [model] = [node for node in lineage.nodes.values() if node.kind == "model"]
    assert model.broken == "its folder in artifacts/serving is gone"
    assert [node.name for node in lineage.reaches("mlflow_run")] == [first_run["mlflow_run_id"]]


def test_an_answer_is_found_in_the_log_where_the_store_is_lost(recorded: Path) -> None:
    answer = answered(recorded)
    (recorded / "var" / "search" / STORE_FILE).write_bytes(b"no database" * 500)
    lineage = of_answer(Workdir(recorded), load_settings(recorded, (), {}), answer["request_id"])
    root = lineage.nodes[lineage.root]
    assert not lineage.broken and root.facts["found_in"].startswith("queries-")
    assert [node.name for node in lineage.reaches("model")] == [answer["versions"]["model"]]


def test_the_commit_of_this_checkout_is_known(recorded: Path) -> None:
    """As a run records it: of the code, not of the workdir."""
    if not (CHECKOUT / ".git").exists():
        pytest.skip("this checkout has no git")
    card = json.loads(card_of(recorded).read_text())
    commit = git(CHECKOUT, "rev-parse", "HEAD").strip()
    card_of(recorded).write_text(json.dumps({**card, "git_commit": commit}))
    lineage = of_model(Workdir(recorded), load_settings(recorded, (), {}), card_of(recorded).parent.name)
    subject = git(CHECKOUT, "log", "-1", "--format=%s").strip()
    assert lineage.nodes[f"commit:{commit}"].facts["subject"] == subject and not lineage.broken
