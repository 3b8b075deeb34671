"""From a model back to its data: what MLflow, ML Metadata, the feature store, DVC and git say.

MLflow is not imported for a sqlite store: that alone would take seconds. A link that cannot be established is a node
that says why; nothing here fails for it.
"""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from sqidflow.core.digests import CHANGES, NO_COMMIT, file_sha256, git_output
from sqidflow.core.errors import DataError, SqidflowError
from sqidflow.core.model_files import ZERO_SHOT_VERSION, read_card
from sqidflow.core.pushes import push_number
from sqidflow.core.settings import CHECKOUT, Settings
from sqidflow.core.sqlite import read_only
from sqidflow.core.workdir import Workdir
from sqidflow.data.versions import content_stamp, recorded_hash
from sqidflow.feature_store.connection import feast_dir
from sqidflow.feature_store.names import PRODUCT_VIEW, QUERY_VIEW
from sqidflow.tracking.lineage import Lineage, Node
from sqidflow.tracking.mlmd import ArtifactRecord, ExecutionRecord, Training, training_of
from sqidflow.tracking.runs import STORE, sqlite_file

_COMMIT = re.compile(r"[0-9a-f]{7,64}")
_FINGERPRINT = re.compile(r"split:([^,]*),num_files:\d+,total_bytes:(\d+),xor_checksum:(\d+),")
_RUN_TAGS = ("data_hash", "git_commit", "feature_service", "tfx_execution", "blessed", "energy_method")
_NOT_RECORDED = "not recorded"


@dataclass(frozen=True)
class RunRecord:
    """An MLflow run; ``registered``: the version in the registry, ``aliases`` that it has there."""

    run_id: str
    name: str
    status: str
    started_ms: int | None
    ended_ms: int | None
    tags: Mapping[str, str]
    registered: int | None
    aliases: tuple[str, ...]


