"""The graph of versions, its picture and its OpenLineage events."""

from __future__ import annotations

import re
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from sqidflow.tracking.lineage import Lineage, Node, mermaid
from sqidflow.tracking.openlineage import run_events

NOW = datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC)


def execution(name: str, started: str, ended: str, state: str = "complete") -> Node:
    return Node("execution", name, {"state": state, "started": started, "ended": ended})


@pytest.fixture
def lineage() -> Lineage:
    """An answer, down to its data and commit, with two ways to the data."""
    answer = Node("answer", "r-1", {"at": "2029-05-06T07:08:09+00:00", "query": "red kettle"})
    graph = Lineage(answer)
    model = graph.link(answer, Node("model", "1795"), "answered by")
    index = graph.link(answer, Node("index", "abc"), "found in")
    graph.link(index, model, "built for")
    run = graph.link(model, Node("mlflow_run", "run", {"started": "2029-01-01T00:00:00+00:00"}), "trained in")
    trainer = execution("Trainer/9", "2029-01-01T00:00:10+00:00", "2029-01-01T00:01:00+00:00")
    join = execution("FeatureJoin/3", "2029-01-01T00:00:01+00:00", "2029-01-01T00:00:09+00:00")
    graph.link(run, trainer, "ran as")
    graph.link(trainer, join, "read Examples of")
    service = graph.link(join, Node("feature_service", "ranker_v1 0123"), "joined features of")
    data = graph.link(service, Node("data", "d0.dir"), "computed from")
    graph.link(run, data, "learned from")
    graph.link(index, data, "products of")
    graph.link(data, Node("commit", "f5ef486"), "recorded in data.dvc of")
    return graph


def test_an_answer_reaches_its_data_and_commit(lineage: Lineage) -> None:
    assert [node.name for node in lineage.reaches("data")] == ["d0.dir"]
    assert [node.name for node in lineage.reaches("commit")] == ["f5ef486"]
    assert not lineage.broken and lineage.as_dict()["whole"]


def test_a_node_is_followed_once_however_many_ways_lead_to_it(lineage: Lineage) -> None:
    steps = list(lineage.walk(forward=False))
    followed = [node.id for _, _, node, again in steps if not again]
    assert len(followed) == len(set(followed)) == len(lineage.nodes) - 1
    assert [node.id for _, _, node, again in steps if again] == ["data:d0.dir", "model:1795", "data:d0.dir"]


def test_forward_is_the_same_graph_the_other_way_round(lineage: Lineage) -> None:
    lineage.root = "commit:f5ef486"
    assert {node.kind for _, _, node, _ in lineage.walk(forward=True)} == {
        "data", "feature_service", "execution", "mlflow_run", "model", "index", "answer",
    }  # fmt: skip


def test_a_circle_ends() -> None:
    first, second = Node("model", "1"), Node("model", "2")
    graph = Lineage(first)
    graph.link(first, second, "tuned from")
    graph.link(second, first, "tuned from")
    assert [node.name for _, _, node, _ in graph.walk(forward=False)] == ["2", "1"]


def test_what_is_broken_stays_broken_whoever_adds_it_again(lineage: Lineage) -> None:
    lineage.add(Node("data", "d0.dir", broken="no data.dvc names it"))
    lineage.add(Node("data", "d0.dir"))
    assert [node.id for node in lineage.broken] == ["data:d0.dir"]
    document = lineage.as_dict()
    assert not document["whole"] and document["broken"] == [{"id": "data:d0.dir", "why": "no data.dvc names it"}]


def test_the_picture_has_every_node_and_link_and_no_text_that_ends_a_label(lineage: Lineage) -> None:
    lineage.add(Node("commit", 'a"b]|<x>\n#`{', broken="x" * 200))
    text = mermaid(lineage)
    labels = re.findall(r'^    n\d+\["(.*)"\]$', text, re.MULTILINE)
    assert len(labels) == len(lineage.nodes)
    assert len(re.findall(r'^    n\d+ -->\|"[^"]+"\| n\d+$', text, re.MULTILINE)) == len(lineage.links)
    assert all(not set('"[]|{}`') & set(label.replace("<br/>", "")) for label in labels)
    assert "a#34;b#93;#124;#60;x#62; #35;#96;#123;" in text
    assert text.startswith("flowchart LR\n") and "class n0 asked" in text and " broken" in text


