"""The encoder that makes vectors of what is searched for: the index's own, or the one that settings name."""

from __future__ import annotations

from sqidflow.core.errors import SqidflowError
from sqidflow.encoders.base import Encoder
from sqidflow.encoders.registry import get_encoder, kind_of


def make_encoder(name: str, model: str | None, dim: int) -> Encoder:
    """The encoder, ready. ``dim`` is the offline encoder's length, ``model`` what the others load (None: their own).

    Raises:
        SqidflowError: it cannot be made.
    """
    options = {"dim": dim} if kind_of(name) == "offline" else {"model": model} if model else {}
    try:
        return get_encoder(name, **options)
    except ValueError as error:
        raise SqidflowError(
            (str(error).splitlines() or [repr(error)])[0][:300], where=f"encoder {name}", hint="see docs/search.md"
        ) from error
