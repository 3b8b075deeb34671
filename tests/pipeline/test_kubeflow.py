"""`sqidflow compile`: what Kubeflow Pipelines is given is the graph that `run` runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.nodes import LOOK_UP, NODES
from tests.pipeline.conftest import must, sqidflow

IMAGE = "registry.example/sqidflow:1"
RESOLVERS = {f"{LOOK_UP}-model-resolver", f"{LOOK_UP}-model-blessing-resolver"}
"""Kubeflow's look-up finds one channel a task."""
INPUTS = {
    "CsvExampleGen": {},
    "FeatureJoin": {"pairs": "CsvExampleGen"},
    "StatisticsGen": {"examples": "FeatureJoin"},
    "SchemaGen": {"statistics": "StatisticsGen"},
    "CuratedSchema": {},
    "ExampleValidator": {"statistics": "StatisticsGen", "schema": "CuratedSchema"},
    "AnomalyGate": {"anomalies": "ExampleValidator"},
    "Transform": {"examples": "FeatureJoin", "schema": "SchemaGen"},
    "Trainer": {"examples": "Transform", "transform_graph": "Transform", "schema": "SchemaGen"},
    "Evaluator": {"examples": "FeatureJoin", "model": "Trainer", "baseline_model": f"{LOOK_UP}-model-resolver"},
    "RankingReport": {"model": "Trainer", "examples": "FeatureJoin", "blessing": "Evaluator"},
    "Pusher": {"model": "Trainer", "model_blessing": "RankingReport"},
}


def test_the_specification_has_every_node_with_its_inputs_and_the_image(prepared_copy: Path, tmp_path: Path) -> None:
    from kfp.components import load_component_from_file

    out = tmp_path / "sub" / "pipeline.yaml"
    settings = ("kubeflow.workdir=/mnt/shop", "kubeflow.root=s3://bucket/runs")
    answer = must(
        sqidflow(
            "compile", "--out", str(out), "--image", IMAGE, "--json", "--workdir", str(prepared_copy), settings=settings
        )
    ).json
    spec = load_component_from_file(str(out)).pipeline_spec
    tasks = spec.root.dag.tasks
    assert set(tasks) == set(INPUTS) | RESOLVERS == set(answer["nodes"])
    assert {name for name in tasks if name not in RESOLVERS} | {LOOK_UP} == set(NODES)
    for name, wanted in INPUTS.items():
        found = {key: value.task_output_artifact.producer_task for key, value in tasks[name].inputs.artifacts.items()}
        assert found == wanted, name
    assert "AnomalyGate" in tasks["Transform"].dependent_tasks
    assert "RankingReport" in tasks["Pusher"].dependent_tasks

    executors = spec.deployment_spec["executors"]
    images = {
        spec.components[tasks[name].component_ref.name].executor_label: name
        for name in INPUTS
        if name != "CuratedSchema"
    }
    assert {executors[label]["container"]["image"] for label in images} == {IMAGE}
    assert spec.default_pipeline_root == "s3://bucket/runs"
    text = out.read_text()
    assert str(prepared_copy) not in text, "a path of this machine is none of the container's"
    assert "/mnt/shop/artifacts/prepared" in text and "/mnt/shop/schema" in text
    assert [file.name for file in out.parent.iterdir()] == ["pipeline.yaml"]


@pytest.mark.parametrize(("out", "words"), [("pipeline.txt", "unknown extension")])
def test_another_ending_is_refused(prepared_copy: Path, tmp_path: Path, out: str, words: str) -> None:
    answer = sqidflow("compile", "--out", str(tmp_path / out), "--workdir", str(prepared_copy))
    assert answer.code == 2 and words in answer.err and not list(tmp_path.iterdir())
