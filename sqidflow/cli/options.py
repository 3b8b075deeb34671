"""Shared by the verbs: common options, opening and locking a workdir, messages to the user."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import typer

if TYPE_CHECKING:
    from sqidflow.core.settings import Settings
    from sqidflow.core.workdir import Workdir

WorkdirOption = Annotated[
    Path | None,
    typer.Option(
        "--workdir",
        envvar="SQIDFLOW_WORKDIR",
        help="Folder with data/, artifacts/, metrics/ and var/.",
        show_default="the checkout",
        file_okay=False,
    ),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override a setting, e.g. train.epochs=5. Repeatable."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document, and nothing else, on stdout.")]


def open_workdir(workdir: Path | None, overrides: list[str] | None) -> tuple[Workdir, Settings]:
    """The given workdir, or the default one, and its settings."""
    from sqidflow.core.settings import default_workdir, load_settings
    from sqidflow.core.workdir import Workdir, refuse_patterns

    root = workdir.expanduser().absolute() if workdir else default_workdir()
    refuse_patterns(root)
    return Workdir(root), load_settings(root, overrides or ())


@contextmanager
def at_work(place: Workdir, verb: str, needed_bytes: int, log: str | None = None) -> Iterator[TextIO]:
    """Lock the workdir for a verb that writes, with the libraries' output in ``var/logs``; yields a stream to the user.

    Raises:
        WorkdirBusyError: another process writes in the workdir.
        DiskFullError: fewer than ``needed_bytes`` are free, or the disk fills up during the verb.
    """
    from sqidflow.core.files import disk_guard
    from sqidflow.core.quiet import quiet

    with place.locked(verb), quiet(place.logs / f"{log or verb}.log") as user, disk_guard(place.root, needed_bytes):
        yield user


def say(text: Any) -> None:
    """Print a line, or anything that rich can print, to the user."""
    from sqidflow.cli.console import console

    console().print(text)


def plain(text: str) -> str:
    """Escape square brackets, so that rich prints the text unchanged."""
    from rich.markup import escape

    return escape(text)