class Origins:
    """Reads a workdir's records. ``recorded``: the version that data.dvc names now, None where it names none."""

    def __init__(self, workdir: Workdir, settings: Settings) -> None:
        self._workdir, self._settings = workdir, settings
        self._tracking_uri = settings.tracking.uri or f"sqlite:///{workdir.mlflow / STORE}"
        self.recorded: str | None = None
        self._data_problem: str | None = None
        try:
            self.recorded = recorded_hash(workdir.root)
        except (DataError, OSError, UnicodeDecodeError) as error:
            self._data_problem = str(error)
        self.trainings: dict[str, Training] = {}
        """Version of a model -> what ML Metadata records of it, of those that were traced."""
        self.runs: dict[str, RunRecord] = {}

    def card_of(self, version: str) -> dict[str, Any] | None:
        """The card of a pushed model; None where its folder is gone or cannot be read."""
        return read_card(self._workdir.serving / version) or None

    def trace_model(self, lineage: Lineage, version: str) -> Node:
        """Add a model and all that it was made from; returns the model's node."""
        if version == ZERO_SHOT_VERSION:
            return lineage.add(Node("model", version, note="the ranker that needs no training"))
        card, broken = self.card_of(version), None
        if card is None:
            card = self._card_in_pipeline(version)
            broken = "its folder in artifacts/serving is gone" + ("" if card else ", and what trained it is not known")
        card = card or {}
        run_id, data_hash, commit = card.get("mlflow_run_id"), card.get("data_hash"), card.get("git_commit")
        facts = {"model": card.get("model"), "feature_contract": card.get("feature_contract")}
        facts["push"] = push_number(self._workdir.serving / version)
        model = lineage.add(Node("model", version, _known(facts), broken))
        if not card:
            return model
        commit_node = self._commit(commit)
        lineage.link(model, commit_node, "trained with the code of")
        data = self.trace_data(lineage, data_hash, commit)
        run = self._run(run_id, data_hash)
        lineage.link(model, run, "trained in")
        lineage.link(run, data, "learned from")
        record = self.runs.get(str(run_id))
        tagged = record.tags.get("tfx_execution") if record is not None else None
        try:
            training = training_of(self._workdir.mlmd, tagged, run_id, version)
        except SqidflowError as error:
            name = tagged or f"Trainer of {version}"
            lineage.link(run, Node("execution", name, broken=error.message), "ran as")
            service = Node("feature_service", str(card.get("feature_service") or _NOT_RECORDED), self._views(card))
            lineage.link(model, service, "reads features of")
            lineage.link(service, data, "computed from")
            return model
        self.trainings[version] = training
        self._trace_training(lineage, run, model, training, card, data)
        return model

    def _trace_training(
        self, lineage: Lineage, run: Node, model: Node, training: Training, card: Mapping[str, Any], data: Node
    ) -> None:
        nodes = {each.id: _execution(each) for each in (*training.before, training.trainer, *training.after)}
        makers = {artifact: each for each in (*training.before, training.trainer) for artifact in each.outputs}
        lineage.link(run, nodes[training.trainer.id], "ran as")
        waiting, seen = [training.trainer], set()
        while waiting:
            execution = waiting.pop(0)
            if execution.id in seen:
                continue
            seen.add(execution.id)
            for artifact in execution.inputs:
                maker = makers.get(artifact)
                if maker is not None and maker.id != execution.id:
                    lineage.link(nodes[execution.id], nodes[maker.id], f"read {training.artifacts[artifact].type} of")
                    waiting.append(maker)
        for execution in training.after:
            relation = "pushed by" if execution.node == "Pusher" else "judged by"
            lineage.link(model, nodes[execution.id], relation)
        for execution in training.before:
            if execution.node == "FeatureJoin":
                joined = _outputs(training, execution)
                service = self._feature_service(card, joined)
                lineage.link(nodes[execution.id], service, "joined features of")
                lineage.link(service, data, "computed from")
            if execution.node.endswith("ExampleGen"):
                pairs = self._pairs(_outputs(training, execution))
                lineage.link(nodes[execution.id], pairs, "read")
                lineage.link(pairs, data, "prepared from")

    def trace_data(self, lineage: Lineage, data_hash: str | None, commit: str | None) -> Node:
        """Add a version of the data and the commit that records it; returns the data's node."""
        if not data_hash:
            return lineage.add(Node("data", _NOT_RECORDED, broken="nothing says which data it was"))
        known = lineage.nodes.get(f"data:{data_hash}")
        if known is not None and not known.broken:
            return known
        here = self.recorded == data_hash
        recorder = self._recorder(data_hash, commit)
        note = broken = None
        if not here and recorder is not None:
            note = (
                f"data.dvc names {self.recorded or 'no version'} now; `git checkout {recorder[:12]} -- data.dvc` and "
                "`dvc checkout data.dvc` bring it back"
            )
        elif not here:
            if self._data_problem:
                broken = self._data_problem
            elif self.recorded is None:
                broken = "there is no data.dvc in the workdir that names a version, and none in git that names this one"
            else:
                broken = f"data.dvc names {self.recorded}, and no commit is known whose data.dvc names this one"
        data = lineage.add(Node("data", data_hash, {"data.dvc": "names it" if here else "names another"}, broken, note))
        if recorder is not None:
            lineage.link(data, self._commit(recorder), "recorded in data.dvc of")
        return data

    def _recorder(self, data_hash: str, commit: str | None) -> str | None:
        """A commit whose data.dvc names a version: the one of the training, else the last that did."""
        root = self._workdir.root if (self._workdir.root / ".git").exists() else CHECKOUT
        if not (root / ".git").exists():
            return None
        of_training = (commit or "").removesuffix(CHANGES)
        if _COMMIT.fullmatch(of_training) and _names(git_output(root, "show", f"{of_training}:data.dvc"), data_hash):
            return of_training
        log = git_output(root, "log", "--format=%H", f"-S{data_hash}", "--", "data.dvc")
        for found in (log or "").split():
            if _names(git_output(root, "show", f"{found}:data.dvc"), data_hash):
                return found
        return None

    def _commit(self, commit: str | None) -> Node:
        if not commit or commit == NO_COMMIT:
            return Node("commit", NO_COMMIT, broken="there was no git where it was made: its code is not known")
        plain = commit.removesuffix(CHANGES)
        if not _COMMIT.fullmatch(plain):
            return Node("commit", commit, broken="this is no commit")
        said = None
        for root in dict.fromkeys((CHECKOUT, self._workdir.root)):
            if (root / ".git").exists():
                said = said or git_output(root, "log", "-1", "--format=%cI%x09%s", f"{plain}^{{commit}}", "--")
        facts: dict[str, Any] = {}
        if said:
            at, _, subject = said.partition("\t")
            facts = {"at": at, "subject": subject}
        broken = None
        if not said:
            broken = "this checkout's git does not have it"
        elif commit.endswith(CHANGES):
            broken = "the checkout had uncommitted changes: the commit alone does not bring the code back"
        return Node("commit", commit, facts, broken)

    def _run(self, run_id: str | None, data_hash: str | None) -> Node:
        if not run_id:
            return Node(
                "mlflow_run", _NOT_RECORDED, broken="the training was not tracked, or its store was not reachable"
            )
        try:
            record = self._read_run(run_id)
        except SqidflowError as error:
            return Node("mlflow_run", run_id, broken=error.message)
        self.runs[run_id] = record
        facts = {
            "name": record.name, "status": record.status, "started": _iso(record.started_ms),
            "blessed": record.tags.get("blessed"), "registered": record.registered,
            "aliases": ", ".join(record.aliases) or None,
        }  # fmt: skip
        broken = None
        if record.tags.get("data_hash") != data_hash:
            broken = f"MLflow says that it learned from {record.tags.get('data_hash')}, the model says {data_hash}"
        return Node("mlflow_run", run_id, _known(facts), broken)

    def _read_run(self, run_id: str) -> RunRecord:
        """Raises DataError: no such run, or a store that cannot be read."""
        file = sqlite_file(self._tracking_uri)
        if file is None:
            return _run_of_server(self._tracking_uri, run_id)
        if not file.is_file():
            raise DataError("does not exist", file=file, hint="MLflow's records are lost")
        try:
            with read_only(file) as store:
                return _run_of_file(store, run_id, file)
        except sqlite3.Error as error:
            raise DataError(f"MLflow's store cannot be read ({error})", file=file, hint="restore it") from error

    def runs_on(self, data_hash: str) -> dict[str, str]:
        """MLflow runs that say they learned from a version of the data: id -> name. Empty where there is no store."""
        file = sqlite_file(self._tracking_uri)
        if file is None or not file.is_file():
            return {}
        try:
            with read_only(file) as store:
                return dict(
                    store.execute(
                        "SELECT r.run_uuid, r.name FROM runs r JOIN tags t ON t.run_uuid = r.run_uuid "
                        "AND t.key = 'data_hash' AND t.value = ? "
                        "JOIN tags x ON x.run_uuid = r.run_uuid AND x.key = 'tfx_execution' "
                        "WHERE r.lifecycle_stage = 'active' ORDER BY r.start_time",
                        (data_hash,),
                    ).fetchall()
                )
        except sqlite3.Error:
            return {}

    def _card_in_pipeline(self, version: str) -> dict[str, Any] | None:
        """The card in the Trainer's own output, which stays when a pushed folder is deleted."""
        try:
            training = training_of(self._workdir.mlmd, None, None, version)
        except SqidflowError:
            return None
        cards = (read_card(Path(m.uri) / "Format-Serving") for m in training.outputs_of("Trainer", "Model"))
        return next((card for card in cards if card), None)

    def _views(self, card: Mapping[str, Any]) -> dict[str, Any]:
        return _known({"contract": card.get("feature_contract"), "views": f"{QUERY_VIEW}, {PRODUCT_VIEW}"})

    def _feature_service(self, card: Mapping[str, Any], joined: list[ArtifactRecord]) -> Node:
        sources = next((each.properties.get("feature_sources") for each in joined), None)
        facts = self._views(card) | _known({"sources": sources})
        name = next((each.properties.get("feature_service") for each in joined), None)
        name = str(name or card.get("feature_service") or _NOT_RECORDED)
        if sources is None:
            return Node("feature_service", name, facts, broken="the join did not record which sources it read")
        materialized = (_json(feast_dir(self._workdir.artifacts) / "materialized.json") or {}).get("digest")
        note = None
        if materialized != sources:
            note = (
                "the feature store holds other features now" if materialized else "the feature store is not there now"
            )
        return Node("feature_service", f"{name} {str(sources)[:12]}", facts, note=note)

    def _pairs(self, examples: list[ArtifactRecord]) -> Node:
        """What ExampleGen read, by size and by the time that a run derives from the content's md5."""
        fingerprint = next((str(each.properties.get("input_fingerprint", "")) for each in examples), "")
        read = _FINGERPRINT.findall(fingerprint)
        if not read:
            return Node("pairs", _NOT_RECORDED, broken="ML Metadata does not say which pairs were read")
        name = "+".join(f"{size} bytes {stamp}" for _, size, stamp in read)
        files = [self._workdir.pairs if split == "pairs" else self._workdir.pairs_of_split(split) for split, *_ in read]
        facts: dict[str, Any] = {"files": ", ".join(file.name for file in files)}
        if all(_is_read(file, int(size), int(stamp)) for file, (_, size, stamp) in zip(files, read)):
            return Node("pairs", name, {**facts, "sha256": ", ".join(file_sha256(file) for file in files)})
        note = "the pairs on disk are others now; `sqidflow features` on that data prepares them again"
        return Node("pairs", name, facts, note=note)