def is_facet(value: Any) -> bool:
    return value["_producer"].startswith("https://") and value["_schemaURL"].startswith("https://openlineage.io/spec/")


def test_every_run_starts_and_ends_as_openlineage_has_it(lineage: Lineage) -> None:
    events = run_events(lineage, "sqidflow:/shop", NOW)
    by_run: dict[str, list[dict[str, Any]]] = {}
    for event in events:
        assert {"eventTime", "run", "job", "producer", "schemaURL"} <= event.keys()
        assert event["schemaURL"].endswith("/2-0-2/OpenLineage.json#/$defs/RunEvent")
        assert str(uuid.UUID(event["run"]["runId"])) == event["run"]["runId"]
        assert datetime.fromisoformat(event["eventTime"]).utcoffset() == timedelta(0)
        assert event["job"]["namespace"] == "sqidflow:/shop" and event["job"]["name"]
        for dataset in (*event["inputs"], *event["outputs"]):
            assert dataset["namespace"] and dataset["name"] and is_facet(dataset["facets"]["version"])
            assert dataset["facets"]["version"]["datasetVersion"]
        for facet in (*event["run"]["facets"].values(), *event["job"]["facets"].values()):
            assert is_facet(facet)
        assert {"processingType", "integration"} <= event["job"]["facets"]["jobType"].keys()
        by_run.setdefault(event["run"]["runId"], []).append(event)
    assert all([each["eventType"] for each in run] == ["START", "COMPLETE"] for run in by_run.values())
    assert [event["eventTime"] for event in events] == sorted(event["eventTime"] for event in events)
    assert [event["run"]["runId"] for event in run_events(lineage, "sqidflow:/shop", NOW)] == [
        event["run"]["runId"] for event in events
    ], "a second export is of the same runs"


def ends(lineage: Lineage) -> dict[str, dict[str, Any]]:
    events = run_events(lineage, "shop", NOW)
    return {event["job"]["name"]: event for event in events if event["eventType"] != "START"}


def test_what_one_run_wrote_another_reads_from_the_data_to_the_answer(lineage: Lineage) -> None:
    runs = ends(lineage)

    def names(event: dict[str, Any], side: str) -> set[tuple[str, str]]:
        return {(each["name"], each["facets"]["version"]["datasetVersion"]) for each in event[side]}

    assert names(runs["sqidflow.answer"], "inputs") == {("artifacts/serving", "1795"), ("artifacts/index", "abc")}
    assert names(runs["mlflow.training"], "outputs") == {("artifacts/serving", "1795")}
    assert names(runs["mlflow.training"], "inputs") == {("data", "d0.dir"), ("tfx.Trainer.outputs", "9")}
    assert names(runs["tfx.Trainer"], "inputs") == {("tfx.FeatureJoin.outputs", "3")}
    assert names(runs["tfx.FeatureJoin"], "inputs") == {("feast.ranker_v1", "0123")}
    assert names(runs["sqidflow.features"], "inputs") == {("data", "d0.dir")}
    assert names(runs["sqidflow.index"], "outputs") == {("artifacts/index", "abc")}
    assert runs["sqidflow.answer"]["job"]["facets"]["sourceCodeLocation"]["version"] == "f5ef486"


def test_failed_and_broken_runs_say_so() -> None:
    failed = execution("Trainer/1", "2029-01-01T00:00:00+00:00", "2028-01-01T00:00:00+00:00", "failed")
    lost = Node("mlflow_run", "gone", broken="mlflow.db does not exist")
    graph = Lineage(lost)
    graph.link(lost, failed, "ran as")
    runs = ends(graph)
    assert runs["tfx.Trainer"]["eventType"] == "FAIL"
    assert runs["tfx.Trainer"]["eventTime"] == "2029-01-01T00:00:00.000+00:00", "no run ends before it starts"
    gone = runs["mlflow.training"]
    assert gone["eventType"] == "FAIL" and gone["eventTime"].startswith("2030-01-02")
    assert gone["run"]["facets"]["errorMessage"]["message"] == "mlflow.db does not exist"
