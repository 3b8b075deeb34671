"""Which model a candidate is compared with."""

from __future__ import annotations

import pytest

pytest.importorskip("tfx")

from ml_metadata.metadata_store import MetadataStore
from ml_metadata.proto import metadata_store_pb2
from tfx.types.standard_artifacts import Model, ModelBlessing

from components.latest_blessed import LatestOtherBlessedModel
from components.latest_blessed.strategy import BLESSING, CANDIDATE, MODEL


def model(number: int) -> Model:
    made = Model()
    made.id = number
    return made


def blessing(number: int, of: int, blessed: bool = True) -> ModelBlessing:
    made = ModelBlessing()
    made.id = number
    made.set_int_custom_property("current_model_id", of)
    made.set_int_custom_property("blessed", int(blessed))
    return made


def store_that_pushed(ids: list[int]) -> MetadataStore:
    """A real ML Metadata store in memory in which these models were pushed, and one more Pusher pushed nothing."""
    connection = metadata_store_pb2.ConnectionConfig()
    connection.fake_database.SetInParent()
    store = MetadataStore(connection)
    artifact_type = store.put_artifact_type(metadata_store_pb2.ArtifactType(name="PushedModel"))
    model_type = store.put_artifact_type(metadata_store_pb2.ArtifactType(name="Model"))
    execution_type = store.put_execution_type(metadata_store_pb2.ExecutionType(name="Pusher"))
    models = store.put_artifacts([metadata_store_pb2.Artifact(type_id=model_type) for _ in range(12)])
    assert models == list(range(1, 13)), "the tests name models by these ids"
    for number in range(1, 13):
        made = metadata_store_pb2.Artifact(type_id=artifact_type)
        made.custom_properties["pushed"].int_value = int(number in ids)
        [output] = store.put_artifacts([made])
        [execution] = store.put_executions([metadata_store_pb2.Execution(type_id=execution_type)])
        event = metadata_store_pb2.Event
        store.put_events(
            [
                event(artifact_id=number, execution_id=execution, type=event.INPUT),
                event(artifact_id=output, execution_id=execution, type=event.OUTPUT),
            ]
        )
    return store


def resolve(
    models: list[Model], blessings: list[ModelBlessing], candidate: int, pushed: list[int] | None = None
) -> tuple[list[int], list[int]]:
    """Who is the baseline; all models were pushed unless ``pushed`` names those that were."""
    asked = {MODEL: models, BLESSING: blessings, CANDIDATE: [model(candidate)]}
    store = store_that_pushed([made.id for made in models] if pushed is None else pushed)
    found = LatestOtherBlessedModel().resolve_artifacts(store, asked)
    assert [artifact.id for artifact in found[CANDIDATE]] == [candidate]
    return [artifact.id for artifact in found[MODEL]], [artifact.id for artifact in found[BLESSING]]


def test_a_first_model_has_no_baseline():
    assert resolve([model(3)], [], candidate=3) == ([], [])


def test_the_latest_blessed_one():
    models = [model(1), model(5), model(3), model(9)]
    blessings = [blessing(2, of=1), blessing(4, of=3), blessing(6, of=5, blessed=False)]
    assert resolve(models, blessings, candidate=9) == ([3], [4])


def test_a_blessed_candidate_is_not_its_own_baseline():
    models, blessings = [model(1), model(5)], [blessing(2, of=1), blessing(6, of=5)]
    assert resolve(models, blessings, candidate=5) == ([1], [2])
    assert resolve([model(5)], [blessing(6, of=5)], candidate=5) == ([], [])


def test_an_older_candidate_is_compared_with_a_newer_blessed_one():
    models, blessings = [model(1), model(5)], [blessing(2, of=1), blessing(6, of=5)]
    assert resolve(models, blessings, candidate=1) == ([5], [6])


def test_nothing_that_was_never_blessed():
    assert resolve([model(1), model(2)], [blessing(3, of=1, blessed=False)], candidate=2) == ([], [])


def test_what_it_is_given_stays_as_it_is():
    models, blessings = [model(1), model(5)], [blessing(2, of=1)]
    resolve(models, blessings, candidate=5)
    assert [artifact.id for artifact in models] == [1, 5]


def test_what_was_blessed_and_never_pushed_is_no_champion():
    models, blessings = [model(1), model(5), model(9)], [blessing(2, of=1), blessing(6, of=5)]
    assert resolve(models, blessings, candidate=9, pushed=[1]) == ([1], [2])
    assert resolve(models, blessings, candidate=9, pushed=[]) == ([], [])
