"""Lineage of an answer, of a model and of a version of the data: the graph, from all that a workdir records."""

from __future__ import annotations

from pathlib import Path

from sqidflow.core.errors import SqidflowError
from sqidflow.core.pushes import pushed_models
from sqidflow.core.settings import Settings
from sqidflow.core.workdir import Workdir
from sqidflow.search.exposures import AnswersOfModel, answers_by_model, find_answer
from sqidflow.search.index import Meta, index_folders
from sqidflow.tracking.lineage import Lineage, Node
from sqidflow.tracking.origins import Origins

_FEWEST_DIGITS = 6


def of_answer(workdir: Workdir, settings: Settings, request_id: str) -> Lineage:
    """From an answer to its data. One that is not known is a node that says so."""
    origins = Origins(workdir, settings)
    try:
        answer = find_answer(_log(workdir), request_id)
        days = settings.search.query_log_days
        why = f"neither the store of answers nor the query log has it: never given, or deleted after {days} days"
    except SqidflowError as error:
        answer, why = None, error.message
    if answer is None:
        return Lineage(Node("answer", request_id, broken=why))
    facts = {"at": answer.at, "query": answer.query, "strategy": answer.strategy, "found_in": answer.source}
    missing = None if answer.models else "its record does not name the model"
    node = Node("answer", request_id, facts, broken=missing)
    lineage = Lineage(node)
    for version in answer.models:
        lineage.link(node, origins.trace_model(lineage, version), "answered by")
    for digest in answer.indexes:
        lineage.link(node, _trace_index(lineage, origins, workdir, digest), "found in")
    return lineage


def of_model(workdir: Workdir, settings: Settings, version: str) -> Lineage:
    """From a model to its data, and to the indexes and answers that came of it.

    Raises:
        SqidflowError: nothing knows the version.
    """
    origins = Origins(workdir, settings)
    lineage = Lineage(Node("model", version))
    del lineage.nodes[lineage.root]  # what is known of it is added by tracing it
    model = origins.trace_model(lineage, version)
    is_known = not model.broken or len(lineage.nodes) > 1
    _add_results(lineage, origins, workdir, [model])
    if not is_known and all(node.facts.get("count") == 0 for node in lineage.nodes.values() if node is not model):
        known = [folder.name for folder in pushed_models(workdir.serving)]
        raise SqidflowError(
            f"nothing is known of a model {version}", where=workdir.serving,
            hint=f"pushed: {', '.join(known) or 'none'}",
        )  # fmt: skip
    return lineage


def of_data(workdir: Workdir, settings: Settings, data_hash: str) -> Lineage:
    """From a version of the data to the commit that records it, and to the models and answers that came of it.

    Args:
        data_hash: as data.dvc names it, or its first digits, at least six.

    Raises:
        SqidflowError: nothing knows the hash, or more than one begins like that.
    """
    origins = Origins(workdir, settings)
    cards = {folder.name: origins.card_of(folder.name) or {} for folder in pushed_models(workdir.serving)}
    metas = _metas(workdir)
    known = {str(card["data_hash"]) for card in cards.values() if card.get("data_hash")}
    known |= {meta.data_hash for meta in metas if meta.data_hash} | ({origins.recorded} if origins.recorded else set())
    data_hash = _whole(data_hash, known, workdir)
    lineage = Lineage(Node("data", data_hash))
    del lineage.nodes[lineage.root]
    data = origins.trace_data(lineage, data_hash, None)
    models = [
        origins.trace_model(lineage, version) for version, card in cards.items() if card.get("data_hash") == data_hash
    ]
    traced = {node.name for node in lineage.nodes.values() if node.kind == "mlflow_run"}
    for run_id, name in origins.runs_on(data_hash).items():
        if run_id not in traced:
            run = Node("mlflow_run", run_id, {"name": name}, note="its model was not pushed, or is gone")
            lineage.link(run, data, "learned from")
    for meta in metas:
        if meta.data_hash == data_hash:
            _trace_index(lineage, origins, workdir, meta.digest)
    _add_results(lineage, origins, workdir, models)
    return lineage


def _whole(data_hash: str, known: set[str], workdir: Workdir) -> str:
    matching = sorted(each for each in known if each.startswith(data_hash))
    if data_hash in known or (len(data_hash) >= _FEWEST_DIGITS and len(matching) == 1):
        return data_hash if data_hash in known else matching[0]
    if len(matching) > 1 or (matching and len(data_hash) < _FEWEST_DIGITS):
        raise SqidflowError(
            f"{data_hash} is not enough: {', '.join(matching)}", where="--data",
            hint=f"give at least {_FEWEST_DIGITS} digits that only one version begins with",
        )  # fmt: skip
    raise SqidflowError(
        f"no model, index or data.dvc here names the data {data_hash}", where=workdir.root,
        hint=f"known: {', '.join(sorted(known)) or 'none'}",
    )  # fmt: skip


def _add_results(lineage: Lineage, origins: Origins, workdir: Workdir, models: list[Node]) -> None:
    versions = {model.name for model in models}
    for meta in _metas(workdir):
        if meta.model_version in versions:
            _trace_index(lineage, origins, workdir, meta.digest)
    try:
        given = answers_by_model(_log(workdir))
    except SqidflowError as error:
        for model in models:
            lineage.link(Node("answers", f"of {model.name}", broken=error.message), model, "answered by")
        return
    for model in models:
        lineage.link(_answers(model.name, given.get(model.name)), model, "answered by")


def _answers(version: str, given: AnswersOfModel | None) -> Node:
    if given is None:
        return Node("answers", f"of {version}", {"count": 0}, note="none that is still known")
    facts = {
        "count": given.count, "first": given.first_at, "last": given.last_at, "newest": ", ".join(given.newest),
    }  # fmt: skip
    return Node("answers", f"of {version}", facts)


def _trace_index(lineage: Lineage, origins: Origins, workdir: Workdir, digest: str) -> Node:
    """Add a product index: its products are of a version of the data that may be newer than its model's."""
    meta = next((each for each in _metas(workdir) if each.digest == digest), None)
    if meta is None:
        return lineage.add(
            Node("index", digest, broken="it was deleted since: which version of the data its products were of is lost")
        )
    facts = {"products": meta.products, "updated_from": meta.updated_from}
    index = lineage.add(Node("index", digest, {name: value for name, value in facts.items() if value is not None}))
    lineage.link(index, origins.trace_model(lineage, meta.model_version), "built for")
    lineage.link(index, origins.trace_data(lineage, meta.data_hash, meta.git_commit), "products of")
    return index


def _metas(workdir: Workdir) -> list[Meta]:
    metas = []
    for folder in index_folders(workdir.index):
        try:
            metas.append(Meta.read(folder))
        except SqidflowError:
            continue
    return metas


def _log(workdir: Workdir) -> Path:
    return workdir.var / "search"
