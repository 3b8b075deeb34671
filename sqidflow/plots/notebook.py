"""Where a notebook finds its workdir, and what it says when an input is missing."""

from __future__ import annotations

from pathlib import Path

from sqidflow.core.files import require
from sqidflow.core.settings import default_workdir


def open_workdir(*needed: str, command: str = "make run") -> Path:
    """The workdir that ``SQIDFLOW_WORKDIR`` names, or else the checkout.

    Args:
        needed: paths relative to the workdir that must be there.
        command: what makes them.

    Raises:
        MissingInputError: the first of ``needed`` that is not there; names it and ``command``.
    """
    root = default_workdir()
    for name in needed:
        require(root / name, command)
    return root
