"""Output of the command line: tables, JSON documents, intervals."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any, TextIO

LOG_WIDTH = 118


def console(stream: TextIO | None = None) -> Any:
    """A rich console on stderr (or ``stream``), where everything for a human reader goes."""
    from rich.console import Console

    output = Console(file=stream or sys.stderr, highlight=False)
    if not output.is_terminal:
        output.width = LOG_WIDTH  # a pipe or a log file has no width, and rich's default of 80 folds every table
    return output


def print_json(document: Mapping[str, Any]) -> None:
    """Write the JSON document of ``--json`` to stdout."""
    sys.stdout.write(json.dumps(document, indent=2, default=str) + "\n")
    sys.stdout.flush()


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], right: Sequence[int] = ()) -> Any:
    """A rich table; columns whose position is in ``right`` are right-aligned."""
    from rich import box
    from rich.table import Table

    grid = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, title_style="bold", min_width=len(title))
    for position, column in enumerate(columns):
        grid.add_column(column, justify="right" if position in right else "left", overflow="fold")
    for row in rows:
        grid.add_row(*("" if cell is None else str(cell) for cell in row))
    return grid


def interval_text(interval: Mapping[str, float]) -> str:
    """Mean and bounds as text, e.g. ``0.912 [0.894, 0.930]``."""
    return f"{interval['mean']:.3f} [{interval['low']:.3f}, {interval['high']:.3f}]"
