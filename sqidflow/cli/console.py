"""What the command line shows: tables, JSON documents, intervals."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any, TextIO

LOG_WIDTH = 118


def console(stream: TextIO | None = None) -> Any:
    """A rich console on stderr (or ``stream``): everything a person reads goes there."""
    from rich.console import Console

    made = Console(file=stream or sys.stderr, highlight=False)
    if not made.is_terminal:
        made.width = LOG_WIDTH  # a pipe or a log has no width of its own; 80 would fold every table
    return made


def print_json(document: Mapping[str, Any]) -> None:
    """The one document of ``--json`` on stdout."""
    sys.stdout.write(json.dumps(document, indent=2, default=str) + "\n")
    sys.stdout.flush()


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], right: Sequence[int] = ()) -> Any:
    """A rich table; columns whose position is in ``right`` are aligned to the right."""
    from rich import box
    from rich.table import Table

    made = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, title_style="bold", min_width=len(title))
    for position, column in enumerate(columns):
        made.add_column(column, justify="right" if position in right else "left", overflow="fold")
    for row in rows:
        made.add_row(*("" if cell is None else str(cell) for cell in row))
    return made


def interval_text(interval: Mapping[str, float]) -> str:
    """``0.912 [0.894, 0.930]``."""
    return f"{interval['mean']:.3f} [{interval['low']:.3f}, {interval['high']:.3f}]"
