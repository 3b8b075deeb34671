"""The command line. Imports of the training side stand inside the verbs, so that ``--help`` answers at once."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from sqidflow.cli import bench, data, doctor, searching, training
from sqidflow.core.errors import SqidflowError

app = typer.Typer(
    name="sqidflow",
    help="From raw SQID and ESCI data to a product-search ranker that is trained, evaluated and pushed.",
    epilog="First time here? `sqidflow data sample`, `sqidflow features`, `sqidflow run`, or all at once: `make run`.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
for verbs in (training.app, searching.app, doctor.app):
    app.add_typer(verbs)
app.add_typer(data.app, name="data")
app.add_typer(bench.app, name="bench")

_debug = False


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        sys.stdout.write(f"sqidflow {version('sqidflow')}\n")
        raise typer.Exit


@app.callback()
def _main_options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    global _debug
    _debug = debug


def main() -> None:
    """The console script: errors a user can fix are one line, exit code 2; usage errors are typer's own, 2 as well."""
    try:
        app()
    except SqidflowError as error:
        if _debug:
            raise
        sys.stderr.write(f"sqidflow: {error.message}\n")
        sys.exit(error.exit_code)
