"""Lineage as OpenLineage run events, https://openlineage.io/spec/2-0-2/OpenLineage.json: other catalogues read these.

Every execution, training and answer is a run that started and ended; data, features, models and indexes are datasets.
Ids are derived from what they name, so that the same event sent twice is the same run.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from sqidflow.core.digests import CHANGES
from sqidflow.tracking.lineage import Lineage, Node

PRODUCER = "https://pypi.org/project/sqidflow"
SCHEMA_URL = "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent"
_FACETS = "https://openlineage.io/spec/facets"
_VERSION_FACET = f"{_FACETS}/1-0-1/DatasetVersionDatasetFacet.json#/$defs/DatasetVersionDatasetFacet"
_CODE_FACET = f"{_FACETS}/1-0-1/SourceCodeLocationJobFacet.json#/$defs/SourceCodeLocationJobFacet"
_JOB_TYPE_FACET = f"{_FACETS}/2-0-3/JobTypeJobFacet.json#/$defs/JobTypeJobFacet"
_ERROR_FACET = f"{_FACETS}/1-0-1/ErrorMessageRunFacet.json#/$defs/ErrorMessageRunFacet"
_RUNS = ("execution", "mlflow_run", "answer", "answers")
_DATASETS = ("data", "pairs", "feature_service", "index", "model")
_MADE_BY = {"pairs": "sqidflow.features", "feature_service": "sqidflow.features", "index": "sqidflow.index"}
_END = {"failed": "FAIL", "FAILED": "FAIL", "KILLED": "ABORT", "cancelled": "ABORT"}
_NAMES = uuid.uuid5(uuid.NAMESPACE_URL, PRODUCER)


@dataclass(frozen=True)
class Dataset:
    """An OpenLineage dataset with its version."""

    namespace: str
    name: str
    version: str

    def document(self) -> dict[str, Any]:
        facet = _facet(_VERSION_FACET, datasetVersion=self.version)
        return {"namespace": self.namespace, "name": self.name, "facets": {"version": facet}}


@dataclass(frozen=True)
class RunEvent:
    """One state of a run."""

    type: str
    time: str
    run_id: str
    namespace: str
    job: str
    integration: str
    inputs: tuple[Dataset, ...] = ()
    outputs: tuple[Dataset, ...] = ()
    commit: str | None = None
    problem: str | None = None
    facets: dict[str, Any] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        """As the specification has it."""
        job_facets: dict[str, Any] = {
            "jobType": _facet(_JOB_TYPE_FACET, processingType="BATCH", integration=self.integration, jobType="JOB")
        }
        if self.commit:
            job_facets["sourceCodeLocation"] = _facet(
                _CODE_FACET, type="git", url=f"git:{self.commit}", version=self.commit
            )
        run_facets = dict(self.facets)
        if self.problem:
            run_facets["errorMessage"] = _facet(_ERROR_FACET, message=self.problem, programmingLanguage="Python")
        return {
            "eventType": self.type,
            "eventTime": self.time,
            "run": {"runId": self.run_id, "facets": run_facets},
            "job": {"namespace": self.namespace, "name": self.job, "facets": job_facets},
            "inputs": [each.document() for each in self.inputs],
            "outputs": [each.document() for each in self.outputs],
            "producer": PRODUCER,
            "schemaURL": SCHEMA_URL,
        }


def _facet(schema: str, **values: Any) -> dict[str, Any]:
    return {"_producer": PRODUCER, "_schemaURL": schema, **values}


def run_events(lineage: Lineage, namespace: str, now: datetime) -> list[dict[str, Any]]:
    """A start and an end of every run in the graph, in the order of their times.

    Args:
        namespace: of the jobs; the workdir's, so that two workdirs are told apart.
        now: the time of runs that do not say when they were.
    """
    nodes = [node for node in lineage.nodes.values() if node.kind in _RUNS]
    commits = [node for node in lineage.nodes.values() if node.kind == "commit" and node.name != "none"]
    events = [event for node in nodes for event in _events_of(lineage, node, namespace, commits, now)]
    for node in lineage.nodes.values():
        if node.kind in _MADE_BY:
            events += _making_of(lineage, node, namespace, events)
    return [event.document() for event in sorted(events, key=lambda event: (event.time, event.type != "START"))]


def _events_of(lineage: Lineage, node: Node, namespace: str, commits: list[Node], now: datetime) -> Iterable[RunEvent]:
    inputs, outputs = _datasets_of(lineage, node, namespace)
    facts = node.facts
    started = _time(facts.get("started") or facts.get("at") or facts.get("first"), now)
    ended = _time(facts.get("ended") or facts.get("at") or facts.get("last") or facts.get("started"), now)
    job = {
        "execution": f"tfx.{node.name.partition('/')[0]}", "mlflow_run": "mlflow.training", "answer": "sqidflow.answer",
        "answers": "sqidflow.answers",
    }[node.kind]  # fmt: skip
    integration = {"execution": "TFX", "mlflow_run": "MLFLOW"}.get(node.kind, "SQIDFLOW")
    commit = next((each.name.removesuffix(CHANGES) for each in commits), None) if len(commits) == 1 else None
    of_node = {link.target: link for link in lineage.links if link.source == node.id}
    own = [each for each in commits if each.id in of_node]
    if own:
        commit = own[0].name.removesuffix(CHANGES)
    state = str(facts.get("state") or facts.get("status") or "")
    end = "FAIL" if node.broken and not facts else _END.get(state, "COMPLETE")
    run_id = str(uuid.uuid5(_NAMES, f"{namespace} {node.id}"))
    common = (run_id, namespace, job, integration)
    yield RunEvent("START", started, *common, inputs, (), commit)
    yield RunEvent(end, max(started, ended), *common, inputs, outputs, commit, node.broken)


def _making_of(lineage: Lineage, node: Node, namespace: str, events: Sequence[RunEvent]) -> list[RunEvent]:
    """The run of a verb that made a dataset from others. When that was is not recorded: its time is the first at which
    the dataset was read."""
    inputs = tuple(_dataset(origin, namespace) for _, origin in lineage.origins(node.id) if origin.kind in _DATASETS)
    output = _dataset(node, namespace)
    read_at = min((event.time for event in events if output in event.inputs), default=None)
    if not inputs or read_at is None:
        return []
    run_id = str(uuid.uuid5(_NAMES, f"{namespace} making {node.id}"))
    common = (read_at, run_id, namespace, _MADE_BY[node.kind], "SQIDFLOW", inputs)
    return [RunEvent("START", *common), RunEvent("COMPLETE", *common, (output,), None, node.broken)]


def _datasets_of(lineage: Lineage, node: Node, namespace: str) -> tuple[tuple[Dataset, ...], tuple[Dataset, ...]]:
    """What a run read and wrote. Between two executions that read from each other is the examples' dataset."""
    inputs, outputs = [], []
    for _, origin in lineage.origins(node.id):
        if origin.kind in _DATASETS:
            inputs.append(_dataset(origin, namespace))
        elif origin.kind == "execution":
            inputs.append(_output_of(origin, namespace))
    for _, result in lineage.results(node.id):
        if result.kind in _DATASETS:
            outputs.append(_dataset(result, namespace))
    if node.kind == "execution":
        outputs.append(_output_of(node, namespace))
    return tuple(dict.fromkeys(inputs)), tuple(dict.fromkeys(outputs))


def _dataset(node: Node, namespace: str) -> Dataset:
    name = {
        "data": "data",
        "pairs": "artifacts/prepared/pairs",
        "index": "artifacts/index",
        "model": "artifacts/serving",
    }
    if node.kind == "feature_service":
        service, _, version = node.name.partition(" ")
        return Dataset(namespace, f"feast.{service}", version or service)
    return Dataset(namespace, name[node.kind], node.name)


def _output_of(node: Node, namespace: str) -> Dataset:
    job, _, number = node.name.partition("/")
    return Dataset(namespace, f"tfx.{job}.outputs", number or "unknown")


def _time(text: Any, now: datetime) -> str:
    """ISO 8601 with a zone, in UTC and in one form, so that times can be compared as texts."""
    try:
        at = datetime.fromisoformat(str(text))
    except ValueError:
        at = now
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).astimezone(UTC).isoformat(timespec="milliseconds")
