"""The audit of the model that answers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sqidflow.cli.console import print_json
from sqidflow.cli.options import JsonOption, SetOption, WorkdirOption, at_work, open_workdir, plain, say

if TYPE_CHECKING:
    from sqidflow.core.settings import Settings
    from sqidflow.core.workdir import Workdir

app = typer.Typer()
_REPORT_BYTES = 20_000_000
_COLORS = {"pass": "green", "warn": "yellow", "block": "red", "note": "cyan"}


@app.command("audit")
def audit_verb(
    version: Annotated[
        str | None,
        typer.Option("--version", help="The pushed model.", show_default="the one that answers"),
    ] = None,
    card: Annotated[
        Path | None, typer.Option("--card", metavar="FILE", help="Write the model card there too.", dir_okay=False)
    ] = None,
    workdir: WorkdirOption = None,
    settings: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Audit a pushed model: unseen data, robustness, groups, explanations.

    Needs its index and the held-out scores that the run kept. Writes artifacts/audit/index.html, which opens offline,
    metrics/audit.json and the model card, and logs them to the model's MLflow run. Next: open the page.

    Example: sqidflow audit --card docs/model_card.md
    """
    place, options = open_workdir(workdir, settings)
    with at_work(place, "audit", _REPORT_BYTES):
        from sqidflow.core.files import write_atomically
        from sqidflow.evaluation.behaviour.audit import run_audit, write_audit

        audit, report = run_audit(place, options, version)
        files = write_audit(place, audit, report)
        if card is not None:
            write_atomically(card, files["model_card"].read_text(encoding="utf-8"))
        document = audit.as_dict()
        _log_to_mlflow(place, options, document, files)
    if as_json:
        print_json({**document, "files": {name: str(file) for name, file in files.items()}})
        return
    for name, section in document["sections"].items():
        for line in section["lines"]:
            color = _COLORS[line["verdict"]]
            say(f"[{color}]{line['verdict']:5}[/] {plain(name)}: {plain(line['text'])}")
    say(plain(f"{document['verdict']}: report in {files['html']} ({document['seconds']} s)"))


def _log_to_mlflow(place: Workdir, options: Settings, document: dict[str, Any], files: dict[str, Path]) -> None:
    """To the run that trained the model, where it was tracked; a store that is away is logged and costs nothing."""
    model = document["model"]
    if not model["mlflow_run_id"]:
        return
    from sqidflow.tracking.runs import RunContext, TrackedRun, default_tracking_uri

    context = RunContext(
        tracking_uri=options.tracking.uri or default_tracking_uri(place),
        artifact_root=(place.mlflow / "artifacts").as_uri(),
        experiment=options.tracking.experiment,
        run_name=f"audit of {model['version']}",
        git_commit=model["git_commit"] or "",
        data_hash=model["data_hash"] or "",
        feature_service="",
        encoder=model["encoder"],
        country_iso_code=options.energy.country_iso_code,
    )
    run = TrackedRun(context, run_id=model["mlflow_run_id"])
    run.tags({"audit": document["verdict"]})
    lines = [line for section in document["sections"].values() for line in section["lines"]]
    run.metrics({f"audit_{verdict}": sum(line["verdict"] == verdict for line in lines) for verdict in _COLORS})
    for name in ("html", "json", "model_card"):
        run.artifact(files[name], "audit")
