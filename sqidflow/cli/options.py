"""What the verbs share: options with one meaning, how a workdir is opened and held, how a person is spoken to."""

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
        help="Folder of data/, artifacts/, metrics/, var/.",
        show_default="the checkout",
        file_okay=False,
    ),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override a setting, e.g. train.epochs=5. Repeatable."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout and nothing else there.")]


def open_workdir(workdir: Path | None, overrides: list[str] | None) -> tuple[Workdir, Settings]:
    """The workdir that was named, else the checkout, and its settings."""
    from sqidflow.core.settings import default_workdir, load_settings
    from sqidflow.core.workdir import Workdir, refuse_patterns

    root = workdir.expanduser().absolute() if workdir else default_workdir()
    refuse_patterns(root)
    return Workdir(root), load_settings(root, overrides or ())


@contextmanager
def at_work(place: Workdir, verb: str, needed_bytes: int, log: str | None = None) -> Iterator[TextIO]:
    """Hold the workdir for a verb that writes, its libraries' output in ``var/logs``; yields a stream to the user.

    Raises:
        WorkdirBusyError: another process is at work there.
        DiskFullError: fewer than ``needed_bytes`` are free, or the disk fills up meanwhile.
    """
    from sqidflow.core.files import disk_guard
    from sqidflow.core.quiet import quiet

    with place.locked(verb), quiet(place.logs / f"{log or verb}.log") as user, disk_guard(place.root, needed_bytes):
        yield user


def say(text: Any) -> None:
    """A line, or anything rich can print, for the person at the terminal."""
    from sqidflow.cli.console import console

    console().print(text)


def plain(text: str) -> str:
    """Text that may hold square brackets, for rich to print as it is."""
    from rich.markup import escape

    return escape(text)
