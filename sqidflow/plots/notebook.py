"""Opens a notebook's workdir and checks its inputs."""

from __future__ import annotations

from pathlib import Path

from sqidflow.core.files import require
from sqidflow.core.settings import default_workdir


def open_workdir(*needed: str, command: str = "make run") -> Path:
    """The workdir in ``SQIDFLOW_WORKDIR``, or the checkout if the variable is unset.

    Args:
        needed: paths relative to the workdir that must exist.
        command: the command that creates them.

    Raises:
        MissingInputError: one of ``needed`` does not exist; names the first such path and ``command``.
    """
    root = default_workdir()
    for name in needed:
        require(root / name, command)
    return root