def _is_read(file: Path, size: int, stamp: int) -> bool:
    """Whether a file is the one that was read, of that size and with that stamp of its content."""
    return file.is_file() and file.stat().st_size == size and content_stamp(file) == stamp


def _outputs(training: Training, execution: ExecutionRecord) -> list[ArtifactRecord]:
    return [training.artifacts[artifact] for artifact in execution.outputs]


def _execution(record: ExecutionRecord) -> Node:
    facts = {"state": record.state, "started": _iso(record.started_ms), "ended": _iso(record.ended_ms)}
    return Node("execution", f"{record.node}/{record.id}", _known(facts))


def _names(text: str | None, data_hash: str) -> bool:
    try:
        return text is not None and bool(yaml.safe_load(text)["outs"][0].get("md5") == data_hash)
    except (yaml.YAMLError, KeyError, IndexError, TypeError, AttributeError):
        return False


def _run_of_file(store: sqlite3.Connection, run_id: str, file: Path) -> RunRecord:
    row = store.execute(
        "SELECT name, status, start_time, end_time, lifecycle_stage FROM runs WHERE run_uuid = ?", (run_id,)
    ).fetchone()
    if row is None or row[4] != "active":
        what = f"has no run {run_id}" if row is None else f"run {run_id} was deleted"
        raise DataError(what, file=file, hint="the training's records are lost")
    marks = ",".join("?" * len(_RUN_TAGS))
    tags = dict(
        store.execute(
            f"SELECT key, value FROM tags WHERE run_uuid = ? AND key IN ({marks})", (run_id, *_RUN_TAGS)
        ).fetchall()
    )
    registered, aliases = None, ()
    found = store.execute("SELECT name, version FROM model_versions WHERE run_id = ?", (run_id,)).fetchone()
    if found is not None:
        registered = int(found[1])
        rows = store.execute("SELECT alias FROM registered_model_aliases WHERE name = ? AND version = ?", found)
        aliases = tuple(sorted(alias for (alias,) in rows.fetchall()))
    return RunRecord(run_id, row[0] or "", row[1], row[2], row[3], tags, registered, aliases)


def _run_of_server(uri: str, run_id: str) -> RunRecord:
    try:
        import mlflow

        from sqidflow.tracking.runs import be_impatient

        be_impatient()
        client = mlflow.MlflowClient(tracking_uri=uri)
        run = client.get_run(run_id)
        versions = client.search_model_versions(f"run_id='{run_id}'")
    except Exception as error:  # MLflow raises its own and requests' errors
        why = (str(error).splitlines() or [repr(error)])[0][:200]
        raise DataError(f"MLflow does not answer ({why})", file="tracking.uri", hint="start its server") from error
    info = run.info
    first = versions[0] if versions else None
    return RunRecord(
        run_id, info.run_name, info.status, info.start_time, info.end_time, dict(run.data.tags),
        int(first.version) if first else None, tuple(first.aliases) if first else (),
    )  # fmt: skip


def _json(file: Path) -> dict[str, Any] | None:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def _known(facts: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in facts.items() if value is not None}


def _iso(milliseconds: int | None) -> str | None:
    return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="seconds") if milliseconds else None
