"""The command line. Heavy imports are inside the verbs, so that ``--help`` answers at once."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from sqidflow.cli import auditing, bench, data, delivery, doctor, lineage, monitoring, retraining, searching, training
from sqidflow.core.errors import SqidflowError
from sqidflow.core.temporary import OwnFolder, ended_by_signal

app = typer.Typer(
    name="sqidflow",
    help=(
        "Product search on SQID and ESCI data: prepare features, train and evaluate a ranker, push it, serve it.\n\n"
        "The usual order of the verbs: data sample (or data import), features, run, evaluate, index, serve. Each verb "
        "names the next one when it ends."
    ),
    epilog="First time? Run `sqidflow data sample`, `sqidflow features`, `sqidflow run`; `make run` does all three. "
    "All verbs and options: docs/cli.md.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
for verbs in (
    training.app, searching.app, retraining.app, delivery.app, lineage.app, auditing.app, doctor.app,
):  # fmt: skip
    app.add_typer(verbs)
app.add_typer(data.app, name="data")
app.add_typer(monitoring.app, name="monitor")
app.add_typer(bench.app, name="bench")

_debug = False


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        sys.stdout.write(f"sqidflow {version('sqidflow')}\n")
        raise typer.Exit


@app.callback()
def _main_options(
    debug: Annotated[
        bool,
        typer.Option("--debug", help="Show the traceback of an error. Goes before the verb: sqidflow --debug run."),
    ] = False,
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    global _debug
    _debug = debug


def main() -> None:
    """The console script. An error that the user can fix is one line and exit code 2, as are typer's usage errors."""
    only_text = len(sys.argv) < 2 or not {"--help", "-h", "--version"}.isdisjoint(sys.argv)
    own = None if only_text else OwnFolder.make()
    with ended_by_signal(own):
        try:
            app(obj=own)
        except SqidflowError as error:
            if _debug:
                raise
            sys.stderr.write(f"sqidflow: {error.message}\n")
            sys.exit(error.exit_code)
