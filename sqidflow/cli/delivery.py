"""Which pushed model is served: rollback."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from sqidflow.cli.console import print_json, table
from sqidflow.cli.options import JsonOption, SetOption, WorkdirOption, open_workdir, plain, say
from sqidflow.core.errors import SqidflowError
from sqidflow.core.quiet import quiet

if TYPE_CHECKING:
    from sqidflow.core.settings import Settings
    from sqidflow.core.workdir import Workdir
    from sqidflow.search.rollback import Push

app = typer.Typer()


@app.command("rollback")
def rollback_verb(
    version: Annotated[
        str | None,
        typer.Argument(help="A pushed version to serve from now on.", show_default="the one served before"),
    ] = None,
    lift: Annotated[bool, typer.Option("--release", help="Lift the pin: serve the newest push again.")] = False,
    show: Annotated[bool, typer.Option("--list", help="Change nothing: list the pushed versions.")] = False,
    workdir: WorkdirOption = None,
    settings: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Go back to a pushed model, which is then served until it is released, whatever is pushed meanwhile.

    A service that runs on this workdir switches within a second, without a restart and without a failed answer. The
    model needs its index; the last three pushes keep theirs, for an older one run [bold]sqidflow index --version
    VERSION[/] first. MLflow's alias champion follows. A run that holds the workdir does not stand in the way.

    Without a version, the push before the one that is served; called again, the one before that.

    Example: [bold]sqidflow rollback --list[/], [bold]sqidflow rollback[/], [bold]sqidflow rollback --release[/]
    """
    if (version is not None) + lift + show > 1:
        raise SqidflowError("a version, --release and --list exclude each other", hint="give one of them")
    place, options = open_workdir(workdir, settings)
    from sqidflow.search.rollback import pushes, release, roll_back

    if show:
        _show_pushes(pushes(place, options), as_json)
        return
    change = release(place, options) if lift else roll_back(place, options, version)
    if change is None:
        if as_json:
            print_json({"pinned": False, "released": False})
        else:
            say("nothing is pinned: the newest push is served")
        return
    champion, warning = _move_alias(place, options, change.mlflow_run_id)
    if as_json:
        print_json({**change.as_dict(), "released": lift, "champion": champion, "warning": warning})
        return
    before = f", instead of {change.instead_of}" if change.instead_of not in (None, change.served) else ""
    say(plain(f"served     {change.served}{before}" + (", pinned" if change.pinned else ", nothing is pinned")))
    say(plain(f"index      {change.index}"))
    say(plain(f"champion   {warning or f'version {champion} of {options.tracking.experiment} in MLflow'}"))
    if change.note:
        say(plain(change.note))
    say("a service on this workdir switches within a second; `/v1/version` says what answers")


def _move_alias(place: Workdir, options: Settings, run_id: str | None) -> tuple[int | None, str | None]:
    """The registered version that is champion now; else a warning: a registry out of reach must not stop a rollback."""
    if run_id is None:
        return None, "MLflow's alias stays: the model was not tracked"
    from sqidflow.tracking.registry import make_champion
    from sqidflow.tracking.runs import default_tracking_uri

    try:
        with quiet(place.logs / "rollback.log"):
            uri = options.tracking.uri or default_tracking_uri(place)
            return make_champion(uri, options.tracking.experiment, run_id), None
    except (SqidflowError, OSError) as error:
        return None, f"MLflow's alias champion stays where it was: {error}"


def _show_pushes(found: list[Push], as_json: bool) -> None:
    if as_json:
        print_json({"versions": [vars(each) for each in found]})
        return
    rows: list[tuple[Any, ...]] = []
    for each in found:
        marks = [name for name in ("served", "pinned") if getattr(each, name)]
        if each.passed_over:
            marks.append("pushed while another was pinned")
        if each.index is None:
            marks.append("no index")
        ndcg = "" if each.ndcg is None else f"{each.ndcg:.3f}"
        rows.append((each.version, each.pushed_at, each.model, ndcg, each.index, ", ".join(marks)))
    say(table("pushed models", ("version", "pushed", "model", "NDCG", "index", ""), rows))
