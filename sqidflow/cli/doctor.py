"""``sqidflow doctor``."""

from __future__ import annotations

import typer

from sqidflow.cli.console import print_json
from sqidflow.cli.options import JsonOption, WorkdirOption, open_workdir

app = typer.Typer()


@app.command("doctor")
def doctor_verb(workdir: WorkdirOption = None, as_json: JsonOption = False) -> None:
    """Check this machine: Python, glibc, packages, disk, memory and optional programs, with a hint for what is missing.

    Exit code 2 if something required is missing.
    """
    from sqidflow.cli.checks import examine, show

    place, _ = open_workdir(workdir, None)
    findings = examine(place)
    if as_json:
        print_json({"findings": [finding.as_dict() for finding in findings], "ok": all(f.ok for f in findings)})
    else:
        show(findings)
    if not all(finding.ok for finding in findings):
        raise typer.Exit(2)
