"""Which pushed model is served: going back to one, and forward again. The service notices by itself."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from sqidflow.core.errors import SqidflowError
from sqidflow.core.model_files import read_card
from sqidflow.core.pushes import (
    pin_version,
    push_number,
    pushed_models,
    read_delivery,
    release_pin,
    served_before,
)
from sqidflow.core.settings import Settings
from sqidflow.core.workdir import Workdir
from sqidflow.search.index import Meta, ProductIndex
from sqidflow.search.ranker import load_ranker
from sqidflow.search.runs import Runs
from sqidflow.search.state import choose, find_index, not_served


@dataclass(frozen=True)
class Push:
    """A pushed model. ``pushed_at``: as its folder is named; ``ndcg``: on held-out queries, as MLflow has it;
    ``index``: digest of the index that it would be served with; ``passed_over``: pushed while another was pinned."""

    version: str
    number: int | None
    pushed_at: str
    model: str | None
    ndcg: float | None
    mlflow_run_id: str | None
    index: str | None
    served: bool
    pinned: bool
    passed_over: bool


@dataclass(frozen=True)
class Change:
    """What a rollback or a release came to. ``note``: why the newest push is not what is served."""

    served: str
    pinned: bool
    instead_of: str | None
    index: str
    mlflow_run_id: str | None
    note: str | None

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def pushes(workdir: Workdir, settings: Settings) -> list[Push]:
    """All pushed models, the newest first.

    Raises:
        SqidflowError: the delivery record is damaged.
    """
    delivery = read_delivery(workdir.serving)
    served = _served(workdir, settings)
    runs = Runs(settings.tracking.uri, workdir.mlflow, settings.tracking.experiment, None).read(set()).runs
    ndcg = {run.run_id: run.ndcg.mean for run in runs if run.ndcg is not None}
    out = []
    for folder in pushed_models(workdir.serving):
        card, index = read_card(folder), None
        with suppress(SqidflowError):
            index = find_index(workdir, settings, folder.name).name
        run_id = card.get("mlflow_run_id")
        out.append(
            Push(
                folder.name,
                push_number(folder),
                datetime.fromtimestamp(int(folder.name), UTC).isoformat() if len(folder.name) == 10 else folder.name,
                card.get("model"),
                ndcg.get(str(run_id)),
                run_id,
                index,
                folder.name == served,
                delivery.pin is not None and delivery.pin.version == folder.name,
                folder.name in delivery.passed_over,
            )
        )
    return out


def roll_back(workdir: Workdir, settings: Settings, version: str | None = None) -> Change:
    """Pin a pushed version: it is served until it is released, whatever is pushed.

    It is opened once before, with its index, so that nothing is pinned that cannot answer.

    Args:
        version: None takes the push before the one that is served, of those that were ever to be served.

    Raises:
        SqidflowError: there is no such version or none before; its model or its index is missing or damaged.
    """
    known = [folder.name for folder in pushed_models(workdir.serving)]
    if not known:
        raise SqidflowError("no model was pushed", where=workdir.serving, hint="train and push one: `sqidflow run`")
    served = _served(workdir, settings)
    if version is None:
        version = served_before(workdir.serving, served or known[0])
        if version is None:
            raise SqidflowError(
                f"no model was served before {served or known[0]}",
                where=workdir.serving,
                hint=f"name a version; pushed: {', '.join(known)}",
            )
    if version not in known:
        raise SqidflowError(
            f"there is no pushed model {version}", where=workdir.serving, hint=f"pushed: {', '.join(known)}"
        )
    meta = _checked(workdir, settings, version)
    pin_version(workdir.serving, version, served)
    return Change(version, True, served, meta.digest, meta.mlflow_run_id, not_served(workdir, version))


def release(workdir: Workdir, settings: Settings) -> Change | None:
    """Lift the pin: the newest push that has an index is served again. None where nothing was pinned.

    Raises:
        SqidflowError: no index of any model; the delivery record is damaged or cannot be written.
    """
    pin = release_pin(workdir.serving)
    if pin is None:
        return None
    version, folder = choose(workdir, settings)
    meta = Meta.read(folder)
    return Change(version, False, pin.version, meta.digest, meta.mlflow_run_id, not_served(workdir, version))


def _served(workdir: Workdir, settings: Settings) -> str | None:
    """The version that a service started now would answer with; None where it would not start."""
    try:
        return choose(workdir, settings)[0]
    except SqidflowError:
        return None


def _checked(workdir: Workdir, settings: Settings, version: str) -> Meta:
    try:
        folder = find_index(workdir, settings, version)
    except SqidflowError as error:
        raise SqidflowError(
            f"model {version} has no product index of these settings, so it cannot answer",
            where=workdir.index,
            hint=f"build it first: `sqidflow index --version {version}`",
        ) from error
    meta = ProductIndex(folder).meta
    load_ranker(workdir.serving, version, meta.dim)
    return meta
