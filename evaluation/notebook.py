"""Where a notebook finds its workdir, and what it says when an input is missing."""

from __future__ import annotations

import os
from pathlib import Path

from pipeline.errors import DataError

WORKDIR_VARIABLE = "SQIDFLOW_WORKDIR"
CHECKOUT = Path(__file__).resolve().parents[1]


class MissingInputError(DataError):
    """What a notebook reads has not been made yet. IPython shows its one line and no traceback."""

    def _render_traceback_(self) -> list[str]:
        return [self.message]


def open_workdir(*needed: str, command: str = "make run") -> Path:
    """The workdir that ``SQIDFLOW_WORKDIR`` names, or else the checkout.

    Args:
        needed: paths relative to the workdir that must be there.
        command: what makes them.

    Raises:
        MissingInputError: the first of ``needed`` that is not there; names it and ``command``.
    """
    root = Path(os.environ.get(WORKDIR_VARIABLE) or CHECKOUT).expanduser().absolute()
    for name in needed:
        require(root / name, command)
    return root


def require(path: Path, command: str = "make run") -> Path:
    """``path`` itself.

    Raises:
        MissingInputError: it is not there.
    """
    if not path.exists():
        raise MissingInputError("is not there", file=path, mend=f"run `{command}` first")
    return path
