"""Refuses registered models of sqidflow 0.1 in one line: their pickles import these two names from here.

Those models read features of another contract, which this version does not compute.
"""

from __future__ import annotations

from typing import Any

from sqidflow.core.errors import SqidflowError


class RankerConfig:
    """Stands for the class of that name in 0.1.

    Raises:
        SqidflowError: always; names the feature contract of the model.
    """

    def __init__(self, **config: Any) -> None:
        raise SqidflowError(
            f"the model reads feature contract {config.get('contract')} of sqidflow 0.1, not of this version",
            where="registered model",
            hint="train and register a new one with `sqidflow run`, or load it in a checkout of the commit in its "
            "tag git_commit",
        )


class IdRanker:
    """Stands for the class of that name in 0.1; never reached, because its configuration is refused first."""
