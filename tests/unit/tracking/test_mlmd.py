"""What a notebook takes for the newest artifact."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ml_metadata.metadata_store import MetadataStore
from ml_metadata.proto import metadata_store_pb2 as pb

from sqidflow.core.errors import DataError, MissingInputError
from sqidflow.tracking.mlmd import TfxArtifacts, check_metadata

RUNNING, COMPLETE, CACHED = pb.Execution.RUNNING, pb.Execution.COMPLETE, pb.Execution.CACHED


class Recorder:
    """Writes executions as TFX does: a context a node, events with the channel's key."""

    def __init__(self, root: Path) -> None:
        self.root = root
        config = pb.ConnectionConfig()
        config.sqlite.filename_uri = str(root / "metadata.db")
        config.sqlite.connection_mode = pb.SqliteMetadataSourceConfig.READWRITE_OPENCREATE
        self.store = MetadataStore(config)
        self.node_type = self.store.put_context_type(pb.ContextType(name="node"))

    def artifact(self, kind: str, name: str) -> int:
        folder = self.root / name
        folder.mkdir(parents=True, exist_ok=True)
        type_id = self.store.put_artifact_type(pb.ArtifactType(name=kind))
        [found] = self.store.put_artifacts([pb.Artifact(type_id=type_id, uri=str(folder))])
        return found

    def model(self, run_id: str) -> int:
        found = self.artifact("Model", f"model_{run_id}")
        card = self.root / f"model_{run_id}" / "Format-Serving" / "sqidflow.json"
        card.parent.mkdir()
        card.write_text(json.dumps({"mlflow_run_id": run_id}))
        return found

    def run(self, node: str, inputs: dict[str, int], outputs: dict[str, int], state: Any = COMPLETE) -> None:
        type_id = self.store.put_execution_type(pb.ExecutionType(name=node))
        events = [
            pb.Event(artifact_id=artifact, type=kind, path=pb.Event.Path(steps=[pb.Event.Path.Step(key=key)]))
            for kind, channels in ((pb.Event.INPUT, inputs), (pb.Event.OUTPUT, outputs))
            for key, artifact in channels.items()
        ]
        context = pb.Context(type_id=self.node_type, name=f"a-pipeline.{node}")
        self.store.put_execution(
            pb.Execution(type_id=type_id, last_known_state=state),
            [(self.store.get_artifacts_by_id([event.artifact_id])[0], event) for event in events],
            [context],
            reuse_context_if_already_exist=True,
        )


@pytest.fixture
def recorder(tmp_path: Path) -> Recorder:
    return Recorder(tmp_path)


def test_the_newest_finished_execution_counts(recorder: Recorder) -> None:
    first, second, third = (recorder.artifact("ExampleStatistics", f"statistics_{n}") for n in range(3))
    recorder.run("StatisticsGen", {}, {"statistics": first})
    recorder.run("StatisticsGen", {}, {"statistics": second}, CACHED)
    recorder.run("StatisticsGen", {}, {"statistics": third}, RUNNING)
    found = TfxArtifacts(recorder.root / "metadata.db")
    assert found.latest("StatisticsGen", "ExampleStatistics").name == "statistics_1"
    with pytest.raises(MissingInputError, match="no run has finished SchemaGen.*make run"):
        found.latest("SchemaGen", "Schema")


def test_a_folder_that_is_gone_is_named(recorder: Recorder) -> None:
    recorder.run("SchemaGen", {}, {"schema": recorder.artifact("Schema", "schema_1")})
    (recorder.root / "schema_1").rmdir()
    with pytest.raises(MissingInputError, match=r"schema_1: does not exist.*--no-cache"):
        TfxArtifacts(recorder.root / "metadata.db").latest("SchemaGen", "Schema")


def test_the_baseline_of_a_newer_evaluation_is_not_its_model(recorder: Recorder) -> None:
    old, new = recorder.model("old"), recorder.model("new")
    evaluations = [recorder.artifact("ModelEvaluation", f"evaluation_{name}") for name in ("old", "new")]
    recorder.run("Evaluator", {"model": old}, {"evaluation": evaluations[0]})
    recorder.run("Evaluator", {"model": new, "baseline_model": old}, {"evaluation": evaluations[1]})
    found = TfxArtifacts(recorder.root / "metadata.db")
    assert found.evaluation_of("old").name == "evaluation_old"
    assert found.evaluation_of("new").name == "evaluation_new"
    with pytest.raises(MissingInputError, match="no evaluation of MLflow run other"):
        found.evaluation_of("other")


def test_no_metadata_at_all(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError, match="make run"):
        TfxArtifacts(tmp_path / "metadata.db")


@pytest.mark.parametrize("kept", [0.6, 0.001, 0.0])
def test_a_damaged_file_is_one_line_that_says_what_to_delete(tmp_path: Path, kept: float) -> None:
    recorder = Recorder(tmp_path)
    for number in range(30):
        recorder.run("Trainer", {}, {"model": recorder.model(str(number))})
    del recorder.store
    file = tmp_path / "metadata.db"
    check_metadata(file)
    content = file.read_bytes()
    file.write_bytes(content[: int(kept * len(content))] if kept else bytes(len(content)))
    with pytest.raises(DataError, match=rf"records are damaged .*delete the folder {tmp_path}") as caught:
        check_metadata(file)
    assert "\n" not in caught.value.message
    check_metadata(tmp_path / "none.db")
